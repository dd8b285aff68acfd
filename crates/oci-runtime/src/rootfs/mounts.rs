//! Attaching the mounts, in the child.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use ochre_sys::mount::{self, set_attributes};
use ochre_sys::rooted::Root;
use rustix::fs::OFlags;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::options::{MountOptions, Reach};
use super::prepare::{Prepared, Source};
use super::{
    PROC_MAGIC, RootfsError, SYSFS_MAGIC, attach, change, filesystem_magic, is_directory, mount_point,
};

/// Files in `/proc` that may be covered by files with the container's own numbers (lxcfs).
const COVERABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// File systems whose contents do not take a context of their own.
const UNLABELLED: [&str; 4] = ["proc", "sysfs", "cgroup", "cgroup2"];

pub(super) fn mount_all(root: &Root, prepared: &mut Prepared) -> Result<(), RootfsError> {
    let mut mounts = std::mem::take(&mut prepared.mounts);
    for mount in &mut mounts {
        let failed = |source| RootfsError::Mount { path: mount.destination.clone(), source };
        let Some(source) = mount.source.take() else { continue };
        match source {
            Source::Tree(tree) => {
                let directory = is_directory(&tree).map_err(failed)?;
                let kind = Kind::Copy(filesystem_magic(&tree).map_err(failed)?);
                let place = place(root, &mount.destination, directory, &kind)?;
                attach(tree, place).map_err(failed)?;
            }
            Source::Filesystem { kind, device } => {
                let place = place(root, &mount.destination, true, &Kind::New(&kind))?;
                let label = prepared.mount_label.as_deref().filter(|_| !UNLABELLED.contains(&kind.as_str()));
                let tree = new_filesystem(&kind, device.as_deref(), &mount.options, label).map_err(failed)?;
                if mount.options.copy_up {
                    super::copy_up::copy_up(&place, &tree).map_err(failed)?;
                }
                attach(tree, place).map_err(failed)?;
            }
            Source::Cgroups => {
                let place = place(root, &mount.destination, true, &Kind::New("cgroup"))?;
                super::cgroup_mount::mount(&place, &prepared.cgroups, &mount.options).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// What is about to be mounted, for the rules on `/proc` and `/sys`.
enum Kind<'a> {
    /// A copy of something in a file system with this magic number.
    Copy(u64),
    /// A new file system of this type.
    New(&'a str),
}

/// Opens the place of a mount. The names `/proc`, `/sys` and `/dev` themselves are never links (CVE-2019-19921,
/// CVE-2026-41579), and nothing but the kernel's own file systems lies on the first two.
fn place(root: &Root, destination: &Path, directory: bool, kind: &Kind<'_>) -> Result<OwnedFd, RootfsError> {
    let absolute: std::path::PathBuf = Path::new("/").join(destination).components().collect();
    let forbidden = |reason| RootfsError::Forbidden { path: absolute.clone(), reason };
    let expected = match absolute.to_str() {
        Some("/") => return Err(forbidden("it is the root")),
        Some("/proc") => Some((PROC_MAGIC, "proc", "only procfs may be there")),
        Some("/sys") => Some((SYSFS_MAGIC, "sysfs", "only sysfs may be there")),
        _ => None,
    };
    if let Some((magic, name, reason)) = expected {
        let fits = match kind {
            Kind::Copy(found) => *found == magic,
            Kind::New(found) => *found == name,
        };
        if !fits {
            return Err(forbidden(reason));
        }
    }
    refuse_linked_top(root, &absolute)?;
    let place = mount_point(root, &absolute, directory)?;
    // Asked from what was opened, not from the name: a link may lead into /proc.
    let error = |source| RootfsError::Destination { path: absolute.clone(), source };
    let in_proc = filesystem_magic(&place).map_err(error)? == PROC_MAGIC;
    if in_proc && expected.is_none() && !COVERABLE.iter().any(|path| Path::new(path) == absolute) {
        return Err(forbidden("it is inside procfs"));
    }
    Ok(place)
}

fn refuse_linked_top(root: &Root, absolute: &Path) -> Result<(), RootfsError> {
    let top = absolute.components().find_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let Some(top) =
        top.filter(|name| ["proc", "sys", "dev"].iter().any(|kernel| *name == OsStr::new(kernel)))
    else {
        return Ok(());
    };
    match root.open_no_symlinks(Path::new(top), OFlags::PATH, 0) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Err(RootfsError::Forbidden {
                path: absolute.to_owned(),
                reason: "its first directory is a symbolic link",
            })
        }
        _ => Ok(()),
    }
}

/// Makes a detached file system.
pub(super) fn new_filesystem(
    kind: &str,
    device: Option<&Path>,
    options: &MountOptions,
    label: Option<&str>,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(device) = device {
        rustix::mount::fsconfig_set_string(&context, "source", device.as_os_str().as_bytes())?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    if let Some(label) = label {
        rustix::mount::fsconfig_set_string(&context, "context", label)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = options.own.set | options.recursive.set;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    let tree = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    if let Some((propagation, reach)) = options.propagation.filter(|(kind, _)| *kind != mount::PRIVATE) {
        set_attributes(tree.as_fd(), &change(0, 0, propagation, reach == Reach::Tree))?;
    }
    Ok(tree)
}
