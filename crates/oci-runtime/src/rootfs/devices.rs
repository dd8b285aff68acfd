//! Device nodes and the links every program expects in `/dev`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_sys::rooted::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::prepare::Prepared;
use super::{RootfsError, attach, mount_point, split};
use crate::spec::Device;

/// Devices every container has: path, major, minor.
const STANDARD: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links every container has.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The devices to make: those asked for, and the standard ones that are not among them.
pub(super) fn wanted(asked: &[Device]) -> Vec<Device> {
    let missing =
        STANDARD.iter().filter(|(path, _, _)| asked.iter().all(|device| device.path != Path::new(path)));
    let standard = missing.map(|(path, major, minor)| Device {
        kind: "c".to_owned(),
        path: path.into(),
        major: *major,
        minor: *minor,
        ..Device::default()
    });
    standard.chain(asked.iter().cloned()).collect()
}

pub(super) fn make_all(root: &Root, prepared: &mut Prepared) -> Result<(), RootfsError> {
    for (device, copy) in std::mem::take(&mut prepared.devices) {
        match copy {
            None => make(root, &device)?,
            Some(tree) => bind(root, &device, tree)?,
        }
    }
    Ok(())
}

fn file_type(device: &Device) -> Result<FileType, RootfsError> {
    match device.kind.as_str() {
        "c" | "u" => Ok(FileType::CharacterDevice),
        "b" => Ok(FileType::BlockDevice),
        "p" => Ok(FileType::Fifo),
        other => Err(RootfsError::DeviceType { path: device.path.clone(), kind: other.to_owned() }),
    }
}

fn make(root: &Root, device: &Device) -> Result<(), RootfsError> {
    let kind = file_type(device)?;
    let error = |source| RootfsError::Destination { path: device.path.clone(), source };
    let (parent, name) = split(&device.path).ok_or_else(|| error(std::io::ErrorKind::InvalidInput.into()))?;
    let parent = root.create_dir_all(parent, 0o755).map_err(error)?;
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(&parent, name, kind, mode, number) {
        Err(Errno::EXIST) => {
            // A node that came with the image is used only if it is the very same device.
            let found =
                rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| error(e.into()))?;
            let same_number = kind == FileType::Fifo || found.st_rdev == number;
            if FileType::from_raw_mode(found.st_mode) != kind || !same_number {
                return Err(RootfsError::WrongNode { path: device.path.clone() });
            }
        }
        result => result.map_err(|errno| error(errno.into()))?,
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| error(e.into()))
}

/// A container in a user namespace cannot make nodes; it gets the host's.
fn bind(root: &Root, device: &Device, tree: OwnedFd) -> Result<(), RootfsError> {
    let kind = file_type(device)?;
    let failed = |source| RootfsError::Mount { path: device.path.clone(), source };
    let found = rustix::fs::fstat(&tree).map_err(|errno| failed(errno.into()))?;
    let number = rustix::fs::makedev(device.major, device.minor);
    if FileType::from_raw_mode(found.st_mode) != kind || found.st_rdev != number {
        return Err(RootfsError::WrongNode { path: device.path.clone() });
    }
    ochre_sys::mount::set_attributes(tree.as_fd(), &super::change(0, 0, ochre_sys::mount::PRIVATE, false))
        .map_err(failed)?;
    attach(tree, mount_point(root, &device.path, false)?).map_err(failed)
}

/// Makes the links. Those that exist stay, except for `ptmx`, which must lead to the container's own terminals.
pub(super) fn make_links(root: &Root) -> Result<(), RootfsError> {
    let error = |source| RootfsError::Destination { path: "/dev".into(), source };
    let dev = root.create_dir_all(Path::new("/dev"), 0o755).map_err(error)?;
    for (name, target) in LINKS {
        if name == "core" && !Path::new(target).exists() {
            continue;
        }
        let mut made = rustix::fs::symlinkat(target, &dev, name);
        if made == Err(Errno::EXIST) && name == "ptmx" {
            made = rustix::fs::unlinkat(&dev, name, AtFlags::empty())
                .and_then(|()| rustix::fs::symlinkat(target, &dev, name));
        }
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(errno.into())),
        }
    }
    Ok(())
}

/// The container's null device, proven to be one: an image may carry anything of that name (CVE-2025-31133).
pub(super) fn null(root: &Root) -> Result<OwnedFd, RootfsError> {
    let path = Path::new("/dev/null");
    let error = |source| RootfsError::Destination { path: path.to_owned(), source };
    let null = root.open_no_symlinks(path, OFlags::PATH, 0).map_err(error)?;
    let found = rustix::fs::fstat(&null).map_err(|errno| error(errno.into()))?;
    let is_null = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && found.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(RootfsError::WrongNode { path: path.to_owned() }) }
}
