//! The directory a member goes into, held open.
//!
//! Archives list members directory by directory, so the last parent is kept: one `openat2` a directory, not one a
//! member. Whoever removes anything must call [`Parents::forget`], or the kept descriptor may be of a directory that
//! no longer has that name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ochre_sys::rooted::Root;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::error::Error;
use super::path::{os, path};
use super::replace::{self, Existing};

const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens parents below one root.
pub(super) struct Parents<'a> {
    root: &'a Root,
    held: Option<(Vec<u8>, OwnedFd)>,
    behind_link: bool,
    made: u64,
}

impl<'a> Parents<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, held: None, behind_link: false, made: 0 }
    }

    pub(super) fn forget(&mut self) {
        self.held = None;
    }

    /// Whether the parent opened last was reached through a symbolic link.
    pub(super) fn behind_link(&self) -> bool {
        self.behind_link
    }

    /// Opens the directory `parent`, making what is missing of it.
    pub(super) fn open(&mut self, parent: &[u8]) -> Result<BorrowedFd<'_>, Error> {
        match self.existing(parent) {
            Ok(_) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.make(parent)?;
                self.existing(parent).map_err(Error::at("opening the directory", parent))?;
            }
            Err(error) => return Err(Error::at("opening the directory", parent)(error)),
        }
        // The first call has made it the held one.
        self.existing(parent).map_err(Error::at("opening the directory", parent))
    }

    /// Opens the directory `parent` if there is one.
    pub(super) fn existing(&mut self, parent: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        if self.held.as_ref().is_none_or(|(path, _)| path != parent) {
            self.held = None;
            self.behind_link = false;
            let dir = match self.root.open_no_symlinks(path(parent), HOLD, 0) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                    self.behind_link = true;
                    self.root.open_at(path(parent), HOLD, 0)
                }
                result => result,
            };
            let dir = dir.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            self.held = Some((parent.to_vec(), dir));
        }
        self.held.as_ref().map(|(_, dir)| dir.as_fd()).ok_or(Errno::NOENT)
    }

    /// How many directories were made that the archive does not mention.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    fn make(&mut self, parent: &[u8]) -> Result<(), Error> {
        let mut above =
            self.root.open_at(path(b""), HOLD, 0).map_err(Error::at("opening the directory", parent))?;
        let mut end = 0;
        for name in parent.split(|byte| *byte == b'/') {
            end += name.len();
            let here = parent.get(..end).unwrap_or_default();
            above = self.step(above.as_fd(), name, here)?;
            end += 1;
        }
        Ok(())
    }

    /// One component down: into a plain directory by its name alone, so that a deep path costs linear time; from the
    /// root again where a link is in the way; into a new directory where there is none.
    fn step(&mut self, above: BorrowedFd<'_>, name: &[u8], here: &[u8]) -> Result<OwnedFd, Error> {
        let plain = HOLD | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let down = || rustix::fs::openat(above, os(name), plain, Mode::empty());
        if let Ok(dir) = down().or_else(|_| self.root.open_at(path(here), HOLD, 0)) {
            return Ok(dir);
        }
        make_missing(above, name).map_err(Error::at("making the directory", here))?;
        self.made += 1;
        down().map_err(Error::at("opening the directory", here))
    }
}

/// Makes a directory that the archive uses without having said what it is like.
fn make_missing(above: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let whiteout = match rustix::fs::mkdirat(above, os(name), Mode::from_raw_mode(0o700)) {
        Ok(()) => false,
        Err(Errno::EXIST) if replace::existing(above, name)? == Existing::Whiteout => {
            replace::remove(above, name)?;
            rustix::fs::mkdirat(above, os(name), Mode::from_raw_mode(0o700))?;
            true
        }
        // A file, or a link to nowhere.
        Err(Errno::EXIST) => return Err(Errno::NOTDIR),
        Err(error) => return Err(error),
    };
    let dir = replace::open_directory(above, name)?;
    if whiteout {
        replace::make_opaque(dir.as_fd())?;
    }
    rustix::fs::fchown(&dir, Some(Uid::ROOT), Some(Gid::ROOT))?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))
}
