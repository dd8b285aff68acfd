//! A procfs handle of the runtime's own (invariant I2).
//!
//! Kernel parameters and security labels are written through a detached mount that nobody else can reach, never
//! through a container's `/proc`, in which files may be covered by others (CVE-2019-16884, CVE-2025-52881).

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// A detached procfs of the caller's PID namespace.
#[derive(Debug)]
pub struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Makes the handle. The processes it shows are those of the caller's PID namespace, the kernel parameters those
    /// of whoever uses it.
    ///
    /// # Errors
    /// The error of the mount calls.
    pub fn open() -> io::Result<Self> {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self { root })
    }

    fn file(&self, path: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        Ok(file.into())
    }

    /// Writes a value to a file in one call.
    ///
    /// # Errors
    /// The error of opening or writing.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.file(path, OFlags::WRONLY)?.write_all(value.as_bytes())
    }

    /// Writes a value to a file of the calling process.
    ///
    /// # Errors
    /// The error of opening or writing.
    pub fn write_own(&self, name: &str, value: &str) -> io::Result<()> {
        // `self` is a symbolic link, which this handle does not follow.
        self.write(&format!("{}/{name}", rustix::process::getpid().as_raw_nonzero()), value)
    }
}
