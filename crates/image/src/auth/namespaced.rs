//! CRI-O's credentials by Kubernetes namespace: `<directory>/<namespace>-<sha256 of the image's name>.json`.
//!
//! A credential provider of the kubelet writes such a file for one pull. It is taken: read once and removed, so that a
//! secret does not stay on the disk longer than it is needed. To be taken by one pull only, and to leave nothing behind
//! in a place where the next pull would find it, it is moved aside first.
//!
//! ```text
//!   <ns>-<hash>.json ── rename ──▶ in-use/<ns>-<hash>-<random>.json ── read ──▶ removed (also by the next start)
//! ```

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::{AuthError, AuthFiles, Credentials};
use crate::images::sha256;
use crate::reference::Reference;

const IN_USE: &str = "in-use";

/// The directory of such files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacedAuth(PathBuf);

/// A file that was taken; it is gone from the disk once this is dropped.
#[derive(Debug)]
pub(crate) struct Taken(PathBuf);

impl Drop for Taken {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Taken {
    /// The credentials in the file for `reference`, or for one of its mirrors.
    pub(crate) fn lookup(&self, reference: &Reference) -> Result<Option<Credentials>, AuthError> {
        AuthFiles::only(self.0.clone()).lookup(reference, &[])
    }
}

impl NamespacedAuth {
    /// Uses this directory, and removes what pulls of an earlier run have left in use.
    pub fn open(directory: PathBuf) -> Self {
        if let Ok(left) = std::fs::read_dir(directory.join(IN_USE)) {
            for file in left.flatten() {
                drop(std::fs::remove_file(file.path()));
            }
        }
        Self(directory)
    }

    /// The file for a pull of `reference` in `namespace`, if there is one.
    pub(crate) fn path(&self, namespace: &str, reference: &Reference) -> Option<PathBuf> {
        // The namespace becomes part of a file name.
        if namespace.is_empty() || namespace.contains(['/', '\0']) {
            return None;
        }
        let digest = sha256(reference.repository().as_bytes());
        let hash = digest.hex();
        Some(self.0.join(format!("{namespace}-{hash}.json")))
    }

    /// Takes the file for a pull of `reference` in `namespace`. Blocking.
    ///
    /// # Errors
    /// A file that exists and cannot be moved.
    pub(crate) fn take(&self, namespace: &str, reference: &Reference) -> Result<Option<Taken>, AuthError> {
        let Some(path) = self.path(namespace, reference).filter(|path| path.is_file()) else {
            return Ok(None);
        };
        let failed = |source| AuthError::Read { path: path.clone(), source };
        let in_use = self.0.join(IN_USE);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&in_use).map_err(failed)?;
        let random = getrandom::u64().map_err(|error| failed(std::io::Error::from(error)))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let taken = in_use.join(format!("{stem}-{random:016x}.json"));
        match std::fs::rename(&path, &taken) {
            Ok(()) => Ok(Some(Taken(taken))),
            // Another pull was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_one_pull_of_one_image_in_one_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let auth = NamespacedAuth::open(dir.path().to_owned());
        let reference = Reference::parse("quay.io/team/app:1").unwrap();
        let path = auth.path("prod", &reference).unwrap();
        let hash = "3aec51a61d13d17bb49232c144638bcd4f6c5a35e648122f2e633dd5c634e76b";
        assert_eq!(path, dir.path().join(format!("prod-{hash}.json")));
        std::fs::write(&path, r#"{"auths": {"quay.io/team": {"auth": "am9lOnB3"}}}"#).unwrap();
        assert!(auth.take("test", &reference).unwrap().is_none());
        assert!(auth.take("prod", &Reference::parse("quay.io/team/other").unwrap()).unwrap().is_none());
        let taken = auth.take("prod", &reference).unwrap().unwrap();
        assert!(taken.lookup(&reference).unwrap().is_some());
        assert!(auth.take("prod", &reference).unwrap().is_none(), "it was taken already");
        drop(taken);
        assert_eq!(std::fs::read_dir(dir.path().join(IN_USE)).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_run_left_in_use_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(IN_USE)).unwrap();
        std::fs::write(dir.path().join(IN_USE).join("prod-x-1.json"), "secret").unwrap();
        NamespacedAuth::open(dir.path().to_owned());
        assert_eq!(std::fs::read_dir(dir.path().join(IN_USE)).unwrap().count(), 0);
    }

    #[test]
    fn a_namespace_leads_to_no_other_directory() {
        let auth = NamespacedAuth(PathBuf::from("/etc/crio/auth"));
        let reference = Reference::parse("quay.io/a").unwrap();
        assert_eq!(auth.path("../x", &reference), None);
        assert_eq!(auth.path("", &reference), None);
    }
}
