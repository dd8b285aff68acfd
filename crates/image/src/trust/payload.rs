//! What a signature is over: cosign's "simple signing" document, read strictly. An unknown or repeated field outside of
//! `optional` refuses it, so that no two readers see different things in it.

use ochre_types::{Algorithm, Digest};
use serde::Deserialize;
use sha2::{Digest as _, Sha512};

use super::error::{SignatureError, short};

const TYPE: &str = "cosign container image signature";

/// The document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    critical: Critical,
    /// The signer's own notes.
    #[serde(default, rename = "optional")]
    _optional: serde::de::IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    r#type: String,
    image: Image,
    identity: Named,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Named {
    docker_reference: String,
}

impl Payload {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let payload: Self =
            serde_json::from_slice(bytes).map_err(|source| SignatureError::Payload { source })?;
        if payload.critical.r#type != TYPE {
            return Err(SignatureError::PayloadType { found: short(&payload.critical.r#type) });
        }
        Ok(payload)
    }

    /// The name that was signed, as it is written.
    pub(super) fn name(&self) -> &str {
        &self.critical.identity.docker_reference
    }

    /// Whether it is `manifest` that was signed.
    pub(super) fn check_digest(&self, manifest: &[u8]) -> Result<(), SignatureError> {
        let text = &self.critical.image.docker_manifest_digest;
        let signed: Option<Digest> = text.parse().ok();
        let fits = signed.as_ref().is_some_and(|signed| match signed.algorithm() {
            Algorithm::Sha256 => *signed == crate::images::sha256(manifest),
            Algorithm::Sha512 => {
                let hex = |byte: &u8| format!("{byte:02x}");
                signed.hex() == Sha512::digest(manifest).iter().map(hex).collect::<String>()
            }
        });
        if fits {
            return Ok(());
        }
        Err(SignatureError::Digest { signed: short(text), actual: crate::images::sha256(manifest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_read_strictly() {
        let digest = crate::images::sha256(b"manifest");
        let good = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.io/a:1"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{TYPE}"}},"optional":null}}"#
        );
        let payload = Payload::parse(good.as_bytes()).unwrap();
        assert_eq!(payload.name(), "r.io/a:1");
        payload.check_digest(b"manifest").unwrap();
        assert!(matches!(payload.check_digest(b"other"), Err(SignatureError::Digest { .. })));
        Payload::parse(good.replace(":null", r#":{"creator":"x","a":{"b":1}}"#).as_bytes()).unwrap();
        let sha512 = format!(
            "sha512:{}",
            Sha512::digest(b"manifest").iter().map(|b| format!("{b:02x}")).collect::<String>()
        );
        Payload::parse(good.replace(&digest.to_string(), &sha512).as_bytes())
            .unwrap()
            .check_digest(b"manifest")
            .unwrap();
        for (from, to) in [
            ("r.io/a:1\"", "r.io/a:1\",\"docker-reference\":\"r.io/b:1\""),
            ("\"optional\"", "\"critical\":{},\"optional\""),
            ("\"optional\"", "\"extra\":1,\"optional\""),
            ("\"type\"", "\"kind\""),
            (TYPE, "atomic container signature"),
            ("}", ""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(Payload::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
