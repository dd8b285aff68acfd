//! The host side of a volume: found, or made, and looked at once.
//!
//! Every call here is on a path that somebody else's file system serves; a dead NFS server makes it hang. So all of
//! them are in this file, behind [`Sources`] and [`mount_of`], to be run where a hang does no harm.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use rustix::fs::{FileType, Mode, OFlags};

use super::super::error::shortened;
use super::super::{Error, SourceRules};
use super::absolute;

/// A kernel file system that a volume may show in its usual place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelFileSystem {
    Proc,
    Sys,
}

/// A volume's source.
#[derive(Debug)]
pub(super) struct Source {
    /// Path on the node, without links. Of a missing one: where it would be.
    pub(super) path: PathBuf,
    /// The path to make inside the root of sources, because nothing is there.
    pub(super) missing: Option<PathBuf>,
    /// Whether it is a directory, which may have mounts below it.
    pub(super) directory: bool,
    /// The kernel file system it is the root of, if any.
    pub(super) file_system: Option<KernelFileSystem>,
    /// What the mount it lies on holds back, as mount options.
    pub(super) held: Vec<&'static str>,
}

/// Where sources are looked up.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    rules: &'a SourceRules,
    root: Root,
}

impl<'a> Sources<'a> {
    /// Opens the directory that host paths are resolved in: `bind_mount_prefix` or `/`.
    pub(super) fn open(rules: &'a SourceRules) -> Result<Self, Error> {
        let path = rules.prefix.as_deref().unwrap_or(Path::new("/"));
        let root = Root::open(path).map_err(|source| Error::Own {
            action: "open",
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self { rules, root })
    }

    /// Finds the source, following links, or the place where it can be made.
    pub(super) fn find(&self, host_path: &str, container_path: &str) -> Result<Source, Error> {
        let wanted = lexical("host path", host_path)?;
        let failed = |source| Error::Source {
            source_path: PathBuf::from(shortened(host_path)),
            path: container_path.to_owned(),
            source,
        };
        let opened = match self.root.open_at(&wanted, OFlags::PATH, 0) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.rules.never_create.contains(&wanted) {
                    return Err(Error::SourceRejected {
                        source_path: wanted,
                        path: container_path.to_owned(),
                    });
                }
                return self.place_for(wanted).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        };
        let path = real_path(&opened).map_err(failed)?;
        let file_system = kernel_file_system(&opened, &path).map_err(failed)?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Ok(Source { path, missing: None, directory, file_system, held: held(&opened).map_err(failed)? })
    }

    /// Where a missing directory would be: below the deepest directory that exists.
    fn place_for(&self, wanted: PathBuf) -> io::Result<Source> {
        for above in wanted.ancestors().skip(1) {
            match self.root.open_at(above, OFlags::PATH | OFlags::DIRECTORY, 0) {
                Ok(opened) => {
                    let rest = wanted.strip_prefix(above).unwrap_or(Path::new(""));
                    let (path, held) = (real_path(&opened)?.join(rest), held(&opened)?);
                    let missing = Some(wanted);
                    return Ok(Source { path, missing, directory: true, file_system: None, held });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Makes a directory (0755) that [`Sources::find`] did not find; returns its path on the node.
    pub(super) fn make(&self, missing: &Path, container_path: &str) -> Result<PathBuf, Error> {
        self.create(missing).and_then(|made| real_path(&made)).map_err(|source| Error::Source {
            source_path: missing.to_path_buf(),
            path: container_path.to_owned(),
            source,
        })
    }

    fn create(&self, path: &Path) -> io::Result<OwnedFd> {
        let made = self.root.create_dir_all(path, 0o755)?;
        // The daemon's umask keeps its own files private; a volume is for the container's user.
        let open = rustix::fs::openat(
            &made,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::fs::fchmod(open, Mode::from_raw_mode(0o755))?;
        Ok(made)
    }
}

/// `..` of a host path is resolved by its letters: the kubelet cleans its paths, people may not.
pub(super) fn lexical(field: &'static str, text: &str) -> Result<PathBuf, Error> {
    if !text.starts_with('/') {
        return absolute(field, text);
    }
    let mut cleaned = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                cleaned.pop();
            }
            part => cleaned.push(part),
        }
    }
    absolute(field, &format!("/{}", cleaned.join("/")))
}

/// The kernel's own idea of where an open file is.
pub(in crate::spec) fn real_path(file: &OwnedFd) -> io::Result<PathBuf> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes())))
}

