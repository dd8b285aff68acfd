//! Kernel settings below `/proc/sys`, of the calling thread's network namespace.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// A setting could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {} to {value}", .path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    #[source]
    source: io::Error,
}

impl SysctlError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            _ => ErrorKind::Internal,
        }
    }

    /// Whether the kernel has no such setting.
    pub(crate) fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Sets `key` (with slashes). Does not write what is already so: `/proc/sys` is read-only in many containers.
pub(crate) fn set(key: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = path(key);
    if is(key, value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| SysctlError { path, value, source })
}

/// Like [`set`], for a setting that the kernel may have been built without.
pub(crate) fn set_if_present(key: &str, value: &'static str) -> Result<(), SysctlError> {
    match set(key, value) {
        Err(error) if error.is_missing() => Ok(()),
        result => result,
    }
}

/// Whether `key` has this value.
pub(crate) fn is(key: &str, value: &str) -> bool {
    std::fs::read_to_string(path(key)).is_ok_and(|current| current.trim_end() == value)
}

/// The names in a directory of settings.
pub(crate) fn names(key: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path(key)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
