//! Reading and writing the small files of cgroup file systems.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::CgroupError;

/// More than any of these files has; `cgroup.procs` of a group with 100,000 processes is below it.
const MAX_SIZE: u64 = 1 << 20;

pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|error| CgroupError::Access {
        action: "open",
        path: path.to_owned(),
        source: error.into(),
    })
}

/// Writes a value in one call, as these files want it.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let result = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    result.map_err(|source| match source.raw_os_error() {
        Some(code)
            if code == rustix::io::Errno::INVAL.raw_os_error()
                || code == rustix::io::Errno::RANGE.raw_os_error() =>
        {
            CgroupError::Value { path: path.to_owned(), value: value.to_owned(), source }
        }
        _ => CgroupError::Access { action: "write", path: path.to_owned(), source },
    })
}

/// Writes a value if the file exists; whether it did.
pub(super) fn write_if_present(path: &Path, value: &str) -> Result<bool, CgroupError> {
    match write(path, value) {
        Ok(()) => Ok(true),
        Err(CgroupError::Access { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let result = file.and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text));
    match result {
        Ok(_) => Ok(text),
        Err(source) => Err(CgroupError::Access { action: "read", path: path.to_owned(), source }),
    }
}

/// Whether an error says that the file or its group does not exist (any more).
pub(super) fn is_gone(error: &CgroupError) -> bool {
    let gone = |source: &io::Error| {
        source.kind() == io::ErrorKind::NotFound
            || source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
    };
    matches!(error, CgroupError::Access { source, .. } if gone(source))
}