/// Only the root of procfs or sysfs counts: a directory inside can hold files of any shape.
fn kernel_file_system(file: &OwnedFd, path: &Path) -> io::Result<Option<KernelFileSystem>> {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    let magic = rustix::fs::fstatfs(file)?.f_type as u64;
    // Inode 1 is the root of both.
    let at_root = rustix::fs::fstat(file)?.st_ino == 1;
    let named = path.is_absolute();
    Ok(match magic {
        PROC if at_root && named => Some(KernelFileSystem::Proc),
        SYSFS if at_root && named => Some(KernelFileSystem::Sys),
        _ => None,
    })
}

/// What the mount of an open file holds back (statvfs(3)), as mount options.
fn held(file: &OwnedFd) -> io::Result<Vec<&'static str>> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let flags = rustix::fs::fstatvfs(file)?.f_flag;
    let words = [
        (Flags::RDONLY, "ro"),
        (Flags::NOSUID, "nosuid"),
        (Flags::NODEV, "nodev"),
        (Flags::NOEXEC, "noexec"),
    ];
    Ok(words.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| word).collect())
}

/// The mount a path lies on, and whether it is shared (proc(5), `mountinfo`: the optional field `shared:N`).
pub(super) fn mount_of(path: &Path) -> Result<(PathBuf, bool), Error> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table =
        std::fs::read(TABLE).map_err(|source| Error::Own { action: "read", path: TABLE.into(), source })?;
    Ok(find_mount(&table, path))
}

fn find_mount(table: &[u8], path: &Path) -> (PathBuf, bool) {
    let mut best = (PathBuf::from("/"), false);
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let Some(point) = fields.next().map(unescaped) else { continue };
        // A later line hides an earlier one at the same place.
        if path.starts_with(&point) && point.as_os_str().len() >= best.0.as_os_str().len() {
            let shared =
                fields.skip(1).take_while(|field| *field != b"-").any(|field| field.starts_with(b"shared:"));
            best = (point, shared);
        }
    }
    best
}

/// Blank, tab, line break and backslash are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Path::new(std::ffi::OsStr::from_bytes(&bytes)).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 0:20 / / rw - ext4 /dev/vda rw\n\
        22 21 0:21 / /a\\040b rw,noatime shared:7 master:2 - tmpfs tmpfs rw\n\
        23 22 0:22 / /a\\040b/c rw master:3 - tmpfs tmpfs rw\n\
        24 21 0:23 / /twice rw shared:9 - tmpfs tmpfs rw\n\
        25 24 0:24 / /twice rw - tmpfs shared:no rw\n\
        broken line\n";

    #[test]
    fn the_deepest_and_latest_mount_decides() {
        for (path, point, shared) in [
            ("/etc", "/", false),
            ("/a b", "/a b", true),
            ("/a b/x/y", "/a b", true),
            ("/a bc", "/", false),
            ("/a b/c/d", "/a b/c", false),
            ("/twice/x", "/twice", false),
        ] {
            assert_eq!(find_mount(TABLE, Path::new(path)), (PathBuf::from(point), shared), "{path}");
        }
    }

    #[test]
    fn links_are_followed_and_missing_directories_made_inside_the_prefix() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("/real", dir.path().join("link")).unwrap();
        let rules = SourceRules {
            prefix: Some(dir.path().to_path_buf()),
            never_create: vec!["/precious".into()],
            storage_root: None,
        };
        let sources = Sources::open(&rules).unwrap();
        let found = sources.find("/link", "/v").unwrap();
        assert_eq!((found.path, found.missing), (dir.path().join("real"), None));
        let place = sources.find("/link/../link/new/deep", "/v").unwrap();
        assert_eq!(place.path, dir.path().join("real/new/deep"));
        assert!(!place.path.exists(), "looking made something");
        let made = sources.make(&place.missing.unwrap(), "/v").unwrap();
        assert_eq!(made, place.path);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o755);
        let rejected = sources.find("//precious/", "/v").unwrap_err();
        assert!(matches!(rejected, Error::SourceRejected { .. }));
        assert!(!dir.path().join("precious").exists());
        assert!(matches!(sources.find("relative", "/v"), Err(Error::Path { .. })));
    }

    #[test]
    fn only_roots_of_kernel_file_systems_are_recognised() {
        let rules = SourceRules::default();
        let sources = Sources::open(&rules).unwrap();
        let kind = |path: &str| sources.find(path, "/v").unwrap().file_system;
        assert_eq!(kind("/proc"), Some(KernelFileSystem::Proc));
        assert_eq!(kind("/sys"), Some(KernelFileSystem::Sys));
        assert_eq!(kind("/proc/sys"), None);
        assert_eq!(kind("/tmp"), None);
    }
}
