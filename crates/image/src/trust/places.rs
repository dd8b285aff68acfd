//! `registries.d`: where the signatures of which images are kept (containers-registries.d(5)).
//!
//! The files `*.yaml` of the directory are one configuration: a namespace may stand in one of them only. The most
//! specific namespace that says something about attachments decides, in the order of a policy's scopes; then
//! `default-docker`; then they are off. Lookaside storage is for simple signing, which is not verified here: its URLs
//! are read so that a typing error is found, and serve for the message that names what is not looked at.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ochre_types::ErrorKind;
use serde::Deserialize;

use crate::policy::scopes;
use crate::reference::Reference;

const FILE_MAX: u64 = 1 << 20;

/// Why the configuration of signatures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// A file or the directory cannot be read.
    #[error("reading the signature configuration {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is larger than one can be.
    #[error("the signature configuration {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not YAML, or not of the right form.
    #[error("the signature configuration {} is not valid: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// The same namespace in two files.
    #[error("the signature configuration {} has {namespace:?}, which {} has as well", path.display(), other.display())]
    Twice {
        /// The second file.
        path: PathBuf,
        /// The first file.
        other: PathBuf,
        /// The namespace, or `default-docker`.
        namespace: String,
    },
}

impl PlacesError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::FailedPrecondition,
            Self::TooLarge { .. } | Self::Syntax { .. } | Self::Twice { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// The configuration of all files.
#[derive(Debug, Default)]
pub(crate) struct SignaturePlaces {
    default: Option<(PathBuf, Place)>,
    namespaces: BTreeMap<String, (PathBuf, Place)>,
}

/// Where the signatures of an image are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// In the registry, under a tag made of the image's digest.
    Attachments,
    /// Nowhere: attachments are off.
    Nowhere,
    /// Nowhere: attachments are off, and lookaside storage is for simple signing.
    LookasideOnly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    default_docker: Option<Place>,
    #[serde(default)]
    docker: Option<BTreeMap<String, Place>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Place {
    lookaside: Option<String>,
    lookaside_staging: Option<String>,
    /// The old name of `lookaside`.
    sigstore: Option<String>,
    /// The old name of `lookaside-staging`.
    sigstore_staging: Option<String>,
    use_sigstore_attachments: Option<bool>,
}

impl SignaturePlaces {
    /// Reads the files of `directory`; none, or no directory, is an empty configuration. Blocking.
    pub(crate) fn load(directory: &Path) -> Result<Self, PlacesError> {
        let failed = |source| PlacesError::Read { path: directory.to_owned(), source };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut paths =
            entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        paths.sort();
        let mut merged = Self::default();
        for path in paths {
            let file = File::read(&path)?;
            merged.add(&path, file)?;
        }
        Ok(merged)
    }

    fn add(&mut self, path: &Path, file: File) -> Result<(), PlacesError> {
        let twice = |namespace: String, (other, _): (PathBuf, Place)| PlacesError::Twice {
            path: path.to_owned(),
            other,
            namespace,
        };
        if let Some(place) = file.default_docker
            && let Some(before) = self.default.replace((path.to_owned(), place))
        {
            return Err(twice("default-docker".to_owned(), before));
        }
        for (namespace, place) in file.docker.unwrap_or_default() {
            if let Some(before) = self.namespaces.insert(namespace.clone(), (path.to_owned(), place)) {
                return Err(twice(namespace, before));
            }
        }
        Ok(())
    }

    /// Where signatures of `location` are looked for: the place an image is pulled from, so that of a mirror for a
    /// mirror.
    pub(crate) fn of(&self, location: &Reference) -> Looked {
        let scopes = scopes(location);
        let specific = scopes.iter().filter_map(|scope| self.namespaces.get(scope));
        let places = || specific.clone().chain(&self.default).map(|(_, place)| place);
        match places().find_map(|place| place.use_sigstore_attachments) {
            Some(true) => Looked::Attachments,
            _ if places().any(|place| place.lookaside.is_some() || place.sigstore.is_some()) => {
                Looked::LookasideOnly
            }
            _ => Looked::Nowhere,
        }
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, PlacesError> {
        let failed = |source| PlacesError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX {
            return Err(PlacesError::TooLarge { path: path.to_owned(), limit: FILE_MAX });
        }
        let syntax = |reason: String| PlacesError::Syntax { path: path.to_owned(), reason };
        // A file of comments alone, as distributions ship it, is no document.
        let is_blank = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        };
        if text.lines().all(is_blank) {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_documents: 1, max_depth: 16, max_aliases: 0 },
        };
        let first_line = |text: String| text.lines().next().unwrap_or_default().chars().take(300).collect();
        let file: Self = serde_saphyr::from_str_with_options(&text, options)
            .map_err(|error| syntax(first_line(error.to_string())))?;
        let places = file.default_docker.iter().chain(file.docker.iter().flat_map(BTreeMap::values));
        for url in places.flat_map(Place::urls) {
            if !["http://", "https://", "file:///"].iter().any(|scheme| url.starts_with(scheme)) {
                return Err(syntax(format!("{url:?} is not an http, https or file URL")));
            }
        }
        Ok(file)
    }
}

