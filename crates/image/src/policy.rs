//! `policy.json`: which images may be pulled at all (containers-policy.json(5)).
//!
//! The requirements of the most specific scope of the *requested* reference apply (never those of a mirror), for
//! `docker.io/library/app:1` in this order: `docker.io/library/app:1`, `docker.io/library/app`, `docker.io/library`,
//! `docker.io`, `*.io`, the transport's `""`, the global default. All requirements of the list must hold.
//!
//! What can be decided from the name is decided before anything is asked of a registry. A `sigstoreSigned` requirement
//! becomes a [`Demand`], keys loaded, that [`crate::trust`] holds against the manifest once that is known. What cannot
//! be verified here (`signedBy`, `signedBaseLayer`, signatures of anything that is not in a registry) refuses; no
//! requirement is ever skipped.

pub(crate) mod error;
pub(crate) mod identity;
pub(crate) mod requirement;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::reference::Reference;
use crate::trust::Demand;
pub use error::PolicyError;
use requirement::Requirement;

const FILE_MAX: u64 = 4 << 20;
/// The system's file.
const SYSTEM_FILE: &str = "/etc/containers/policy.json";

/// Where policies are read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPaths {
    /// CRI-O's `signature_policy`: this file must exist. `None`: `/etc/containers/policy.json`, and when that does not
    /// exist everything is accepted.
    pub file: Option<PathBuf>,
    /// CRI-O's `signature_policy_dir`: `<namespace>.json` in it replaces the file for pods of that namespace.
    pub namespaces: Option<PathBuf>,
}

/// A policy that was read.
#[derive(Debug)]
pub struct Policy {
    path: PathBuf,
    rules: File,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

impl PolicyPaths {
    /// Reads the policy for pods of `namespace`; `None` when there is no policy, which accepts everything. Blocking.
    ///
    /// # Errors
    /// A policy that exists (or is configured) and cannot be read or understood.
    pub fn load(&self, namespace: Option<&str>) -> Result<Option<Policy>, PolicyError> {
        if let (Some(directory), Some(namespace)) =
            (&self.namespaces, namespace.filter(|name| !name.is_empty()))
        {
            let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if namespace.len() > 63 || !namespace.bytes().all(label) {
                return Err(PolicyError::Namespace { namespace: namespace.chars().take(80).collect() });
            }
            if let Some(policy) = Policy::read(&directory.join(format!("{namespace}.json")))? {
                return Ok(Some(policy));
            }
        }
        match &self.file {
            Some(path) => match Policy::read(path)? {
                None => Err(PolicyError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() }),
                policy => Ok(policy),
            },
            None => Policy::read(Path::new(SYSTEM_FILE)),
        }
    }
}

impl Policy {
    fn read(path: &Path) -> Result<Option<Self>, PolicyError> {
        let failed = |source| PolicyError::Read { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(PolicyError::TooLarge { path: path.to_owned(), limit: FILE_MAX });
        }
        let rules: File = serde_json::from_slice(&bytes)
            .map_err(|source| PolicyError::Syntax { path: path.to_owned(), source })?;
        let scopes = rules.transports.values().flatten().map(|(scope, list)| (scope.as_str(), list));
        for (scope, list) in scopes.chain([("default", &rules.default)]) {
            if list.is_empty() {
                return Err(PolicyError::NoRequirement { path: path.to_owned(), scope: scope.to_owned() });
            }
        }
        Ok(Some(Self { path: path.to_owned(), rules }))
    }

    /// Whether `reference` may be pulled from a registry: the signatures that its manifest must have; none is "yes".
    /// Reads key files. Blocking.
    ///
    /// # Errors
    /// It may not, whatever its signatures.
    pub(crate) fn admit(&self, reference: &Reference) -> Result<Vec<Demand>, PolicyError> {
        let (scope, requirements) = self.requirements("docker", &scopes(reference));
        let mut demands = Vec::new();
        for requirement in requirements {
            match requirement {
                Requirement::InsecureAcceptAnything => {}
                Requirement::SigstoreSigned(wanted) => {
                    let root = wanted
                        .load()
                        .map_err(|source| PolicyError::Material { path: self.path.clone(), source })?;
                    demands.push(Demand {
                        scope: scope.to_owned(),
                        image: reference.clone(),
                        identity: wanted.identity().clone(),
                        root,
                    });
                }
                other => return Err(self.refusal(other, scope, reference.to_string())),
            }
        }
        Ok(demands)
    }

    /// Whether the layout or archive at `path` may be imported; `transport` is `oci`, `oci-archive` or `docker-archive`.
    ///
    /// # Errors
    /// It may not.
    pub fn admit_path(&self, transport: &str, path: &Path) -> Result<(), PolicyError> {
        let scopes: Vec<_> = path.ancestors().map(|path| path.display().to_string()).collect();
        let (scope, requirements) = self.requirements(transport, &scopes);
        let strict = requirements.iter().find(|one| !matches!(one, Requirement::InsecureAcceptAnything));
        strict.map_or(Ok(()), |one| Err(self.refusal(one, scope, path.display().to_string())))
    }

