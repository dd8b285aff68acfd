//! Relabelling a volume: every file in it gets the container's label, so that the policy lets the container use it.
//!
//! ```text
//!  open without links ──► protected? ──► top labelled ──► each entry: label, and go down a directory ──► done
//!                            │               └─ the file system keeps no labels: nothing to do
//!                            └─ a directory of the node itself: refused
//! ```
//!
//! Everything is reached from held directories, one name at a time, and no link is ever followed, so a pod that moves
//! things about meanwhile only ever has its own files labelled. Memory and descriptors are those of one path, whose depth
//! is bounded; a label that is right is not written again, so a retry after a failure costs reads only.
//!
//! The extended attribute is a parameter: `security.selinux` for the node, another one where no SELinux is.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

/// Directories of the node itself, which a label for containers would make useless. CRI-O's list.
const PROTECTED: [&str; 24] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
];
/// Deepest directory that is looked into; each level holds a descriptor.
const MAX_DEPTH: usize = 256;
/// Most entries of one volume: ten times the largest volume that anybody has complained about.
const MAX_ENTRIES: u64 = 16 << 20;
/// Longest label that is compared; the kernel's own limit is a page.
const LABEL_LIMIT: usize = 4096;

/// A volume could not be relabelled.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// It is, or holds, a directory that the node itself lives from.
    #[error("SELinux relabelling of {path:?} is not allowed")]
    Protected {
        /// Which one.
        path: PathBuf,
    },
    /// Deeper than anybody's volume.
    #[error("{path:?} is nested deeper than {limit} directories")]
    Depth {
        /// The directory that was too deep.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// More entries than anybody's volume.
    #[error("{path:?} has more than {limit} entries")]
    Size {
        /// The volume.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The kernel refused.
    #[error("cannot {action} {path:?} after {labelled} entries")]
    Io {
        /// `open`, `label`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// How many entries were done before.
        labelled: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl RelabelError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Protected { .. } => ErrorKind::InvalidArgument,
            Self::Depth { .. } | Self::Size { .. } | Self::Io { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

/// When a volume is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spec) enum Trust {
    /// Never: every entry is looked at.
    Nothing,
    /// When its top directory has the label: then so has the rest.
    TopDirectory,
}

/// Which label volumes get.
#[derive(Debug, Clone, Copy)]
pub(in crate::spec) struct Relabel<'a> {
    /// The extended attribute.
    pub(in crate::spec) attribute: &'a str,
    /// Its value.
    pub(in crate::spec) label: &'a str,
    /// What is believed without looking.
    pub(in crate::spec) trust: Trust,
}

/// Refuses a path that is never relabelled, by its letters alone; for an answer before anything is made.
pub(in crate::spec) fn check(path: &Path) -> Result<(), RelabelError> {
    let protected = PROTECTED.iter().any(|known| path == Path::new(known));
    if protected { Err(RelabelError::Protected { path: path.to_path_buf() }) } else { Ok(()) }
}

impl Relabel<'_> {
    /// Labels `path` (absolute, without links) and everything below it.
    ///
    /// Blocking, for as long as the volume is large.
    ///
    /// # Errors
    /// [`RelabelError`]; entries that were labelled before stay so.
    pub(in crate::spec) fn volume(self, path: &Path) -> Result<(), RelabelError> {
        check(path)?;
        let mut walk = Walk { relabel: self, protected: protected(), path: path.to_path_buf(), labelled: 0 };
        let root = Root::open(Path::new("/")).map_err(|source| walk.failed("open", source))?;
        let top =
            root.open_no_symlinks(path, OFlags::PATH, 0).map_err(|source| walk.failed("open", source))?;
        let stat = rustix::fs::fstat(&top).map_err(|error| walk.failed("look at", error.into()))?;
        walk.refuse_protected(&stat)?;
        let place = Place::Open(of_descriptor(top.as_fd()));
        if self.trust == Trust::TopDirectory && self.is_right(&place) {
            return Ok(());
        }
        if !walk.label(&place)? {
            return Ok(());
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let opened = open_directory(top.as_fd(), c".").map_err(|error| walk.failed("open", error.into()))?;
        walk.below(opened)
    }

    fn is_right(self, place: &Place) -> bool {
        let mut value = [0; LABEL_LIMIT];
        let length = match place {
            Place::Open(path) => rustix::fs::getxattr(path, self.attribute, &mut value),
            Place::Named(path) => rustix::fs::lgetxattr(path, self.attribute, &mut value),
        };
        let found = length.map_or(&[][..], |length| &value[..length]);
        // Some tools write the label with a NUL behind it.
        found.strip_suffix(&[0]).unwrap_or(found) == self.label.as_bytes()
    }

    fn set(self, place: &Place) -> rustix::io::Result<()> {
        let (label, flags) = (self.label.as_bytes(), XattrFlags::empty());
        match place {
            Place::Open(path) => rustix::fs::setxattr(path, self.attribute, label, flags),
            Place::Named(path) => rustix::fs::lsetxattr(path, self.attribute, label, flags),
        }
    }
}

/// How the kernel is told of a file; both ways start at a held descriptor.
#[derive(Debug)]
enum Place {
    /// The magic link of an open file, which leads to that file whatever it is.
    Open(PathBuf),
    /// A name in an open directory. The magic link to the directory is followed, a link of that name is not.
    Named(PathBuf),
}

/// The walk over one volume.
struct Walk<'a> {
    relabel: Relabel<'a>,
    /// Device and inode of what must not be labelled, wherever it is mounted.
    protected: Vec<((u64, u64), &'static str)>,
    /// Where the walk is; for messages only.
    path: PathBuf,
    labelled: u64,
}

impl Walk<'_> {
    /// Everything below an open directory.
    fn below(&mut self, top: OwnedFd) -> Result<(), RelabelError> {
        let mut levels = vec![self.reader(top)?];
        while let Some(level) = levels.last_mut() {
            let entry = match level.next() {
                None => {
                    levels.pop();
                    self.path.pop();
                    continue;
                }
                Some(entry) => entry.map_err(|error| self.failed("read", error.into()))?,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let above = level.fd().map_err(|error| self.failed("read", error.into()))?;
            let may_be_directory = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if let Some(inside) = self.entry(above, name, may_be_directory)? {
                if levels.len() == MAX_DEPTH {
                    return Err(RelabelError::Depth { path: self.path.clone(), limit: MAX_DEPTH });
                }
                levels.push(self.reader(inside)?);
            }
        }
        Ok(())
    }

    /// Labels one entry; a directory comes back open, with the walk's path in it.
    fn entry(
        &mut self,
        above: BorrowedFd<'_>,
        name: &CStr,
        may_be_directory: bool,
    ) -> Result<Option<OwnedFd>, RelabelError> {
        if self.labelled == MAX_ENTRIES {
            return Err(RelabelError::Size { path: self.path.clone(), limit: MAX_ENTRIES });
        }
        let name_text = OsStr::from_bytes(name.to_bytes());
        self.path.push(name_text);
        let opened = if may_be_directory { self.open(above, name)? } else { None };
        let labelled = self.label(&match &opened {
            Some(directory) => Place::Open(of_descriptor(directory.as_fd())),
            None => Place::Named(of_descriptor(above).join(name_text)),
        })?;
        if labelled && opened.is_some() {
            return Ok(opened);
        }
        self.path.pop();
        Ok(None)
    }

    /// Opens a directory of the volume; `None` for what is none, or gone.
    fn open(&self, above: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, RelabelError> {
        let opened = match open_directory(above, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(self.failed("open", error.into())),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|error| self.failed("look at", error.into()))?;
        self.refuse_protected(&stat)?;
        Ok(Some(opened))
    }

    /// Labels one file unless it has the label. `false` for one on a file system without labels, and one that is gone.
    fn label(&mut self, place: &Place) -> Result<bool, RelabelError> {
        if !self.relabel.is_right(place) {
            match self.relabel.set(place) {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::OPNOTSUPP) => return Ok(false),
                Err(error) => return Err(self.failed("label", error.into())),
            }
        }
        self.labelled += 1;
        Ok(true)
    }

    fn refuse_protected(&self, stat: &Stat) -> Result<(), RelabelError> {
        match self.protected.iter().find(|(known, _)| *known == identity(stat)) {
            Some((_, path)) => Err(RelabelError::Protected { path: path.into() }),
            None => Ok(()),
        }
    }

    fn reader(&self, directory: OwnedFd) -> Result<Dir, RelabelError> {
        Dir::new(directory).map_err(|error| self.failed("read", error.into()))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> RelabelError {
        RelabelError::Io { action, path: self.path.clone(), labelled: self.labelled, source }
    }
}

fn open_directory(above: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

fn of_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// What is protected on this node; a path that does not exist protects nothing.
fn protected() -> Vec<((u64, u64), &'static str)> {
    let found = |path: &&'static str| rustix::fs::stat(*path).ok().map(|stat| (identity(&stat), *path));
    PROTECTED.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Stands for `security.selinux`: like it, it can be set on links and special files, by root.
    const ATTRIBUTE: &str = "trusted.ochre-label";
    const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

    fn relabel(label: &str, trust: Trust) -> Relabel<'_> {
        Relabel { attribute: ATTRIBUTE, label, trust }
    }

    fn label_of(path: &Path) -> Option<String> {
        let mut value = [0; 100];
        let length = rustix::fs::lgetxattr(path, ATTRIBUTE, &mut value).ok()?;
        Some(String::from_utf8_lossy(&value[..length]).into_owned())
    }

    struct Scratch {
        dir: tempfile::TempDir,
    }

    impl Scratch {
        /// `volume/` with a file, a directory, a FIFO and links out of it; `outside` beside it.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let volume = dir.path().join("volume");
            std::fs::create_dir_all(volume.join("a/b/c")).unwrap();
            std::fs::create_dir(dir.path().join("outside")).unwrap();
            std::fs::write(dir.path().join("outside/secret"), "x").unwrap();
            std::fs::write(volume.join("a/b/file"), "x").unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, volume.join("fifo"), FileType::Fifo, 0o600.into(), 0)
                .unwrap();
            symlink("../outside", volume.join("link")).unwrap();
            symlink(dir.path().join("outside/secret"), volume.join("a/file-link")).unwrap();
            symlink("nowhere", volume.join("dangling")).unwrap();
            Self { dir }
        }

        fn volume(&self) -> PathBuf {
            self.dir.path().join("volume")
        }
    }

    #[test]
    fn every_entry_gets_the_label_and_nothing_behind_a_link_does() {
        let scratch = Scratch::new();
        relabel(LABEL, Trust::Nothing).volume(&scratch.volume()).unwrap();
        let names = ["", "a", "a/b", "a/b/c", "a/b/file", "fifo", "link", "a/file-link", "dangling"];
        for name in names {
            assert_eq!(label_of(&scratch.volume().join(name)).as_deref(), Some(LABEL), "{name:?}");
        }
        for outside in ["outside", "outside/secret", ""] {
            assert_eq!(label_of(&scratch.dir.path().join(outside)), None, "{outside:?}");
        }
    }

    #[test]
    fn a_file_is_a_volume_and_a_link_in_the_way_is_none() {
        let scratch = Scratch::new();
        let file = scratch.volume().join("a/b/file");
        relabel(LABEL, Trust::Nothing).volume(&file).unwrap();
        assert_eq!(label_of(&file).as_deref(), Some(LABEL));
        for link in ["link", "link/secret", "a/file-link"] {
            let refused = relabel(LABEL, Trust::Nothing).volume(&scratch.volume().join(link));
            assert!(matches!(refused, Err(RelabelError::Io { action: "open", .. })), "{link}: {refused:?}");
        }
        assert_eq!(label_of(&scratch.dir.path().join("outside/secret")), None);
    }

    #[test]
    fn a_top_directory_with_the_label_speaks_for_the_rest_only_where_it_is_believed() {
        let scratch = Scratch::new();
        let (volume, below) = (scratch.volume(), scratch.volume().join("a"));
        let with_nul = format!("{LABEL}\0");
        rustix::fs::setxattr(&volume, ATTRIBUTE, with_nul.as_bytes(), XattrFlags::empty()).unwrap();
        relabel(LABEL, Trust::TopDirectory).volume(&volume).unwrap();
        assert_eq!(label_of(&below), None);
        relabel("other", Trust::TopDirectory).volume(&volume).unwrap();
        assert_eq!(label_of(&below).as_deref(), Some("other"));
        relabel(LABEL, Trust::Nothing).volume(&volume).unwrap();
        assert_eq!(label_of(&below).as_deref(), Some(LABEL));
    }

    #[test]
    fn directories_of_the_node_are_refused_under_any_name() {
        for path in ["/", "/usr", "/home", "/etc", "/var/lib"] {
            let refused = relabel(LABEL, Trust::Nothing).volume(Path::new(path));
            assert!(matches!(refused, Err(RelabelError::Protected { .. })), "{path}");
            assert_eq!(label_of(Path::new(path)), None, "{path}");
        }
        // The inode counts, so that a bind mount is no way round.
        let stat = rustix::fs::stat("/etc").unwrap();
        let walk = Walk {
            relabel: relabel(LABEL, Trust::Nothing),
            protected: protected(),
            path: PathBuf::from("/volume"),
            labelled: 0,
        };
        assert!(matches!(walk.refuse_protected(&stat), Err(RelabelError::Protected { .. })));
        assert!(check(Path::new("/etc/kubernetes")).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let scratch = Scratch::new();
        let at = |depth: usize| scratch.volume().join("d/".repeat(depth));
        std::fs::create_dir_all(at(MAX_DEPTH - 1)).unwrap();
        relabel(LABEL, Trust::Nothing).volume(&scratch.volume()).unwrap();
        assert_eq!(label_of(&at(MAX_DEPTH - 1)).as_deref(), Some(LABEL));
        std::fs::create_dir(at(MAX_DEPTH)).unwrap();
        let refused = relabel(LABEL, Trust::Nothing).volume(&scratch.volume());
        assert!(matches!(refused, Err(RelabelError::Depth { limit: MAX_DEPTH, .. })), "{refused:?}");
    }
}
