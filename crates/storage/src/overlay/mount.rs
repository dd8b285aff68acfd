//! Overlay mounts.
//!
//! The options of `mount(2)` must fit into one page. Layers are named by their 26-character links; when even these are
//! too many, each layer is opened and named `/proc/self/fd/<n>`, which fits some 220 layers.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ochre_types::LayerId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::dirs::{Dirs, make_dir, remove_tree};
use super::mapped;
use crate::Error;

/// How often and how long an unmount waits for a busy mount before it is detached.
const BUSY_RETRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What the kernel takes of the configured mount options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    flags: MountFlags,
    /// Options of overlay itself, such as `metacopy=on`.
    overlay: Vec<String>,
    /// Whether the kernel knows `volatile` (Linux 5.10).
    volatile_known: bool,
}

/// How a layer is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The layer is only looked at.
    ReadOnly,
    /// Writes go to the layer. Nothing is synced: a crash of the host voids the layer.
    Volatile,
    /// Writes go to the layer.
    Durable,
}

/// All that is to be said about one mount of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    /// Who writes.
    pub(crate) access: Access,
    /// SELinux label; empty for none.
    pub(crate) label: &'a str,
    /// User namespace through whose mappings the layers below are shown.
    pub(crate) id_map: Option<BorrowedFd<'a>>,
}

impl MountOptions {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self { flags: MountFlags::empty(), overlay: Vec::new(), volatile_known: true };
        for option in options.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
            match flag(option) {
                Some(flag) => parsed.flags |= flag,
                None => parsed.overlay.push(option.to_owned()),
            }
        }
        parsed
    }

    fn data(&self, access: Access, label: &str) -> String {
        let mut text = String::new();
        let volatile = access == Access::Volatile && self.volatile_known;
        let own = self.overlay.iter().filter(|option| *option != "volatile");
        let configured = self.overlay.iter().any(|option| option == "volatile") && access != Access::ReadOnly;
        for option in own {
            text.push(',');
            text.push_str(option);
        }
        if volatile || configured {
            text.push_str(",volatile");
        }
        if !label.is_empty() {
            // The closing quote is all the kernel looks for; a label with one in it is not a label.
            text.push_str(&format!(",context=\"{}\"", label.replace('"', "")));
        }
        text
    }
}

/// Mounts a layer. `dir` is its directory, `target` an existing directory.
pub(crate) fn mount_layer(
    dirs: &Dirs,
    options: &MountOptions,
    layer: (&LayerId, &Path),
    target: &Path,
    how: How<'_>,
) -> Result<(), Error> {
    let ((id, dir), How { access, label, id_map }) = (layer, how);
    let mut lowers = Vec::new();
    for name in dirs.lowers(dir)? {
        lowers.push(dirs.resolve_lower(&name).ok_or_else(|| Error::BadLink { path: dir.join("lower") })?);
    }
    if access == Access::ReadOnly {
        lowers.insert(0, dir.join("diff"));
        if lowers.len() == 1 {
            // Overlay without an upper layer wants at least two lower ones.
            lowers.push(dir.join("empty"));
        }
    } else if lowers.is_empty() {
        lowers.push(dir.join("empty"));
    }
    let mut tail = options.data(access, label);
    if access != Access::ReadOnly {
        let work = dir.join("work");
        // Left by a volatile mount, and a mark for overlay never to mount the layer again.
        remove_tree(&work.join("work/incompat/volatile"))?;
        tail.insert_str(0, &format!(",upperdir={},workdir={}", dir.join("diff").display(), work.display()));
    }
    let failed = |source: io::Error| Error::Mount { id: id.clone(), path: target.to_owned(), source };
    let mut flags = options.flags;
    if access == Access::ReadOnly {
        flags |= MountFlags::RDONLY;
    }
    if let Some(map) = id_map {
        let overlay = mapped::Overlay { lowers: &lowers, tail: &tail, flags };
        return mapped::mount(&overlay, target, map).map_err(|refused| match refused {
            mapped::Refused::IdMap(source) => Error::IdMapUnsupported { path: target.to_owned(), source },
            mapped::Refused::Mount(source) => failed(source),
        });
    }
    let (data, opened) = lowerdir(id, &lowers, &tail)?;
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    let result = rustix::mount::mount("overlay", target, "overlay", flags, Some(data.as_c_str()));
    // Until here the option string refers to these descriptors.
    drop(opened);
    result.map_err(|error| failed(error.into()))
}

/// Undoes a mount. Returns whether there was one. A busy mount is detached after some tries: its users keep it, but
/// nobody finds it any more.
pub(crate) fn unmount(target: &Path) -> Result<bool, Error> {
    for attempt in 0.. {
        let flags = if attempt < BUSY_RETRIES {
            UnmountFlags::NOFOLLOW
        } else {
            UnmountFlags::DETACH | UnmountFlags::NOFOLLOW
        };
        match rustix::mount::unmount(target, flags) {
            Ok(()) => return Ok(true),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(false),
            Err(Errno::BUSY) if attempt < BUSY_RETRIES => std::thread::sleep(BUSY_PAUSE),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Unmount { path: target.to_owned(), source: error.into() }),
        }
    }
    Ok(false)
}

