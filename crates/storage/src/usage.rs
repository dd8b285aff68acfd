//! How much the store holds.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ochre_types::{ContainerId, LayerId};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::Store;
use crate::{Error, Image};

/// Directories deeper than that are not counted; only a hostile container makes them, and each costs a descriptor.
const DEEPEST: usize = 256;

/// Size of a block in `st_blocks`, whatever the file system's.
const BLOCK: u64 = 512;

/// What something occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; 0 when they are not known.
    pub inodes: u64,
}

impl Store {
    /// What all images occupy together, from the records: each layer counts once, with the size of its uncompressed
    /// archive. Inodes are not on record and stay 0.
    ///
    /// # Errors
    /// Errors of reading the records.
    pub fn image_usage(&self) -> Result<Usage, Error> {
        let mut seen = HashSet::new();
        let mut bytes = 0u64;
        for image in self.images()?.iter() {
            bytes = bytes.saturating_add(image_bytes(self, image, &mut seen)?);
        }
        Ok(Usage { bytes, inodes: 0 })
    }

    /// What a container wrote: allocated bytes and inodes of its layer. Walks the layer, so call it now and then, not
    /// on a request. Files that vanish meanwhile are passed over.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`]; I/O errors.
    pub fn container_usage(&self, id: &ContainerId) -> Result<Usage, Error> {
        let (dir, diff) = self.changes(id)?;
        walk(dir).map_err(Error::io("read", diff))
    }

    /// The directory of what a container wrote, in overlay's form: deleted files are character devices 0:0. The container
    /// may change it at any moment, so use it only by calls that follow no link.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`]; I/O errors.
    pub fn container_changes(&self, id: &ContainerId) -> Result<OwnedFd, Error> {
        Ok(self.changes(id)?.0)
    }

    fn changes(&self, id: &ContainerId) -> Result<(OwnedFd, PathBuf), Error> {
        let container = self.container(id)?.ok_or_else(|| Error::ContainerNotFound { id: id.clone() })?;
        let diff = self.opened.overlay.dirs.own(&container.layer).join("diff");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&diff, flags, Mode::empty()).map_err(Error::io("open", &diff))?;
        Ok((dir, diff))
    }
}

/// Bytes of an image's items and of its layers that were not `seen` yet.
pub(crate) fn image_bytes(store: &Store, image: &Image, seen: &mut HashSet<LayerId>) -> Result<u64, Error> {
    let mut bytes: u64 = image.big_data_sizes.values().fold(0, |sum, size| sum.saturating_add(*size));
    let mut next = image.top_layer.clone();
    while let Some(id) = next
        && !seen.contains(&id)
    {
        let layer = store.layer(&id)?;
        next = layer.as_ref().and_then(|layer| layer.parent.clone());
        let size = layer.map_or(0, |layer| u64::try_from(layer.diff_size).unwrap_or(0));
        bytes = bytes.saturating_add(size);
        seen.insert(id);
    }
    Ok(bytes)
}

fn walk(root: OwnedFd) -> rustix::io::Result<Usage> {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut open = vec![Dir::new(root)?];
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
        if !is_dir && stat.st_nlink > 1 && !linked.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        usage.inodes += 1;
        usage.bytes =
            usage.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK));
        if is_dir && open.len() < DEEPEST {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = open.last().map(|dir| rustix::fs::openat(dir.fd()?, name, flags, Mode::empty()));
            match opened {
                Some(Ok(child)) => open.push(Dir::new(child)?),
                // Removed or replaced since.
                Some(Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) | None => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), vec![1; 20_000]).unwrap();
        std::fs::hard_link(dir.path().join("sub/file"), dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let usage = walk(std::fs::File::open(dir.path()).unwrap().into()).unwrap();
        assert_eq!(usage.inodes, 3);
        assert!((20_000..80_000).contains(&usage.bytes), "{usage:?}");
    }
}