    /// The requirements of the first scope that has any, and that scope.
    fn requirements(&self, transport: &str, scopes: &[String]) -> (&str, &[Requirement]) {
        let rules = self.rules.transports.get(transport);
        let specific =
            scopes.iter().map(String::as_str).chain([""]).find_map(|scope| rules?.get_key_value(scope));
        specific.map_or(("default", &self.rules.default), |(scope, requirements)| {
            (scope.as_str(), requirements.as_slice())
        })
    }

    fn refusal(&self, requirement: &Requirement, scope: &str, image: String) -> PolicyError {
        let (path, scope) = (self.path.clone(), scope.to_owned());
        match requirement {
            Requirement::Reject => PolicyError::Rejected { path, image, scope },
            other => PolicyError::SignatureUnsupported { path, image, scope, requirement: other.name() },
        }
    }
}

/// The scopes of a reference, most specific first.
pub(crate) fn scopes(reference: &Reference) -> Vec<String> {
    let repository = reference.repository();
    let selector = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => repository.clone(),
    };
    let mut scopes = vec![selector];
    scopes.push(repository.clone());
    scopes.extend(repository.match_indices('/').rev().map(|(at, _)| repository[..at].to_owned()));
    let host = reference.domain().rsplit_once(':').map_or(reference.domain(), |(host, _)| host);
    scopes.extend(host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..])));
    scopes
}

#[cfg(test)]
mod tests {
    use ochre_types::ErrorKind;

    use super::*;

    fn policy(text: &str) -> Result<Policy, PolicyError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        std::fs::write(&path, text).unwrap();
        PolicyPaths { file: Some(path), namespaces: None }.load(None).map(Option::unwrap)
    }

    #[test]
    fn the_most_specific_scope_decides() {
        let policy = policy(
            r#"{ "default": [{"type":"reject"}], "transports": { "docker": {
                "quay.io": [{"type":"insecureAcceptAnything"}],
                "quay.io/bad": [{"type":"reject"}],
                "quay.io/bad/good:1": [{"type":"insecureAcceptAnything"}],
                "*.corp.org": [{"type":"insecureAcceptAnything"}],
                "signed.io": [{"type":"insecureAcceptAnything"},{"type":"sigstoreSigned","keyPath":"/nonexistent/k"}],
                "gpg.io": [{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]
            }, "oci": { "/srv/images": [{"type":"insecureAcceptAnything"}] } } }"#,
        )
        .unwrap();
        let admitted = |text: &str| policy.admit(&Reference::parse(text).unwrap());
        assert!(admitted("quay.io/x:1").is_ok());
        assert!(admitted("a.corp.org:5000/x").is_ok());
        assert!(admitted("quay.io/bad/good:1").is_ok());
        assert!(policy.admit_path("oci", Path::new("/srv/images/app")).is_ok());
        for (text, scope) in
            [("quay.io/bad/good:2", "quay.io/bad"), ("other.io/x", "default"), ("corp.org/x", "default")]
        {
            let error = admitted(text).unwrap_err();
            assert!(matches!(&error, PolicyError::Rejected { scope: s, .. } if s == scope), "{error}");
            assert!(error.is_signature_failure());
        }
        let error = admitted("gpg.io/x").unwrap_err();
        assert!(error.to_string().contains("signedBy") && error.is_signature_failure(), "{error}");
        let error = admitted("signed.io/x").unwrap_err();
        assert!(matches!(error, PolicyError::Material { .. }) && error.is_signature_failure(), "{error}");
        assert!(policy.admit_path("oci-archive", Path::new("/srv/images/app")).is_err());
    }

    #[test]
    fn a_policy_that_is_not_understood_refuses_to_load() {
        for text in [
            "{}",
            r#"{"default":[]}"#,
            r#"{"default":[{"type":"trustMe"}]}"#,
            r#"{"default":[{"type":"reject"}],"typo":1}"#,
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a.io":[]}}}"#,
            "",
        ] {
            assert!(policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_configured_file_must_exist_and_a_namespace_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = PolicyPaths { file: Some(dir.path().join("none")), namespaces: None };
        assert_eq!(missing.load(None).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        std::fs::write(dir.path().join("all.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)
            .unwrap();
        std::fs::write(dir.path().join("team.json"), r#"{"default":[{"type":"reject"}]}"#).unwrap();
        let paths =
            PolicyPaths { file: Some(dir.path().join("all.json")), namespaces: Some(dir.path().to_owned()) };
        let image = Reference::parse("quay.io/x").unwrap();
        assert!(paths.load(Some("other")).unwrap().unwrap().admit(&image).is_ok());
        assert!(paths.load(Some("team")).unwrap().unwrap().admit(&image).is_err());
        assert!(matches!(paths.load(Some("../team")), Err(PolicyError::Namespace { .. })));
    }
}
