//! Extended attributes an image may set: `user.*` and `security.capability`.
//!
//! `trusted.*` steers overlayfs itself (a layer could make its directory opaque or redirect it to another),
//! `security.selinux` and other labels are the node's policy, `system.posix_acl_*` never comes from image builders:
//! all left out.

use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::error::{Error, shown};
use super::path::os;
use crate::tar::Entry;

const LONGEST_NAME: usize = 255;
const LONGEST_VALUE: usize = 64 * 1024;

/// Sets the attributes of `entry` on the file or directory `fd`.
pub(super) fn set(fd: BorrowedFd<'_>, entry: &Entry, limit: usize) -> Result<(), Error> {
    if entry.xattrs.len() > limit {
        return Err(Error::TooManyXattrs { path: shown(&entry.name), count: entry.xattrs.len(), limit });
    }
    for (name, value) in &entry.xattrs {
        if !is_accepted(name) {
            continue;
        }
        if !is_valid(name, value) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Error::InvalidXattr { path: shown(&entry.name), name, length: value.len() });
        }
        match rustix::fs::fsetxattr(fd, os(name), value, XattrFlags::empty()) {
            Ok(()) => {}
            // Not every file system stores `user.*` (tmpfs before Linux 6.6); containers/storage goes on as well.
            Err(Errno::NOTSUP) if name.starts_with(b"user.") => {}
            Err(error) => return Err(Error::at("setting an extended attribute of", &entry.name)(error)),
        }
    }
    Ok(())
}

fn is_accepted(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.")
}

fn is_valid(name: &[u8], value: &[u8]) -> bool {
    if name == b"security.capability" {
        return is_capability(value);
    }
    name.len() > b"user.".len() && name.len() <= LONGEST_NAME && value.len() <= LONGEST_VALUE
}

/// `struct vfs_cap_data` of revision 2, or `vfs_ns_cap_data` of revision 3 (linux/capability.h).
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plausible_attributes_pass() {
        let capability = |revision: u8, length| {
            let mut value = vec![0; length];
            value[3] = revision;
            is_valid(b"security.capability", &value)
        };
        assert!(capability(2, 20) && capability(3, 24));
        assert!(!capability(1, 12) && !capability(2, 24) && !capability(3, 20) && !capability(2, 21));
        assert!(!is_valid(b"security.capability", b""));
        assert!(is_valid(b"user.x", b"") && is_valid(b"user.x", &[0; LONGEST_VALUE]));
        assert!(!is_valid(b"user.", b"") && !is_valid(b"user.x", &[0; LONGEST_VALUE + 1]));
        assert!(!is_valid(&[b"user.", &[b'x'; 251][..]].concat(), b""));
        for name in
            ["trusted.overlay.opaque", "security.selinux", "system.posix_acl_access", "user", "USER.x"]
        {
            assert!(!is_accepted(name.as_bytes()), "{name}");
        }
    }
}
