//! Overlay mounts whose lower layers show other owners.
//!
//! The layers of an image belong to the ids of the image. A container with a user namespace sees them through id-mapped
//! copies of the mount they lie on (Linux 5.19 for overlay), so that nothing is copied or changed for it; what it writes
//! goes to its own layer, with the ids of the host.
//!
//! Overlay takes its layers by path, and before Linux 6.15 only from mounts of the caller's own mount namespace. So the
//! copies are attached in a mount namespace that a thread of its own makes and that ends with the thread: overlay keeps
//! its own hold of them, nobody else ever sees them, and a crash leaves none.
//!
//! ```text
//! fresh thread, own mount namespace:   tmpfs on <target>:  0/ 1/ 2/ …  id-mapped copies     m/  overlay over 0:1:2
//! caller's mount namespace:            <target>  <── detached copy of m/
//! ```

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ochre_sys::mount::{AttributeChange, set_attributes};
use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};

/// Where the overlay itself is mounted on the way.
const MERGED: &str = "m";

/// What could not be done.
pub(super) enum Refused {
    /// The kernel or the file system of a layer has no id-mapped mounts.
    IdMap(io::Error),
    /// Everything else.
    Mount(io::Error),
}

/// The options of an overlay mount.
pub(super) struct Overlay<'a> {
    /// Layers below, the topmost first.
    pub(super) lowers: &'a [PathBuf],
    /// Every option but `lowerdir`, each with a comma in front.
    pub(super) tail: &'a str,
    /// `mount(2)`.
    pub(super) flags: MountFlags,
}

/// Mounts an overlay at `target` with its lower layers mapped by the user namespace `map`.
pub(super) fn mount(overlay: &Overlay<'_>, target: &Path, map: BorrowedFd<'_>) -> Result<(), Refused> {
    let mut refused = None;
    let made = ochre_sys::namespace::in_private_mounts(|| {
        assemble(overlay, target, map).map_err(|error| match error {
            Refused::Mount(error) => error,
            Refused::IdMap(error) => {
                let kind = error.kind();
                refused = Some(Refused::IdMap(error));
                kind.into()
            }
        })
    });
    let tree = match (made, refused) {
        (Ok(tree), _) => tree,
        (Err(_), Some(refused)) => return Err(refused),
        (Err(error), None) => return Err(Refused::Mount(error)),
    };
    rustix::mount::move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Refused::Mount(errno.into()))
}

/// Runs in the private mount namespace; returns a detached copy of the finished mount.
fn assemble(overlay: &Overlay<'_>, target: &Path, map: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let failed = |errno: rustix::io::Errno| Refused::Mount(errno.into());
    let copies = overlay.lowers.iter().map(|path| mapped(path, map)).collect::<Result<Vec<_>, _>>()?;
    let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, None::<&CStr>).map_err(failed)?;
    // Short names keep the options within their page, however many layers there are.
    rustix::process::chdir(target).map_err(failed)?;
    let mut names = Vec::new();
    for (index, copy) in copies.iter().enumerate() {
        let name = index.to_string();
        rustix::fs::mkdir(&name, Mode::RWXU).map_err(failed)?;
        rustix::mount::move_mount(copy, "", CWD, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed)?;
        names.push(name);
    }
    rustix::fs::mkdir(MERGED, Mode::RWXU).map_err(failed)?;
    let data = format!("lowerdir={}{}", names.join(":"), overlay.tail);
    let data = std::ffi::CString::new(data).map_err(|error| Refused::Mount(error.into()))?;
    rustix::mount::mount("overlay", MERGED, "overlay", overlay.flags, Some(data.as_c_str())).map_err(
        |errno| {
            match errno {
                // What overlay of older kernels says to a layer on an id-mapped mount.
                rustix::io::Errno::INVAL => Refused::IdMap(errno.into()),
                _ => failed(errno),
            }
        },
    )?;
    copy_of(Path::new(MERGED)).map_err(Refused::Mount)
}

fn mapped(path: &Path, map: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let copy = copy_of(path).map_err(Refused::Mount)?;
    let change = AttributeChange { id_map: Some(map), ..AttributeChange::default() };
    set_attributes(copy.as_fd(), &change).map_err(Refused::IdMap)?;
    Ok(copy)
}

fn copy_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}
