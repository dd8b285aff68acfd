//! Applies one layer archive to one layer directory (overlayfs `diff`).
//!
//! ```text
//!   blob ─▶ pipeline::Stream ─▶ tar::Reader ─▶ Member::of (name, whiteout?) ─▶ Tree (files by held descriptors)
//!                                    └ raw bytes, content ─▶ TarSplit
//! ```
//!
//! The directory holds this layer only: whiteouts become what overlayfs expects (character device 0:0, the xattr
//! `trusted.overlay.opaque=y`), and a hard link can only name a file of the same layer, as in containers/storage.
//! Parents that the archive does not mention are made as `0755 root:root`.
//!
//! Nothing outside the directory is touched, whatever the archive says: parents are resolved by `openat2` inside the
//! root (a symbolic link in the middle of a path stays inside), the last component is never followed, and what is
//! made is made exclusively. On an error the directory is left as it is, for the caller to throw away.

mod content;
mod error;
mod parents;
mod path;
mod replace;
mod tree;
mod whiteout;
mod xattr;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use ochre_sys::rooted::Root;
use ochre_types::Digest;
use rustix::fs::{Mode, OFlags};

pub use error::Error;

use crate::pipeline::Stream;
use crate::tar::{Entry, Kind, Reader};
use crate::tarsplit::TarSplit;
use path::EntryPath;
use tree::Tree;
use whiteout::Meaning;

/// What an archive may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most members; directories that only their members' names mention count as well.
    pub max_entries: u64,
    /// Most bytes of the uncompressed archive, and most bytes of any one file (holes included).
    pub max_bytes: u64,
    /// Most uncompressed bytes per compressed one, looked at from 16 MiB of output on.
    pub max_ratio: u64,
    /// Most extended attributes of one member.
    pub max_entry_xattrs: usize,
}

impl Default for Limits {
    /// 4 million members, 1 TiB, 1,000 to 1, 64 attributes.
    fn default() -> Self {
        Self { max_entries: 4_000_000, max_bytes: 1 << 40, max_ratio: 1000, max_entry_xattrs: 64 }
    }
}

/// How to apply a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplyOptions {
    /// Bounds.
    pub limits: Limits,
    /// Whether device nodes are made. If not, any but a 0:0 whiteout is an error.
    pub device_nodes: bool,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// SHA-256 of the uncompressed archive.
    pub diff_id: Digest,
    /// Length of the uncompressed archive in bytes.
    pub diff_size: u64,
    /// Members of the archive.
    pub entries: u64,
    /// Members that a later one of the same archive replaced. If not 0, the tar-split cannot be put together with the
    /// layer directory again (containers/storage refuses such archives).
    pub replaced: u64,
    /// Owners of the members that are not whiteouts, ascending.
    pub uids: Vec<u32>,
    /// Groups of the members that are not whiteouts, ascending.
    pub gids: Vec<u32>,
}

/// Applies the layer `input` (gzip, zstd or not compressed) to the directory `target` and writes its tar-split.
///
/// `input` is read to its end, trailing padding included, so that a [`VerifyingReader`](crate::VerifyingReader) below
/// sees the whole blob. It is read on a thread of its own, which is waited for even after an error: deadlines
/// belong to `input`.
///
/// Needs `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`, `CAP_MKNOD`, `CAP_SETFCAP` and, for opaque
/// directories, `CAP_SYS_ADMIN`. Extended attributes other than `security.capability` and `user.*` are left out.
///
/// # Errors
/// The first thing in the archive, the input or the file system that does not go; see [`Error`].
pub fn apply_layer(
    input: impl Read + Send,
    target: &Root,
    tar_split: Option<&mut dyn Write>,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    let descriptors = open_descriptors().map_err(Error::at("opening", DESCRIPTORS.as_bytes()))?;
    apply_confined(input, target, descriptors, tar_split, options)
}

const DESCRIPTORS: &str = "/proc/self/fd";

/// The directory through which modes of nodes are set; a process that is about to lock itself up opens it before.
pub(crate) fn open_descriptors() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(DESCRIPTORS, flags, Mode::empty())?)
}

/// [`apply_layer`] for a process that cannot open anything but `target` any more.
pub(crate) fn apply_confined(
    input: impl Read + Send,
    target: &Root,
    descriptors: OwnedFd,
    tar_split: Option<&mut dyn Write>,
    options: &ApplyOptions,
) -> Result<Applied, Error> {
    std::thread::scope(|scope| {
        let stream =
            Stream::start(scope, input, options.limits).map_err(|source| Error::Thread { source })?;
        let archive = if tar_split.is_some() { Reader::keeping_raw(stream) } else { Reader::new(stream) };
        let tree = Tree::new(target, descriptors, *options);
        let split = tar_split.map(TarSplit::new);
        let (uids, gids, path) = (BTreeSet::new(), BTreeSet::new(), EntryPath::default());
        Layer { archive, tree, split, path, uids, gids, entries: 0 }.apply()
    })
}

struct Layer<'a, 'w> {
    archive: Reader<Stream>,
    tree: Tree<'a>,
    split: Option<TarSplit<'w>>,
    path: EntryPath,
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
    entries: u64,
}

impl Layer<'_, '_> {
    fn apply(mut self) -> Result<Applied, Error> {
        let mut entry = Entry::default();
        while self.archive.next(&mut entry)? {
            self.entries += 1;
            let limits = self.tree.options().limits;
            if self.entries + self.tree.unnamed_directories() > limits.max_entries {
                return Err(Error::TooManyEntries { limit: limits.max_entries });
            }
            if entry.size > limits.max_bytes {
                return Err(Error::too_large(&entry.name, entry.size, limits.max_bytes));
            }
            self.flush_raw()?;
            self.member(&entry)?;
        }
        self.flush_raw()?;
        while self.archive.trailing()? {
            self.flush_raw()?;
        }
        if let Some(split) = self.split {
            split.finish().map_err(|source| Error::TarSplit { source })?;
        }
        let replaced = self.tree.finish()?;
        let (diff_id, diff_size) = self.archive.into_input().finish();
        let (uids, gids) = (self.uids.into_iter().collect(), self.gids.into_iter().collect());
        Ok(Applied { diff_id, diff_size, entries: self.entries, replaced, uids, gids })
    }

    fn member(&mut self, entry: &Entry) -> Result<(), Error> {
        self.path.set(&entry.name)?;
        let meaning = whiteout::meaning(&self.path, entry.kind)?;
        if meaning == Meaning::Member {
            self.uids.insert(entry.uid);
            self.gids.insert(entry.gid);
        }
        let mut splitter = content::Splitter::begin(self.split.as_mut(), &self.path, entry, meaning);
        match meaning {
            Meaning::Member if entry.kind == Kind::File => {
                self.tree.file(&self.path, entry, &mut self.archive, &mut splitter)?;
            }
            Meaning::Member => self.tree.other(&self.path, entry)?,
            Meaning::Whiteout => self.tree.whiteout(&self.path)?,
            Meaning::Opaque => self.tree.opaque(&self.path)?,
            Meaning::Ignored => {}
        }
        // What has content and is no file is none of ours, but still part of the archive.
        content::each_piece(&mut self.archive, &mut splitter, |_| Ok(()))?;
        splitter.end(entry).map_err(|source| Error::TarSplit { source })
    }

    fn flush_raw(&mut self) -> Result<(), Error> {
        if let Some(split) = &mut self.split {
            split.segment(self.archive.raw()).map_err(|source| Error::TarSplit { source })?;
        }
        self.archive.clear_raw();
        Ok(())
    }
}