/// Whether something is mounted on the path itself (`STATX_ATTR_MOUNT_ROOT`, Linux 5.8). A missing path is not.
pub(crate) fn is_mount_point(path: &Path) -> Result<bool, Error> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Finds out with a trial mount which of the options this kernel takes on this file system. `metacopy=on` and
/// `volatile` are left out where they are not known, as containers/storage does; any other refusal is an error.
pub(crate) fn probe(root: &Path, dirs: &Dirs, options: &[String]) -> Result<MountOptions, Error> {
    let staged = dirs.stage()?;
    let layer = staged.layer();
    let mut parsed = MountOptions::parse(options);
    if !reports_entry_types(&layer)? {
        return Err(Error::NoEntryTypes { root: root.to_owned() });
    }
    loop {
        let refused = match try_mount(dirs, &parsed, &layer) {
            Ok(()) => return Ok(parsed),
            Err(Error::Mount { source, .. }) => source,
            Err(error) => return Err(error),
        };
        let metacopy = parsed.overlay.iter().position(|option| option == "metacopy=on");
        if parsed.volatile_known {
            parsed.volatile_known = false;
        } else if let Some(position) = metacopy {
            parsed.overlay.remove(position);
            parsed.volatile_known = true;
        } else {
            return Err(Error::OverlayUnsupported { root: root.to_owned(), source: refused });
        }
    }
}

fn try_mount(dirs: &Dirs, options: &MountOptions, layer: &Path) -> Result<(), Error> {
    let id = LayerId::generate();
    let target = layer.join("merged");
    make_dir(&layer.join("empty"), 0o700)?;
    let how = How { access: Access::Volatile, label: "", id_map: None };
    mount_layer(dirs, options, (&id, layer), &target, how)?;
    unmount(&target).map(drop)
}

/// Finds out with a trial mount whether layers can be shown through the mappings of a user namespace.
pub(crate) fn try_mapped(
    root: &Path,
    dirs: &Dirs,
    options: &MountOptions,
    map: BorrowedFd<'_>,
) -> Result<(), Error> {
    let staged = dirs.stage()?;
    let layer = staged.layer();
    let (id, target) = (LayerId::generate(), layer.join("merged"));
    make_dir(&layer.join("empty"), 0o700)?;
    let how = How { access: Access::Volatile, label: "", id_map: Some(map) };
    match mount_layer(dirs, options, (&id, &layer), &target, how) {
        Ok(()) => unmount(&target).map(drop),
        Err(Error::IdMapUnsupported { source, .. }) => {
            Err(Error::IdMapUnsupported { path: root.to_owned(), source })
        }
        Err(error) => Err(error),
    }
}

fn reports_entry_types(dir: &Path) -> Result<bool, Error> {
    let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::io("open", dir))?;
    for entry in rustix::fs::Dir::new(fd).map_err(Error::io("read", dir))? {
        if entry.map_err(Error::io("read", dir))?.file_type() == FileType::Unknown {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The option string, and the descriptors it refers to.
fn lowerdir(id: &LayerId, lowers: &[PathBuf], tail: &str) -> Result<(String, Vec<OwnedFd>), Error> {
    // The kernel copies one page and wants the terminating NUL in it.
    let limit = rustix::param::page_size() - 1;
    let named: Vec<_> = lowers.iter().map(|path| path.display().to_string()).collect();
    let text = format!("lowerdir={}{tail}", named.join(":"));
    if text.len() <= limit {
        return Ok((text, Vec::new()));
    }
    let mut opened = Vec::new();
    let mut text = String::from("lowerdir=");
    for (index, path) in lowers.iter().enumerate() {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::io("open", path))?;
        text.push_str(if index == 0 { "" } else { ":" });
        text.push_str(&format!("/proc/self/fd/{}", fd.as_raw_fd()));
        opened.push(fd);
    }
    text.push_str(tail);
    if text.len() > limit {
        return Err(Error::TooManyLayers { id: id.clone(), count: lowers.len() });
    }
    Ok((text, opened))
}

fn flag(option: &str) -> Option<MountFlags> {
    Some(match option {
        "nodev" => MountFlags::NODEV,
        "nosuid" => MountFlags::NOSUID,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        "sync" => MountFlags::SYNCHRONOUS,
        "dirsync" => MountFlags::DIRSYNC,
        "ro" => MountFlags::RDONLY,
        "rw" | "dev" | "suid" | "exec" | "async" | "defaults" => MountFlags::empty(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_options_are_split_into_flags_and_data() {
        let options = MountOptions::parse(&["nodev,metacopy=on".into(), "volatile".into()]);
        assert_eq!(options.flags, MountFlags::NODEV);
        assert_eq!(options.data(Access::ReadOnly, ""), ",metacopy=on");
        assert_eq!(options.data(Access::Durable, ""), ",metacopy=on,volatile");
        assert_eq!(options.data(Access::Volatile, "a:b:c"), ",metacopy=on,volatile,context=\"a:b:c\"");
    }

    #[test]
    fn volatile_is_left_out_where_the_kernel_lacks_it() {
        let options = MountOptions { volatile_known: false, ..MountOptions::parse(&[]) };
        assert_eq!(options.data(Access::Volatile, ""), "");
    }
}
