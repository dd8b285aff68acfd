//! Paths that an image, an archive, a volume or a pod can influence, resolved inside a held directory.
//!
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` (Linux 5.6) lets the kernel do the resolution: `..` and absolute
//! links stay below the root whatever renames run at the same time. There is no string fallback: a kernel without
//! `openat2` is refused with its own error.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens a directory of the engine's own (its path is trusted) as a root.
    ///
    /// # Errors
    /// The error of opening it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { dir })
    }

    /// Takes an open directory as a root.
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir }
    }

    /// Opens `path` inside the root, following links inside it. A leading `/` means the root itself.
    ///
    /// # Errors
    /// The error of `openat2`; `ELOOP` for a magic link.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        self.open_with(path, flags, mode, ResolveFlags::IN_ROOT)
    }

    /// Opens `path` inside the root and follows no symbolic link at all, neither in the middle nor at the end.
    ///
    /// # Errors
    /// The error of `openat2`; `ELOOP` for any link.
    pub fn open_no_symlinks(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        self.open_with(path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    fn open_with(&self, path: &Path, flags: OFlags, mode: u32, resolve: ResolveFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mode = if flags.intersects(OFlags::CREATE | OFlags::TMPFILE) {
            Mode::from_raw_mode(mode)
        } else {
            Mode::empty()
        };
        loop {
            let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel could not prove that a concurrent rename did not leave the root; its manual says to retry.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result.map_err(io::Error::from),
            }
        }
    }

    /// Reads a regular file of at most `limit` bytes. Never blocks on a FIFO, never follows a link out of the root.
    ///
    /// # Errors
    /// `InvalidData` for anything but a regular file and for a file over the limit; otherwise the error of the call.
    pub fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?;
        let stat = rustix::fs::fstat(&file)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), limit + 1), &mut content)?;
        if content.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
        }
        Ok(content)
    }

    /// Makes `path` and its missing parents as directories inside the root and opens the last one (`O_PATH`).
    /// Existing links are followed inside the root.
    ///
    /// # Errors
    /// `InvalidInput` for a path with `..`; otherwise the error of the call.
    pub fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        let mut walked = std::path::PathBuf::from("/");
        let mut current = rustix::io::fcntl_dupfd_cloexec(&self.dir, 0)?;
        for component in path.components() {
            let name: &OsStr = match component {
                Component::Normal(name) => name,
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "path contains `..`"));
                }
            };
            walked.push(name);
            current = match self.open_at(&walked, OFlags::PATH | OFlags::DIRECTORY, 0) {
                Ok(dir) => dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(mode)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.open_at(&walked, OFlags::PATH | OFlags::DIRECTORY, 0)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(current)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("ochre-rooted-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("root/etc")).unwrap();
        std::fs::write(path.join("outside"), "secret").unwrap();
        path
    }

    #[test]
    fn links_and_dots_stay_below_the_root() {
        let path = scratch("links");
        let root = Root::open(&path.join("root")).unwrap();
        symlink(path.join("outside"), path.join("root/etc/absolute")).unwrap();
        symlink("../../outside", path.join("root/etc/relative")).unwrap();
        symlink("/proc/self/root", path.join("root/etc/magic")).unwrap();
        for hostile in ["etc/absolute", "etc/relative", "../outside", "etc/magic/outside"] {
            assert!(root.read_limited(Path::new(hostile), 100).is_err(), "{hostile}");
        }
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn reading_refuses_fifos_directories_and_large_files() {
        let path = scratch("kinds");
        let root = Root::open(&path.join("root")).unwrap();
        rustix::fs::mkfifoat(root.dir_for_tests(), "fifo", Mode::from_raw_mode(0o600)).unwrap();
        std::fs::write(path.join("root/large"), vec![0; 101]).unwrap();
        std::fs::write(path.join("root/fits"), vec![7; 100]).unwrap();
        assert!(root.read_limited(Path::new("fifo"), 100).is_err());
        assert!(root.read_limited(Path::new("etc"), 100).is_err());
        assert!(root.read_limited(Path::new("large"), 100).is_err());
        assert_eq!(root.read_limited(Path::new("/fits"), 100).unwrap().len(), 100);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn directories_are_made_through_links_but_inside() {
        let path = scratch("mkdir");
        let root = Root::open(&path.join("root")).unwrap();
        symlink("/etc", path.join("root/alias")).unwrap();
        root.create_dir_all(Path::new("/alias/new/deep"), 0o755).unwrap();
        assert!(path.join("root/etc/new/deep").is_dir());
        assert!(root.create_dir_all(Path::new("a/../b"), 0o755).is_err());
        std::fs::remove_dir_all(&path).unwrap();
    }

    impl Root {
        fn dir_for_tests(&self) -> OwnedFd {
            self.open_at(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY, 0).unwrap()
        }
    }
}
