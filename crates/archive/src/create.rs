//! The archive of a layer that has no tar-split: made from the files, the same for the same files.
//!
//! Members are in the order of their names' bytes, a directory before what is in it. What overlayfs keeps as character
//! devices 0:0 and opaque directories becomes whiteouts again (OCI image specification, layer.md). The archive is not
//! the one that the layer came from, so it has another digest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::rebuild::{Hashed, RebuildError, Rebuilt};
use crate::tar::{Heading, padding, write_end};

const BUFFER: usize = 128 * 1024;
const LONGEST_LIST: usize = 64 * 1024;
const OPAQUE: &str = "trusted.overlay.opaque";
/// What a file refers to another layer with.
const REFERRING: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// Writes an archive of the layer directory `content` (overlayfs `diff`) to `output`.
///
/// # Errors
/// Errors of reading and writing; [`RebuildError::Refers`]; [`RebuildError::Changed`] for a file that changes meanwhile.
pub fn create_archive(content: &Root, output: &mut dyn Write) -> Result<Rebuilt, RebuildError> {
    let mut creation =
        Creation { content, output: Hashed::new(output), links: HashMap::new(), buffer: vec![0; BUFFER] };
    // Paths still to be written; the last one comes next.
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let mut names = creation.member(&path)?;
        names.sort_unstable_by(|one, other| other.cmp(one));
        for name in names {
            pending.push(if path.is_empty() { name } else { [&path, &b"/"[..], &name].concat() });
        }
    }
    let Creation { mut output, .. } = creation;
    let mut end = Vec::new();
    write_end(&mut end).map_err(|source| RebuildError::Output { source })?;
    output.write(&end)?;
    Ok(output.finish())
}

struct Creation<'a, 'w> {
    content: &'a Root,
    output: Hashed<'w>,
    /// Path of the first name of each file with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// Extended attributes of a file that go into the archive, and whether it is an opaque directory.
#[derive(Default)]
struct Attributes {
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    opaque: bool,
}

impl Creation<'_, '_> {
    /// Writes one member (the empty path: only its whiteout, if any) and returns the names in it.
    fn member(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, RebuildError> {
        let shown = Path::new(OsStr::from_bytes(path));
        let failed = failed_at(shown);
        let node =
            self.content.open_no_symlinks(shown, OFlags::PATH | OFlags::NOFOLLOW, 0).map_err(&failed)?;
        let stat = rustix::fs::fstat(&node).map_err(|error| failed(error.into()))?;
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let mut heading = Heading {
            name: path,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            device,
            ..Heading::default()
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(path, heading),
            FileType::RegularFile => self.file(path, heading, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&node, "", Vec::new());
                let target = target.map_err(|error| failed(error.into()))?;
                let link = Heading { flag: b'2', link: target.as_bytes(), ..heading };
                self.output.write(&link.blocks())?;
            }
            FileType::CharacterDevice if device == (0, 0) => {
                let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                let name = [&path[..at], b".wh.", &path[at..]].concat();
                // The device's own owner and times mean nothing, and unpacking does not keep them.
                let whiteout = Heading { flag: b'0', name: &name, ..Heading::default() };
                self.output.write(&whiteout.blocks())?;
            }
            kind => {
                heading.flag = match kind {
                    FileType::CharacterDevice => b'3',
                    FileType::BlockDevice => b'4',
                    FileType::Fifo => b'6',
                    // A socket means nothing without the process that listens.
                    _ => return Ok(Vec::new()),
                };
                self.output.write(&heading.blocks())?;
            }
        }
        Ok(Vec::new())
    }

    fn directory(&mut self, path: &[u8], heading: Heading<'_>) -> Result<Vec<Vec<u8>>, RebuildError> {
        let shown = Path::new(OsStr::from_bytes(path));
        let failed = failed_at(shown);
        let directory = self.content.open_no_symlinks(shown, OFlags::RDONLY | OFlags::DIRECTORY, 0);
        let directory = directory.map_err(&failed)?;
        let attributes = attributes(&directory, shown)?;
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        if !path.is_empty() {
            let member = Heading { flag: b'5', name: &prefix, xattrs: &attributes.kept, ..heading.clone() };
            self.output.write(&member.blocks())?;
        }
        if attributes.opaque {
            let name = [prefix.as_slice(), b".wh..wh..opq"].concat();
            let whiteout = Heading { flag: b'0', name: &name, ..Heading::default() };
            self.output.write(&whiteout.blocks())?;
        }
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(|error| failed(error.into()))? {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    fn file(&mut self, path: &[u8], heading: Heading<'_>, stat: &Stat) -> Result<(), RebuildError> {
        let shown = Path::new(OsStr::from_bytes(path));
        let failed = failed_at(shown);
        if stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec());
            if first != path {
                let blocks = Heading { flag: b'1', link: first, ..heading }.blocks();
                return self.output.write(&blocks);
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.content.open_no_symlinks(shown, flags, 0).map_err(&failed)?;
        let attributes = attributes(&file, shown)?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let heading = Heading { flag: b'0', size, xattrs: &attributes.kept, ..heading };
        self.output.write(&heading.blocks())?;
        let (end, mut file) = (self.output.size() + size, std::fs::File::from(file).take(size));
        loop {
            let count = match file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(&failed)?,
            };
            if count == 0 {
                break;
            }
            self.output.write(&self.buffer[..count])?;
        }
        if self.output.size() != end {
            return Err(RebuildError::Changed { path: shown.to_owned() });
        }
        self.output.write(padding(size))
    }
}

/// The attributes that layers may carry (see `apply/xattr.rs`), by name.
fn attributes(file: &OwnedFd, path: &Path) -> Result<Attributes, RebuildError> {
    let failed = failed_at(path);
    let mut list = vec![0; LONGEST_LIST];
    let length = match rustix::fs::flistxattr(file.as_fd(), &mut list) {
        Err(Errno::NOTSUP) => return Ok(Attributes::default()),
        result => result.map_err(|error| failed(error.into()))?,
    };
    let mut found = Attributes::default();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if let Some(attribute) = REFERRING.into_iter().find(|one| one.as_bytes() == name) {
            return Err(RebuildError::Refers { path: path.to_owned(), attribute });
        }
        let opaque = name == OPAQUE.as_bytes();
        if !opaque && name != b"security.capability" && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; LONGEST_LIST];
        let length = rustix::fs::fgetxattr(file, OsStr::from_bytes(name), &mut value)
            .map_err(|error| failed(error.into()))?;
        value.truncate(length);
        if opaque {
            found.opaque = value == b"y";
        } else {
            found.kept.push((name.to_vec(), value));
        }
    }
    found.kept.sort_unstable();
    Ok(found)
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> RebuildError {
    let path = PathBuf::from(path);
    move |source| RebuildError::File { path: path.clone(), source }
}
