//! Overlay: the directories of layers (`overlay/dirs.rs`) and their mounts (`overlay/mount.rs`, with mapped ids
//! `overlay/mapped.rs`).
//!
//! containers/storage bind-mounts `<root>/overlay` privately on itself before it mounts layers below it, and undoes that
//! when nothing is mounted. A layer mounted without it would be hidden as soon as podman makes that bind, so this crate
//! keeps the same custom, under the same `storage.lock`.

pub(crate) mod dirs;
mod mapped;
pub(crate) mod mount;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::Error;
use crate::disk::lock::{Exclusive, LockFile};
use dirs::Dirs;
use mount::MountOptions;

/// Layer directories, and how they are mounted.
pub(crate) struct Overlay {
    pub(crate) dirs: Dirs,
    pub(crate) options: MountOptions,
    home: PathBuf,
    storage_lock: LockFile,
    /// Whether the bind mount is there as far as this process knows, its own or one that an earlier process left.
    bound: AtomicBool,
}

impl Overlay {
    /// Makes missing directories and tries out the mount options.
    pub(crate) fn open(root: &Path, additional: &[PathBuf], options: &[String]) -> Result<Self, Error> {
        let storage_lock = LockFile::open(root.join("storage.lock"))?;
        let dirs = Dirs::open(root, additional)?;
        let options = mount::probe(root, &dirs, options)?;
        let home = root.join("overlay");
        let bound = AtomicBool::new(mount::is_mount_point(&home)?);
        Ok(Self { dirs, options, home, storage_lock, bound })
    }

    /// Keeps others from making or undoing the bind mount.
    pub(crate) fn hold_home(&self) -> Result<Exclusive<'_>, Error> {
        self.storage_lock.exclusive()
    }

    /// Makes the private bind mount, unless layers are mounted without it: it would hide them. The lock proves that
    /// nobody else makes or undoes it; `recorded` are the places where layers are said to be mounted.
    pub(crate) fn bind_home<'a>(
        &self,
        _held: &Exclusive<'_>,
        recorded: impl Iterator<Item = &'a Path>,
    ) -> Result<(), Error> {
        if mount::is_mount_point(&self.home)? {
            self.bound.store(true, Ordering::Relaxed);
            return Ok(());
        }
        for path in recorded {
            if mount::is_mount_point(path)? {
                return Ok(());
            }
        }
        rustix::mount::mount_bind(&self.home, &self.home).map_err(Error::io("bind", &self.home))?;
        self.bound.store(true, Ordering::Relaxed);
        rustix::mount::mount_change(&self.home, MountPropagationFlags::PRIVATE)
            .map_err(Error::io("make private", &self.home))
    }

    /// Undoes the bind mount if nothing is mounted below it; whoever needs it makes it again. Returns the
    /// lock if it was undone.
    pub(crate) fn undo_bind(&self) -> Option<Exclusive<'_>> {
        if !self.bound.load(Ordering::Relaxed) {
            return None;
        }
        let held = self.storage_lock.exclusive_within(Duration::from_millis(200)).ok()??;
        // Without the announcement a running podman would believe that the bind is still there.
        held.announce_write().ok()?;
        rustix::mount::unmount(&self.home, UnmountFlags::empty()).ok()?;
        Some(held)
    }
}
