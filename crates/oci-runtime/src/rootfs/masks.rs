//! Paths that look empty, and paths that cannot be written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ochre_sys::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, set_attributes};
use ochre_sys::rooted::Root;
use rustix::fs::OFlags;

use super::mounts::new_filesystem;
use super::options::{Attributes, MountOptions};
use super::{RootfsError, attach, copy_of, devices, is_directory};

/// Opens a path; `None` when it does not exist, which is as good as hidden or protected.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, RootfsError> {
    match root.open_at(path, OFlags::PATH, 0) {
        Ok(place) => Ok(Some(place)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(RootfsError::Destination { path: path.to_owned(), source }),
    }
}

pub(super) fn protect(root: &Root, paths: &[PathBuf]) -> Result<(), RootfsError> {
    for path in paths {
        let Some(place) = existing(root, path)? else { continue };
        let covered = copy_of(&place, true).and_then(|copy| {
            set_attributes(copy.as_fd(), &super::change(ATTR_RDONLY, 0, 0, true))?;
            attach(copy, &place)
        });
        covered.map_err(|source| RootfsError::Mount { path: path.clone(), source })?;
    }
    Ok(())
}

pub(super) fn hide(root: &Root, paths: &[PathBuf]) -> Result<(), RootfsError> {
    let (mut null, mut empty) = (None, None);
    for path in paths {
        let Some(place) = existing(root, path)? else { continue };
        let failed = |source| RootfsError::Mount { path: path.clone(), source };
        if is_directory(&place).map_err(failed)? {
            // The first is placed and copied for the others: one empty file system for all.
            match &empty {
                None => {
                    let made = empty_directory().map_err(failed)?;
                    attach(&made, &place).map_err(failed)?;
                    empty = Some(made);
                }
                Some(made) => copy_of(made, false).and_then(|copy| attach(copy, &place)).map_err(failed)?,
            }
        } else {
            if null.is_none() {
                null = Some(devices::null(root)?);
            }
            let Some(null) = &null else { continue };
            copy_of(null, false).and_then(|copy| attach(copy, &place)).map_err(failed)?;
        }
    }
    Ok(())
}

fn empty_directory() -> io::Result<OwnedFd> {
    let data = ["nr_blocks=1", "nr_inodes=1", "mode=755"].map(str::to_owned).to_vec();
    let own = Attributes { set: ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, clear: 0 };
    new_filesystem("tmpfs", None, &MountOptions { data, own, ..MountOptions::default() }, None)
}
