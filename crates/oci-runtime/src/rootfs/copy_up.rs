//! `tmpcopyup`: a new tmpfs starts with what the image has in the directory that it covers.
//!
//! Both sides are held directories. Nothing is followed: links are copied as links, files are opened without following,
//! and whatever is neither a directory, a file nor a link stays behind.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::process::{Gid, Uid};

/// Deepest directory that is copied.
const MAX_DEPTH: u32 = 64;
/// Most entries that are copied; the size of the tmpfs limits their bytes.
const MAX_ENTRIES: u32 = 100_000;
const CHUNK: usize = 64 << 10;

/// Copies everything below `from` into `to`, with owners and modes; the modes of `from` itself as well.
///
/// # Errors
/// The first call that fails; `EFBIG` for a tree beyond the limits.
pub(super) fn copy_up(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let (from, to) = (directory(from.as_fd(), c".")?, directory(to.as_fd(), c".")?);
    let mut left = MAX_ENTRIES;
    copy_directory(&from, &to, MAX_DEPTH, &mut left)?;
    adopt(&to, &rustix::fs::fstat(&from)?)
}

fn directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: u32, left: &mut u32) -> io::Result<()> {
    let too_large = || io::Error::from_raw_os_error(rustix::io::Errno::FBIG.raw_os_error());
    let depth = depth.checked_sub(1).ok_or_else(too_large)?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(too_large)?;
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let (from, to) = (directory(from.as_fd(), name)?, directory(to.as_fd(), name)?);
                copy_directory(&from, &to, depth, left)?;
                adopt(&to, &stat)?;
            }
            FileType::RegularFile => copy_file(from, to, name, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&*target, to, name)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = rustix::io::read(&source, &mut chunk)?;
        if read == 0 {
            break;
        }
        let mut rest = &chunk[..read];
        while !rest.is_empty() {
            let written = rustix::io::write(&target, rest)?;
            rest = &rest[written..];
        }
    }
    adopt(&target, stat)
}

/// Owner first: a change of owner takes the setuid bits away.
fn adopt(target: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(target, Some(uid), Some(gid))?;
    Ok(rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))?)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_tree_is_copied_with_modes_and_links_and_without_following_any() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("from/sub")).unwrap();
        std::fs::create_dir(path("to")).unwrap();
        std::fs::write(path("outside"), "secret").unwrap();
        std::fs::write(path("from/sub/file"), "content").unwrap();
        std::fs::set_permissions(path("from/sub/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
        std::fs::set_permissions(path("from"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        symlink(path("outside"), path("from/link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("from/fifo"), Mode::RUSR).unwrap();
        let open = |name: &str| std::fs::File::open(path(name)).unwrap();
        copy_up(open("from"), open("to")).unwrap();
        assert_eq!(std::fs::read(path("to/sub/file")).unwrap(), b"content");
        assert_eq!(std::fs::metadata(path("to/sub/file")).unwrap().mode() & 0o7777, 0o4751);
        assert_eq!(std::fs::metadata(path("to")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::read_link(path("to/link")).unwrap(), path("outside"));
        assert!(!path("to/fifo").exists());
    }

    #[test]
    fn a_tree_beyond_the_depth_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let deep = (0..=MAX_DEPTH).fold(directory.path().join("from"), |path, _| path.join("d"));
        std::fs::create_dir_all(deep).unwrap();
        std::fs::create_dir(directory.path().join("to")).unwrap();
        let open = |name: &str| std::fs::File::open(directory.path().join(name)).unwrap();
        assert!(copy_up(open("from"), open("to")).is_err());
    }
}
