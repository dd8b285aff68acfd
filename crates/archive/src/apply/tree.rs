//! Makes members in the layer directory.
//!
//! Every call names one component below a held parent and follows no link there. Order on each file: content, owner
//! (which clears setuid and capabilities), mode, extended attributes, times. Directory times come last of all, since
//! filling a directory changes them.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ochre_sys::rooted::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::ApplyOptions;
use super::content::{Splitter, each_piece};
use super::error::{Error, shown};
use super::parents::Parents;
use super::path::{EntryPath, os, path};
use super::replace::{self, Existing};
use super::whiteout::hidden_name;
use super::xattr;
use crate::pipeline::Stream;
use crate::tar::{Entry, Extent, Kind, ModificationTime, Reader};

/// Most bytes of directory names remembered for their times.
const MOST_DIRECTORY_BYTES: usize = 128 * 1024 * 1024;

/// The layer directory being filled.
pub(super) struct Tree<'a> {
    root: &'a Root,
    /// `/proc/self/fd`.
    descriptors: OwnedFd,
    options: ApplyOptions,
    parents: Parents<'a>,
    targets: Parents<'a>,
    times: Vec<(Box<[u8]>, ModificationTime)>,
    times_bytes: usize,
    replaced: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Root, descriptors: OwnedFd, options: ApplyOptions) -> Self {
        let (parents, targets) = (Parents::new(root), Parents::new(root));
        Self { root, descriptors, options, parents, targets, times: Vec::new(), times_bytes: 0, replaced: 0 }
    }

    pub(super) fn options(&self) -> &ApplyOptions {
        &self.options
    }

    /// Directories made so far only because something lies in them.
    pub(super) fn unnamed_directories(&self) -> u64 {
        self.parents.made()
    }

    /// Makes a regular file with the content that `archive` stands at.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
        archive: &mut Reader<Stream>,
        splitter: &mut Splitter<'_, '_>,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::from_raw_mode(0o600);
        let fd = self.make(path, |parent, name| rustix::fs::openat(parent, os(name), flags, private))?;
        if self.parents.behind_link() {
            splitter.behind_link();
        }
        let mut file = File::from(fd);
        match &entry.sparse {
            None => each_piece(archive, splitter, |piece| {
                file.write_all(piece).map_err(Error::at("writing", path.bytes()))
            })?,
            Some(map) => {
                let mut runs = Runs { map, done: 0 };
                each_piece(archive, splitter, |piece| {
                    runs.write(&file, piece).map_err(Error::at("writing", path.bytes()))
                })?;
                file.set_len(entry.size).map_err(Error::at("setting the size of", path.bytes()))?;
            }
        }
        self.attributes(file.as_fd(), entry)?;
        rustix::fs::futimens(&file, &timestamps(entry.mtime))
            .map_err(Error::at("setting the times of", path.bytes()))
    }

    /// Makes anything but a regular file.
    pub(super) fn other(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), Error> {
        match entry.kind {
            Kind::Directory => self.directory(path, entry),
            Kind::Symlink => {
                self.make(path, |parent, name| rustix::fs::symlinkat(os(&entry.link), parent, os(name)))?;
                self.owner_and_times(path, entry)
            }
            Kind::HardLink => self.hard_link(path, entry),
            Kind::Fifo => self.node(path, entry, FileType::Fifo, 0),
            Kind::CharDevice { major: 0, minor: 0 } => self.hide(path, path.name()),
            Kind::CharDevice { major, minor } => {
                self.device(path, entry, FileType::CharacterDevice, (major, minor))
            }
            Kind::BlockDevice { major, minor } => {
                self.device(path, entry, FileType::BlockDevice, (major, minor))
            }
            // Content goes through `file`; a member of this kind never comes here.
            Kind::File => Ok(()),
        }
    }

    /// Hides the name that the whiteout `path` stands for.
    pub(super) fn whiteout(&mut self, path: &EntryPath) -> Result<(), Error> {
        self.hide(path, hidden_name(path))
    }

    /// Makes the directory that `path` lies in opaque.
    pub(super) fn opaque(&mut self, path: &EntryPath) -> Result<(), Error> {
        let parent = self.parents.open(path.parent())?;
        let dir = replace::open_directory(parent, b".")
            .map_err(Error::at("opening the directory", path.parent()))?;
        replace::make_opaque(dir.as_fd()).map_err(Error::at("making opaque", path.parent()))
    }

    /// Sets the times of directories. Returns how many members were replaced by later ones.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        for (bytes, mtime) in std::mem::take(&mut self.times) {
            self.directory_times(&bytes, mtime).map_err(Error::at("setting the times of", &bytes))?;
        }
        Ok(self.replaced)
    }

    fn directory(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), Error> {
        let dir = if path.is_root() { self.open_root() } else { self.make_directory(path) };
        let dir = dir?;
        self.attributes(dir.as_fd(), entry)?;
        self.times_bytes += path.bytes().len() + size_of::<(Box<[u8]>, ModificationTime)>();
        if self.times_bytes > MOST_DIRECTORY_BYTES {
            return Err(Error::TooManyDirectories { limit: MOST_DIRECTORY_BYTES });
        }
        self.times.push((path.bytes().into(), entry.mtime));
        Ok(())
    }

    fn open_root(&self) -> Result<OwnedFd, Error> {
        self.root
            .open_at(path(b""), OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .map_err(Error::at("opening the directory", b"."))
    }

    fn make_directory(&mut self, path: &EntryPath) -> Result<OwnedFd, Error> {
        let name = path.name();
        let parent = self.parents.open(path.parent())?;
        let make = || rustix::fs::mkdirat(parent, os(name), Mode::from_raw_mode(0o700));
        let found = match make() {
            Ok(()) => Existing::Nothing,
            Err(Errno::EXIST) => {
                replace::existing(parent, name).map_err(Error::at("looking at", path.bytes()))?
            }
            Err(error) => return Err(Error::at("making the directory", path.bytes())(error)),
        };
        if matches!(found, Existing::Whiteout | Existing::Other) {
            replace::remove(parent, name).map_err(Error::at("replacing", path.bytes()))?;
            make().map_err(Error::at("making the directory", path.bytes()))?;
        }
        let dir = replace::open_directory(parent, name)
            .map_err(Error::at("opening the directory", path.bytes()))?;
        if found == Existing::Whiteout {
            // The name below is gone, and a new directory has it: nothing of the old one may show through.
            replace::make_opaque(dir.as_fd()).map_err(Error::at("making opaque", path.bytes()))?;
        }
        if matches!(found, Existing::Whiteout | Existing::Other) {
            self.removed(found);
        }
        Ok(dir)
    }

    fn hard_link(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), Error> {
        let missing = || Error::LinkTarget { path: shown(path.bytes()), target: shown(&entry.link) };
        let target = EntryPath::of(&entry.link)?;
        let old = self.targets.existing(target.parent()).map_err(|_| missing())?;
        let old = rustix::io::fcntl_dupfd_cloexec(old, 0)
            .map_err(Error::at("opening the directory", target.parent()))?;
        match replace::existing(old.as_fd(), target.name()) {
            Ok(Existing::Other) if !target.is_root() => {}
            _ => return Err(missing()),
        }
        if !path.is_root() && self.is_same_file(path, old.as_fd(), target.name())? {
            return Ok(());
        }
        self.make(path, |parent, name| {
            rustix::fs::linkat(&old, os(target.name()), parent, os(name), AtFlags::empty())
        })
    }

    /// Linking a file to itself would remove it first.
    fn is_same_file(&mut self, path: &EntryPath, dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Error> {
        let parent = self.parents.open(path.parent())?;
        let identity = |dir: BorrowedFd<'_>, name: &[u8]| {
            let stat = rustix::fs::statat(dir, os(name), AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        Ok(identity(parent, path.name()).is_some_and(|here| identity(dir, name) == Some(here)))
    }

    fn device(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
        kind: FileType,
        number: (u32, u32),
    ) -> Result<(), Error> {
        let (major, minor) = number;
        if !self.options.device_nodes {
            return Err(Error::Device { path: shown(path.bytes()), major, minor });
        }
        self.node(path, entry, kind, rustix::fs::makedev(major, minor))
    }

    fn node(&mut self, path: &EntryPath, entry: &Entry, kind: FileType, number: u64) -> Result<(), Error> {
        let private = Mode::from_raw_mode(0o600);
        self.make(path, |parent, name| rustix::fs::mknodat(parent, os(name), kind, private, number))?;
        self.owner_and_times(path, entry)?;
        // Opening the node would block or wake a driver; a path descriptor pins it, and the kernel changes the mode
        // only through its name in /proc (until fchmodat2 of Linux 6.6), which is open from before a sandbox closed.
        let parent = self.parents.open(path.parent())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(parent, os(path.name()), flags, Mode::empty())
            .map_err(Error::at("opening", path.bytes()))?;
        let pinned = node.as_raw_fd().to_string();
        rustix::fs::chmodat(&self.descriptors, pinned, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(Error::at("setting the mode of", path.bytes()))
    }

    /// Makes a whiteout of `name` beside `path`. What this layer itself has under that name stays: whiteouts speak of
    /// the layers below (image specification), so a directory of this layer becomes opaque.
    fn hide(&mut self, path: &EntryPath, name: &[u8]) -> Result<(), Error> {
        if path.is_root() {
            return Err(Error::NotTheRoot { path: shown(path.bytes()) });
        }
        let parent = self.parents.open(path.parent())?;
        match rustix::fs::mknodat(parent, os(name), FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::at("making the whiteout", path.bytes())(error)),
        }
        if replace::existing(parent, name).map_err(Error::at("looking at", path.bytes()))?
            == Existing::Directory
        {
            let dir = replace::open_directory(parent, name)
                .map_err(Error::at("opening the directory", path.bytes()))?;
            replace::make_opaque(dir.as_fd()).map_err(Error::at("making opaque", path.bytes()))?;
        }
        Ok(())
    }

    /// Makes a member with `make`, which must refuse an existing name; then once more after removing that.
    fn make<T>(
        &mut self,
        path: &EntryPath,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        if path.is_root() {
            return Err(Error::NotTheRoot { path: shown(path.bytes()) });
        }
        let parent = self.parents.open(path.parent())?;
        match make(parent, path.name()) {
            Err(Errno::EXIST) => {
                let found =
                    replace::existing(parent, path.name()).map_err(Error::at("looking at", path.bytes()))?;
                replace::remove(parent, path.name()).map_err(Error::at("replacing", path.bytes()))?;
                let made = make(parent, path.name());
                self.removed(found);
                made
            }
            result => result,
        }
        .map_err(Error::at("making", path.bytes()))
    }

    fn removed(&mut self, what: Existing) {
        if what != Existing::Whiteout {
            self.replaced += 1;
        }
        self.parents.forget();
        self.targets.forget();
    }

    fn attributes(&self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(fd, Some(uid), Some(gid))
            .map_err(Error::at("setting the owner of", &entry.name))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(Error::at("setting the mode of", &entry.name))?;
        xattr::set(fd, entry, self.options.limits.max_entry_xattrs)
    }

    fn owner_and_times(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), Error> {
        let parent = self.parents.open(path.parent())?;
        let (name, nofollow) = (os(path.name()), AtFlags::SYMLINK_NOFOLLOW);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)
            .map_err(Error::at("setting the owner of", path.bytes()))?;
        rustix::fs::utimensat(parent, name, &timestamps(entry.mtime), nofollow)
            .map_err(Error::at("setting the times of", path.bytes()))
    }

    /// A directory that a later member replaced or moved out of reach has no times to set.
    fn directory_times(&mut self, bytes: &[u8], mtime: ModificationTime) -> Result<(), Errno> {
        let slash = bytes.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match slash {
            Some(slash) => {
                (bytes.get(..slash).unwrap_or_default(), bytes.get(slash + 1..).unwrap_or_default())
            }
            None if bytes.is_empty() => (&b""[..], &b"."[..]),
            None => (&b""[..], bytes),
        };
        let parent = match self.parents.existing(parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error),
        };
        if replace::existing(parent, name)? != Existing::Directory {
            return Ok(());
        }
        rustix::fs::utimensat(parent, os(name), &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Writes stored runs of a sparse file to their places.
struct Runs<'a> {
    map: &'a [Extent],
    /// Bytes of the first extent that are written.
    done: u64,
}

impl Runs<'_> {
    fn write(&mut self, file: &File, mut piece: &[u8]) -> std::io::Result<()> {
        while let Some((extent, rest)) = self.map.split_first() {
            let left = usize::try_from(extent.length - self.done).unwrap_or(usize::MAX);
            let (now, later) = piece.split_at(left.min(piece.len()));
            file.write_all_at(now, extent.offset + self.done)?;
            self.done += now.len() as u64;
            piece = later;
            if self.done < extent.length {
                return Ok(());
            }
            (self.map, self.done) = (rest, 0);
        }
        Ok(())
    }
}

/// Access time is set to the modification time: layers carry no access times worth keeping.
fn timestamps(mtime: ModificationTime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
