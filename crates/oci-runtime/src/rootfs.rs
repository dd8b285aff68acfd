//! Building the container's view of files.
//!
//! Host paths (the root, bind sources, device nodes) are opened in the runtime as detached copies of mounts, before
//! the child exists. In the child, every destination is resolved by the kernel inside the root's descriptor
//! (`RESOLVE_IN_ROOT`, no magic links) and mounts are attached by descriptor: there is no string that a link in the
//! image or a racing rename could turn into a host path (CVE-2021-30465, CVE-2025-31133, CVE-2025-52565).
//!
//! ```text
//! runtime:  prepare ── open_tree of root, binds, devices; attributes and id maps set while detached
//! child:    attach root at its path ─► mounts in order ─► devices ─► [hooks] ─► console ─► pivot ─► masks ─► read-only
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ochre_sys::mount::{AttributeChange, set_attributes};
use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::{CWD, FileType, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use thiserror::Error;

mod cgroup_mount;
pub(crate) mod console;
mod copy_up;
mod devices;
mod masks;
mod mounts;
mod options;
mod prepare;

pub use prepare::{Prepared, prepare};

/// Why the file view cannot be built.
#[derive(Debug, Error)]
pub enum RootfsError {
    /// A host path cannot be opened or copied.
    #[error("opening {path} on the host")]
    Source {
        /// The host path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A destination cannot be reached or made inside the root.
    #[error("preparing {path} in the container")]
    Destination {
        /// The path inside.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A destination where mounts would deceive the kernel's own interfaces.
    #[error("mounting on {path} is not allowed: {reason}")]
    Forbidden {
        /// The path inside.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A mount failed.
    #[error("mounting {path}")]
    Mount {
        /// The path inside.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A volume whose owners cannot be mapped.
    #[error("mapping the ids of the mount at {path}; its file system or the kernel may not be able to")]
    IdMap {
        /// The path inside.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount option that is not supported.
    #[error("mount option {option:?} of {path} is not supported")]
    Option {
        /// The path inside.
        path: PathBuf,
        /// The word.
        option: String,
    },
    /// A device node that is no device.
    #[error("device {path} has the type {kind:?}; `c`, `u`, `b` and `p` exist")]
    DeviceType {
        /// The path inside.
        path: PathBuf,
        /// The word.
        kind: String,
    },
    /// A node that is there already and is another one.
    #[error("{path} exists in the container and is not the device it should be")]
    WrongNode {
        /// The path inside.
        path: PathBuf,
    },
    /// A step on the whole root.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An unknown propagation.
    #[error("linux.rootfsPropagation {value:?} is not known")]
    Propagation {
        /// The word.
        value: String,
    },
}

impl RootfsError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Forbidden { .. } | Self::WrongNode { .. } => ErrorKind::Denied,
            Self::IdMap { .. } => ErrorKind::FailedPrecondition,
            Self::Option { .. } | Self::DeviceType { .. } | Self::Propagation { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Source { .. } | Self::Destination { .. } | Self::Mount { .. } | Self::Step { .. } => {
                ErrorKind::Internal
            }
        }
    }
}

pub(crate) fn step(step: &'static str) -> impl Fn(rustix::io::Errno) -> RootfsError {
    move |error| RootfsError::Step { step, source: error.into() }
}

/// Filesystem types by their magic numbers (statfs(2)).
pub(crate) const PROC_MAGIC: u64 = 0x9fa0;
pub(crate) const SYSFS_MAGIC: u64 = 0x6265_6572;
pub(crate) const DEVPTS_MAGIC: u64 = 0x1cd1;

pub(crate) fn filesystem_magic(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64)
}

/// Attaches a detached mount on an open place.
pub(crate) fn attach(tree: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", place, "", flags)?)
}

/// A detached copy of what is mounted or lies at an open place of the caller's own mount namespace.
pub(crate) fn copy_of(place: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(rustix::mount::open_tree(place, "", flags)?)
}

/// Opens a mount point inside the root and makes it if it is missing.
pub(crate) fn mount_point(root: &Root, path: &Path, is_directory: bool) -> Result<OwnedFd, RootfsError> {
    let error = |source| RootfsError::Destination { path: path.to_owned(), source };
    let opened = root.open_at(path, OFlags::PATH, 0);
    if !opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return opened.map_err(error);
    }
    if is_directory {
        return root.create_dir_all(path, 0o755).map_err(error);
    }
    let (parent, name) = split(path).ok_or_else(|| error(io::ErrorKind::InvalidInput.into()))?;
    let parent = root.create_dir_all(parent, 0o755).map_err(error)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::openat(&parent, name, flags, mode).map_err(|errno| error(errno.into()))?;
    root.open_at(path, OFlags::PATH, 0).map_err(error)
}

/// Parent and last component.
fn split(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode).is_dir())
}

