//! One requirement of a policy (containers-policy.json(5), "Policy Requirements").

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::identity::Identity;
use crate::trust::{Fulcio, MaterialError, PublicKey, Signer, TrustRoot};

/// What a policy asks for. The parameters of what is refused anyway are not read.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum Requirement {
    InsecureAcceptAnything,
    Reject,
    SignedBy,
    SignedBaseLayer,
    SigstoreSigned(Box<SigstoreSigned>),
}

/// `sigstoreSigned`, checked in all that the policy alone tells.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub(super) struct SigstoreSigned {
    signer: SignerSource,
    rekor: Option<Source>,
    identity: Identity,
}

#[derive(Debug)]
enum SignerSource {
    Keys(Source),
    Fulcio { authority: Source, issuer: String, email: String },
}

/// Where key material is: files are read when the requirement is used, so a new key needs no restart.
#[derive(Debug)]
enum Source {
    Paths(Vec<PathBuf>),
    /// The field's name, and what stood in it.
    Data(&'static str, Vec<Vec<u8>>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    fulcio: Option<RawFulcio>,
    rekor_public_key_path: Option<PathBuf>,
    rekor_public_key_paths: Option<Vec<PathBuf>>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Option<Vec<String>>,
    signed_identity: Option<Identity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFulcio {
    ca_path: Option<PathBuf>,
    ca_data: Option<String>,
    oidc_issuer: String,
    subject_email: String,
}

/// The four ways to give keys, with the names of the fields.
struct Given {
    fields: [&'static str; 4],
    path: Option<PathBuf>,
    paths: Option<Vec<PathBuf>>,
    data: Option<String>,
    datas: Option<Vec<String>>,
}

impl TryFrom<Raw> for SigstoreSigned {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let keys = Given {
            fields: ["keyPath", "keyPaths", "keyData", "keyDatas"],
            path: raw.key_path,
            paths: raw.key_paths,
            data: raw.key_data,
            datas: raw.key_datas,
        };
        let rekor = Given {
            fields: [
                "rekorPublicKeyPath",
                "rekorPublicKeyPaths",
                "rekorPublicKeyData",
                "rekorPublicKeyDatas",
            ],
            path: raw.rekor_public_key_path,
            paths: raw.rekor_public_key_paths,
            data: raw.rekor_public_key_data,
            datas: raw.rekor_public_key_datas,
        };
        let rekor = rekor.source()?;
        let signer = match (keys.source()?, raw.fulcio) {
            (Some(keys), None) => SignerSource::Keys(keys),
            (None, Some(fulcio)) if rekor.is_some() => fulcio.checked()?,
            (None, Some(_)) => {
                // A certificate of Fulcio is valid for minutes: only the log tells whether it was in time.
                return Err("fulcio needs one of the rekorPublicKey fields".to_owned());
            }
            (None, None) => {
                return Err("one of keyPath, keyPaths, keyData, keyDatas and fulcio is needed".to_owned());
            }
            (Some(_), Some(_)) => return Err("keys and fulcio exclude each other".to_owned()),
        };
        Ok(Self { signer, rekor, identity: raw.signed_identity.unwrap_or_default() })
    }
}

impl RawFulcio {
    fn checked(self) -> Result<SignerSource, String> {
        let authority = Given {
            fields: ["caPath", "", "caData", ""],
            path: self.ca_path,
            paths: None,
            data: self.ca_data,
            datas: None,
        };
        let authority = authority.source()?.ok_or("fulcio needs caPath or caData")?;
        if self.oidc_issuer.is_empty() || self.subject_email.is_empty() {
            return Err("fulcio needs an oidcIssuer and a subjectEmail that are not empty".to_owned());
        }
        Ok(SignerSource::Fulcio { authority, issuer: self.oidc_issuer, email: self.subject_email })
    }
}

impl Given {
    /// The only field that is set, if one is.
    fn source(self) -> Result<Option<Source>, String> {
        let [_, many_paths, one_data, many_data] = self.fields;
        let paths = |paths: Vec<PathBuf>| Ok::<_, String>(Source::Paths(paths));
        let mut given = Vec::new();
        given.extend(self.path.map(|path| paths(vec![path])));
        given.extend(self.paths.map(|list| not_empty(many_paths, list).and_then(paths)));
        given.extend(self.data.map(|text| decoded(one_data, vec![text])));
        given.extend(
            self.datas.map(|list| not_empty(many_data, list).and_then(|list| decoded(many_data, list))),
        );
        let count = given.len();
        match given.pop() {
            None => Ok(None),
            Some(only) if count == 1 => only.map(Some),
            Some(_) => {
                let fields: Vec<_> = self.fields.into_iter().filter(|field| !field.is_empty()).collect();
                Err(format!("only one of {} may be set", fields.join(", ")))
            }
        }
    }
}

fn not_empty<T>(field: &str, list: Vec<T>) -> Result<Vec<T>, String> {
    if list.is_empty() { Err(format!("{field} is empty")) } else { Ok(list) }
}

fn decoded(field: &'static str, texts: Vec<String>) -> Result<Source, String> {
    let data = texts.iter().map(|text| STANDARD.decode(text)).collect::<Result<Vec<_>, _>>();
    data.map(|data| Source::Data(field, data)).map_err(|error| format!("{field} is not base64: {error}"))
}

impl Requirement {
    /// The name in the policy.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::InsecureAcceptAnything => "insecureAcceptAnything",
            Self::Reject => "reject",
            Self::SignedBy => "signedBy",
            Self::SignedBaseLayer => "signedBaseLayer",
            Self::SigstoreSigned(_) => "sigstoreSigned",
        }
    }
}

