//! Mount system calls rustix lacks: `mount_setattr` (Linux 5.12).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A change of mount attributes, for one mount or a tree of them.
///
/// Flags are the kernel's `MOUNT_ATTR_*`, propagation its `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`.
#[derive(Debug, Default, Clone, Copy)]
pub struct AttributeChange<'a> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// The new propagation type, or 0 to keep it.
    pub propagation: u64,
    /// User namespace whose mapping an id-mapped mount uses; the mount must be detached.
    pub id_map: Option<BorrowedFd<'a>>,
    /// Also change every mount below.
    pub recursive: bool,
}

impl AttributeChange<'_> {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0 && self.id_map.is_none()
    }
}

/// `MOUNT_ATTR_RDONLY`.
pub const ATTR_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// `MOUNT_ATTR_NOSUID`.
pub const ATTR_NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// `MOUNT_ATTR_NODEV`.
pub const ATTR_NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// `MOUNT_ATTR_NOEXEC`.
pub const ATTR_NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// `MOUNT_ATTR__ATIME`: the mask of the three access time modes, which must be cleared before one is set.
pub const ATTR_ATIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;
/// `MOUNT_ATTR_RELATIME`.
pub const ATTR_RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
/// `MOUNT_ATTR_NOATIME`.
pub const ATTR_NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// `MOUNT_ATTR_STRICTATIME`.
pub const ATTR_STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// `MOUNT_ATTR_NODIRATIME`.
pub const ATTR_NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// `MOUNT_ATTR_NOSYMFOLLOW` (Linux 5.14).
pub const ATTR_NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// `MS_PRIVATE`, for [`AttributeChange::propagation`].
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// `MS_SLAVE`.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// `MS_SHARED`.
pub const SHARED: u64 = libc::MS_SHARED;
/// `MS_UNBINDABLE`.
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Changes the attributes of the mount that `mount` is the root of.
///
/// # Errors
/// The error of the call: `EINVAL` when `mount` is not the root of a mount, `ENOSYS` before Linux 5.12.
pub fn set_attributes(mount: BorrowedFd<'_>, change: &AttributeChange<'_>) -> io::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    let mut attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    if let Some(namespace) = change.id_map {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = namespace.as_raw_fd() as u64;
    }
    let recursive = if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path is NUL-terminated, `attr` lives across the call and its size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_mut(&mut attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
