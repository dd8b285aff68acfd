//! `signedIdentity`: which name in a signature stands for the image that was asked for (containers-policy.json(5)).
//!
//! The name in a signature is compared as it is written: a default tag is never added to it, so a signature for a mere
//! repository fits only where repositories are compared. A requested reference with a digest counts by its digest; a
//! tag beside it proves nothing.

use serde::Deserialize;

use crate::reference::{Reference, is_domain};

/// The forms of `signedIdentity`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) enum Identity {
    /// The same name with the same tag or digest.
    MatchExact,
    /// As `MatchExact`; for an image asked for by digest, any tag of the same repository.
    #[default]
    MatchRepoDigestOrExact,
    /// The same repository.
    MatchRepository,
    /// This very reference.
    ExactReference(Name),
    /// This very repository.
    ExactRepository(Name),
    /// As `MatchRepoDigestOrExact` with another beginning of the repository.
    Remap {
        /// Beginning of the repository that is pulled.
        prefix: String,
        /// What stands in its place in signatures.
        signed: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Raw {
    MatchExact {},
    MatchRepoDigestOrExact {},
    MatchRepository {},
    ExactReference { docker_reference: String },
    ExactRepository { docker_repository: String },
    RemapIdentity { prefix: String, signed_prefix: String },
}

/// A reference as written in a policy or a signature: without a default tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    repository: String,
    /// `:tag`, `@digest` or both.
    selector: Option<String>,
}

impl TryFrom<Raw> for Identity {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let name =
            |text: &str| Name::parse(text).ok_or_else(|| format!("{text:?} is not an image reference"));
        Ok(match raw {
            Raw::MatchExact {} => Self::MatchExact,
            Raw::MatchRepoDigestOrExact {} => Self::MatchRepoDigestOrExact,
            Raw::MatchRepository {} => Self::MatchRepository,
            Raw::ExactReference { docker_reference } => match name(&docker_reference)? {
                Name { selector: None, .. } => {
                    return Err(format!(
                        "dockerReference {docker_reference:?} has neither a tag nor a digest"
                    ));
                }
                name => Self::ExactReference(name),
            },
            Raw::ExactRepository { docker_repository } => Self::ExactRepository(name(&docker_repository)?),
            Raw::RemapIdentity { prefix, signed_prefix } => Self::Remap {
                prefix: checked_prefix("prefix", prefix)?,
                signed: checked_prefix("signedPrefix", signed_prefix)?,
            },
        })
    }
}

impl Identity {
    /// Whether a signature for `signed` counts for `image`.
    pub(crate) fn accepts(&self, image: &Reference, signed: &str) -> bool {
        let Some(signed) = Name::parse(signed) else { return false };
        let wanted = Name::of(image);
        match self {
            Self::MatchExact => wanted.is_exactly(&signed),
            Self::MatchRepoDigestOrExact => wanted.is_exactly_or_by_digest(&signed),
            Self::MatchRepository => wanted.repository == signed.repository,
            Self::ExactReference(name) => name.is_exactly(&signed),
            Self::ExactRepository(name) => name.repository == signed.repository,
            Self::Remap { prefix, signed: replacement } => {
                let rest = wanted
                    .repository
                    .strip_prefix(prefix.as_str())
                    .filter(|rest| rest.is_empty() || rest.starts_with('/'));
                let mapped = match rest {
                    None => Some(wanted),
                    // What comes out must still be a reference.
                    Some(rest) => {
                        let selector = wanted.selector.as_deref().unwrap_or_default();
                        Name::parse(&format!("{replacement}{rest}{selector}"))
                    }
                };
                mapped.is_some_and(|mapped| mapped.is_exactly_or_by_digest(&signed))
            }
        }
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let reference = Reference::parse(text).ok()?;
        let last = text.rsplit('/').next().unwrap_or_default();
        let is_bare = !last.contains(':') && !text.contains('@');
        Some(Self {
            selector: reference_selector(&reference, false).filter(|_| !is_bare),
            repository: reference.repository(),
        })
    }

    /// The image that was asked for.
    fn of(image: &Reference) -> Self {
        Self { repository: image.repository(), selector: reference_selector(image, true) }
    }

    fn is_exactly(&self, signed: &Self) -> bool {
        signed.selector.is_some() && self == signed
    }

    fn is_exactly_or_by_digest(&self, signed: &Self) -> bool {
        let by_digest = self.selector.as_ref().is_some_and(|selector| selector.starts_with('@'));
        if by_digest {
            // That the digest is the signed one is checked with the payload.
            return signed.selector.is_some() && self.repository == signed.repository;
        }
        self.is_exactly(signed)
    }
}