impl SigstoreSigned {
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads the keys. Blocking.
    pub(super) fn load(&self) -> Result<TrustRoot, MaterialError> {
        let signer = match &self.signer {
            SignerSource::Keys(source) => Signer::Keys(source.each(PublicKey::from_pem)?),
            SignerSource::Fulcio { authority, issuer, email } => {
                let authorities = authority.each(Fulcio::authorities)?.concat();
                Signer::Fulcio(Fulcio::new(authorities, issuer.clone(), email.clone()))
            }
        };
        let rekor = self.rekor.as_ref().map(|source| source.each(PublicKey::of_log)).transpose()?;
        Ok(TrustRoot { signer, rekor })
    }
}

impl Source {
    /// What `read` makes of each piece of material.
    fn each<T>(
        &self,
        read: impl Fn(&str, &[u8]) -> Result<T, MaterialError>,
    ) -> Result<Vec<T>, MaterialError> {
        match self {
            Self::Paths(paths) => {
                paths.iter().map(|path| read(&path.display().to_string(), &file(path)?)).collect()
            }
            Self::Data(field, data) => data.iter().map(|bytes| read(field, bytes)).collect(),
        }
    }
}

/// Largest file with a key or with certificates.
const FILE_MAX: u64 = 1 << 20;

fn file(path: &Path) -> Result<Vec<u8>, MaterialError> {
    use std::io::Read as _;
    let failed = |source| MaterialError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(MaterialError::TooLarge { path: path.to_owned(), limit: FILE_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_names_its_keys_in_exactly_one_way() {
        let parse = |rest: &str| {
            serde_json::from_str::<Requirement>(&format!(r#"{{"type":"sigstoreSigned"{rest}}}"#))
        };
        let fulcio = r#","fulcio":{"caPath":"/ca","oidcIssuer":"https://i","subjectEmail":"a@b"}"#;
        for good in [
            r#","keyPath":"/k""#,
            r#","keyPaths":["/k","/l"]"#,
            r#","keyData":"QUJD""#,
            r#","keyDatas":["QUJD"],"rekorPublicKeyDatas":["QUJD"]"#,
            r#","keyPath":"/k","rekorPublicKeyPath":"/r","signedIdentity":{"type":"matchExact"}"#,
            &format!(r#"{fulcio},"rekorPublicKeyPath":"/r""#),
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        for (bad, why) in [
            ("", "is needed"),
            (r#","keyPath":"/k","keyData":"QUJD""#, "only one of"),
            (r#","keyPaths":[]"#, "keyPaths is empty"),
            (r#","keyDatas":[]"#, "keyDatas is empty"),
            (r#","keyData":"%""#, "not base64"),
            (r#","keyPath":"/k","typo":1"#, "unknown field"),
            (r#","keyPath":"/k","pki":{}"#, "unknown field"),
            (r#","keyPath":"/k","keyPath":"/l""#, "duplicate field"),
            (r#","keyPath":"/k","signedIdentity":{"type":"no"}"#, "unknown variant"),
            (r#","keyPath":"/k","rekorPublicKeyPath":"/r","rekorPublicKeyData":"QUJD""#, "only one of"),
            (fulcio, "fulcio needs one of the rekorPublicKey fields"),
            (&format!(r#"{fulcio},"keyPath":"/k","rekorPublicKeyPath":"/r""#), "exclude each other"),
            (
                r#","fulcio":{"caPath":"/ca","oidcIssuer":"","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                "not empty",
            ),
            (
                r#","fulcio":{"oidcIssuer":"i","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                "needs caPath or caData",
            ),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