/// Cuts the child's mounts off from the host's and attaches the root at its host path, where hooks look for it.
/// Returns the root for everything that follows.
///
/// # Errors
/// [`RootfsError`].
pub fn enter(prepared: &Prepared) -> Result<Root, RootfsError> {
    // What the host mounts later may still be seen until the pivot; nothing goes back to it.
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(step("cutting off mount propagation to the host"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(&prepared.rootfs, flags, rustix::fs::Mode::empty())
        .map_err(|error| RootfsError::Source { path: prepared.rootfs.clone(), source: error.into() })?;
    let failed = |source| RootfsError::Step { step: "attaching the root file system", source };
    attach(&prepared.root_tree, place).map_err(failed)?;
    let root =
        rustix::io::fcntl_dupfd_cloexec(&prepared.root_tree, 3).map_err(|error| failed(error.into()))?;
    Ok(Root::from_fd(root))
}

/// Mounts everything and makes the devices.
///
/// # Errors
/// [`RootfsError`].
pub fn populate(root: &Root, prepared: &mut Prepared) -> Result<(), RootfsError> {
    mounts::mount_all(root, prepared)?;
    if prepared.makes_devices {
        devices::make_all(root, prepared)?;
        devices::make_links(root)?;
    }
    Ok(())
}

/// Makes the root the only one and leaves the host's behind.
///
/// # Errors
/// [`RootfsError`].
pub fn pivot(root: &Root, no_pivot: bool) -> Result<(), RootfsError> {
    if no_pivot {
        // On an initramfs the root cannot be exchanged, only covered.
        rustix::process::fchdir(root).map_err(step("entering the root file system"))?;
        rustix::mount::mount_move(".", "/").map_err(step("moving the root file system to /"))?;
        rustix::process::chroot(".").map_err(step("changing the root"))?;
        return rustix::process::chdir("/").map_err(step("entering the new root"));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::openat(CWD, "/", flags, rustix::fs::Mode::empty())
        .map_err(step("opening the host's root"))?;
    rustix::process::fchdir(root).map_err(step("entering the root file system"))?;
    // Both in the same place: the host's root then lies on top and is taken away without a directory for it.
    rustix::process::pivot_root(".", ".").map_err(step("pivoting to the root file system"))?;
    rustix::process::fchdir(&host).map_err(step("returning to the host's root"))?;
    rustix::mount::mount_change(".", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(step("cutting off the host's root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(step("unmounting the host's root"))?;
    rustix::process::chdir("/").map_err(step("entering the new root"))
}

/// Hides and protects paths and sets the final attributes of the root.
///
/// # Errors
/// [`RootfsError`].
pub fn seal(root: &Root, prepared: &Prepared) -> Result<(), RootfsError> {
    masks::protect(root, &prepared.readonly_paths)?;
    masks::hide(root, &prepared.masked_paths)?;
    set_attributes(root.as_fd(), &prepared.final_root)
        .map_err(|source| RootfsError::Step { step: "setting the attributes of the root", source })
}

/// Change of attributes for a detached mount: propagation, and what its options say.
pub(crate) fn change(set: u64, clear: u64, propagation: u64, recursive: bool) -> AttributeChange<'static> {
    AttributeChange { set, clear, propagation, id_map: None, recursive }
}