impl Place {
    fn urls(&self) -> impl Iterator<Item = &String> {
        [&self.lookaside, &self.lookaside_staging, &self.sigstore, &self.sigstore_staging]
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<SignaturePlaces, PlacesError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        SignaturePlaces::load(dir.path())
    }

    #[test]
    fn the_most_specific_namespace_that_says_something_decides() {
        let places = load(&[
            ("a.yaml", "default-docker:\n  lookaside: https://sigs.example\n"),
            ("comments.yaml", "# nothing\n---\n"),
            (
                "b.yaml",
                "docker:\n  signed.io:\n    use-sigstore-attachments: true\n  signed.io/off:\n    \
                 use-sigstore-attachments: false\n  signed.io/off/silent:\n    lookaside-staging: file:///srv\n  \
                 '*.corp.io':\n    use-sigstore-attachments: true\n",
            ),
            ("not-read.conf", "{"),
        ])
        .unwrap();
        for (image, expected) in [
            ("signed.io/app:1", Looked::Attachments),
            ("signed.io/off/app:1", Looked::LookasideOnly),
            ("signed.io/off/silent:1", Looked::LookasideOnly),
            ("a.corp.io:5000/app", Looked::Attachments),
            ("corp.io/app", Looked::LookasideOnly),
        ] {
            assert_eq!(places.of(&Reference::parse(image).unwrap()), expected, "{image}");
        }
        let image = Reference::parse("signed.io/app").unwrap();
        assert_eq!(SignaturePlaces::default().of(&image), Looked::Nowhere);
        let missing = SignaturePlaces::load(Path::new("/nonexistent/registries.d")).unwrap();
        assert_eq!(missing.of(&image), Looked::Nowhere);
    }

    #[test]
    fn what_is_not_understood_or_said_twice_refuses() {
        for files in [
            &[("a.yaml", "docker:\n  r.io:\n    use-sigstore-attachement: true\n")][..],
            &[("a.yaml", "podman: {}\n")],
            &[("a.yaml", "docker:\n  r.io:\n    use-sigstore-attachments: maybe\n")],
            &[("a.yaml", "docker:\n  r.io:\n    lookaside: sigs.example\n")],
            &[("a.yaml", "docker:\n  r.io: {}\n  r.io: {}\n")],
            &[("a.yaml", "docker:\n  r.io: {}\n"), ("b.yaml", "docker:\n  r.io: {}\n")],
            &[("a.yaml", "default-docker: {}\n"), ("b.yaml", "default-docker: {}\n")],
            &[("a.yaml", ": : :\n- [")],
        ] {
            assert!(load(files).is_err(), "{files:?}");
        }
    }
}
