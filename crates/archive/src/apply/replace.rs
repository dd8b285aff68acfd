//! What is already there under a member's name, and how it makes room.
//!
//! Only earlier members of the same layer can be there. A directory is removed with a fixed number of descriptors and
//! no recursion, however deep an archive nested it: directories found inside are moved up before their turn comes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::path::os;

/// What has a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    Directory,
    /// A character device 0:0.
    Whiteout,
    Other,
}

pub(super) fn existing(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Existing, Errno> {
    let stat = match rustix::fs::statat(parent, os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Existing::Nothing),
        Err(error) => return Err(error),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Existing::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Existing::Whiteout,
        _ => Existing::Other,
    })
}

/// Opens a directory without following a link, so that it can be changed.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, os(name), flags, Mode::empty())
}

/// Hides what the layers below have in this directory (Linux `Documentation/filesystems/overlayfs.rst`).
pub(super) fn make_opaque(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Removes whatever has the name, a directory with all it holds.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, os(name), AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return result,
    }
    let top = open_directory(parent, name)?;
    let mut moved = 0;
    while !empty_one_level(top.as_fd(), &mut moved)? {}
    rustix::fs::unlinkat(parent, os(name), AtFlags::REMOVEDIR)
}

/// Removes the files of `top` and the directories in it that hold no directory; moves the others' directories up into
/// `top`. `true` once nothing is left.
fn empty_one_level(top: BorrowedFd<'_>, moved: &mut u64) -> Result<bool, Errno> {
    let mut empty = true;
    for_each_name(top, |name| {
        match rustix::fs::unlinkat(top, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            result => return result,
        }
        empty = false;
        let child = open_directory(top, name.to_bytes())?;
        for_each_name(child.as_fd(), |name| match rustix::fs::unlinkat(&child, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => move_up(child.as_fd(), name, top, moved),
            result => result,
        })?;
        rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
    })?;
    Ok(empty)
}

fn move_up(
    from: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> Result<(), Errno> {
    loop {
        *moved += 1;
        match rustix::fs::renameat_with(from, name, top, format!(".removed-{moved}"), RenameFlags::NOREPLACE)
        {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

fn for_each_name(
    dir: BorrowedFd<'_>,
    mut each: impl FnMut(&std::ffi::CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut entries = Dir::read_from(dir)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            each(entry.file_name())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_deeper_than_any_path_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let top: OwnedFd = fs::File::open(scratch.path()).unwrap().into();
        rustix::fs::mkdirat(&top, "victim", Mode::from_raw_mode(0o700)).unwrap();
        let mut dir = open_directory(top.as_fd(), b"victim").unwrap();
        for _ in 0..3000 {
            for name in ["d", ".removed-7"] {
                rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o700)).unwrap();
            }
            rustix::fs::symlinkat("/etc", &dir, "link").unwrap();
            dir = open_directory(dir.as_fd(), b"d").unwrap();
        }
        fs::write(scratch.path().join("kept"), "").unwrap();
        remove(top.as_fd(), b"victim").unwrap();
        let left: Vec<_> =
            fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
    }
}