fn reference_selector(reference: &Reference, digest_alone: bool) -> Option<String> {
    let tag = reference.tag().map(|tag| format!(":{tag}"));
    let digest = reference.digest().map(|digest| format!("@{digest}"));
    match (tag, digest) {
        (Some(_), Some(digest)) if digest_alone => Some(digest),
        (Some(tag), Some(digest)) => Some(tag + &digest),
        (tag, digest) => tag.or(digest),
    }
}

/// A host, or a repository with its host; no tag, no digest.
fn checked_prefix(key: &str, prefix: String) -> Result<String, String> {
    let fits = match prefix.split_once('/') {
        None => is_domain(&prefix),
        Some((host, _)) => {
            is_domain(host)
                && Name::parse(&prefix)
                    .is_some_and(|name| name.selector.is_none() && name.repository == prefix)
        }
    };
    if fits {
        Ok(prefix)
    } else {
        Err(format!("{key} {prefix:?} is neither a registry host nor a repository"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> Result<Identity, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn each_form_accepts_the_names_it_should_and_no_other() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let (by_digest, both) = (format!("r.io/app@{digest}"), format!("r.io/app:1@{digest}"));
        let exact = r#"{"type":"matchExact"}"#;
        let standard = r#"{"type":"matchRepoDigestOrExact"}"#;
        let repository = r#"{"type":"matchRepository"}"#;
        let reference = r#"{"type":"exactReference","dockerReference":"vendor.io/app:1"}"#;
        let one = r#"{"type":"exactRepository","dockerRepository":"vendor.io/app"}"#;
        let remap = r#"{"type":"remapIdentity","prefix":"r.io","signedPrefix":"vendor.io/x"}"#;
        for (rule, image, signed, accepted) in [
            (exact, "r.io/app:1", "r.io/app:1", true),
            (exact, "r.io/app:1", "r.io/app:2", false),
            (exact, "r.io/app:1", "r.io/app", false),
            (exact, "r.io/app", "r.io/app", false),
            (exact, "r.io/app", "r.io/app:latest", true),
            (exact, &by_digest, "r.io/app:1", false),
            (exact, &by_digest, &by_digest, true),
            (exact, "app:1", "app:1", true),
            (exact, "app:1", "docker.io/library/app:1", true),
            (standard, "r.io/app:1", "r.io/app:1", true),
            (standard, "r.io/app:1", "r.io/app:2", false),
            (standard, "r.io/app:1", &by_digest, false),
            (standard, &by_digest, "r.io/app:2", true),
            (standard, &both, "r.io/app:2", true),
            (standard, &by_digest, "r.io/app", false),
            (standard, &by_digest, "r.io/other:2", false),
            (repository, "r.io/app:1", "r.io/app:2", true),
            (repository, "r.io/app:1", "r.io/app", true),
            (repository, "r.io/app:1", "r.io/apps:1", false),
            (reference, "r.io/app:7", "vendor.io/app:1", true),
            (reference, "r.io/app:7", "vendor.io/app:2", false),
            (reference, "r.io/app:7", "vendor.io/app", false),
            (one, "r.io/app:7", "vendor.io/app:2", true),
            (one, "r.io/app:7", "vendor.io/app", true),
            (one, "r.io/app:7", "r.io/app:7", false),
            (remap, "r.io/app:1", "vendor.io/x/app:1", true),
            (remap, "r.io/app:1", "r.io/app:1", false),
            (remap, &by_digest, "vendor.io/x/app:5", true),
            (remap, "r.io:5000/app:1", "r.io:5000/app:1", true),
            (remap, "r.io:5000/app:1", "vendor.io/x:5000/app:1", false),
            (exact, "r.io/app:1", "not a reference", false),
            (repository, "r.io/app:1", "", false),
        ] {
            let image = Reference::parse(image).unwrap();
            assert_eq!(identity(rule).unwrap().accepts(&image, signed), accepted, "{rule} {image} {signed}");
        }
    }

    #[test]
    fn a_form_that_is_not_understood_is_refused() {
        for text in [
            r#"{"type":"matchAnything"}"#,
            r#"{"type":"matchExact","dockerReference":"x:1"}"#,
            r#"{"type":"exactReference"}"#,
            r#"{"type":"exactReference","dockerReference":"r.io/x"}"#,
            r#"{"type":"exactReference","dockerReference":"UPPER:1"}"#,
            r#"{"type":"exactRepository","dockerRepository":"r.io/x","dockerRepository":"r.io/y"}"#,
            r#"{"type":"remapIdentity","prefix":"r.io"}"#,
            r#"{"type":"remapIdentity","prefix":"r.io/x:1","signedPrefix":"r.io"}"#,
            r#"{"type":"remapIdentity","prefix":"r.io/","signedPrefix":"r.io"}"#,
            r#"{"type":"remapIdentity","prefix":"","signedPrefix":"r.io"}"#,
            r#"{}"#,
        ] {
            assert!(identity(text).is_err(), "{text}");
        }
    }
}
