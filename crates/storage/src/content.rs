//! What an export needs: an image that nobody removes meanwhile, and the content of its layers.
//!
//! A hold is a shared `flock` on the directory of the image's items. Removing an image takes it exclusively, without
//! waiting. So a hold works between processes, ends with its process however that ends, leaves nothing on the disk and
//! locks nobody out who adds or reads. podman does not know of holds: an image that it removes meanwhile fails its reader.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ochre_sys::rooted::Root;
use ochre_types::{ImageId, LayerId};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Error;
use crate::store::{self, Store};

/// An image that cannot be removed. Dropping it lets go.
#[derive(Debug)]
pub struct ImageHold {
    _lock: File,
}

/// The content of a layer.
#[derive(Debug)]
pub struct LayerContent {
    /// The layer's directory in overlayfs's form.
    pub root: Root,
    /// What its archive was, gzipped; `None` when whoever made the layer kept none.
    pub tar_split: Option<File>,
}

impl Store {
    /// Keeps an image from being removed by this engine or another of its programs.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], also for an image that is being removed; I/O errors.
    pub fn hold_image(&self, id: &ImageId) -> Result<ImageHold, Error> {
        for table in self.opened.image_tables() {
            if !table.current()?.view.by_id.contains_key(id) {
                continue;
            }
            let path = table.dir().join(id.as_str());
            let lock = File::open(&path).map_err(Error::io("open", &path))?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => break,
                result => result.map_err(Error::io("lock", &path))?,
            }
            // The directory may have been removed, and another one made, before it was locked.
            if is_same(&lock, &path) && table.current()?.view.by_id.contains_key(id) {
                return Ok(ImageHold { _lock: lock });
            }
            break;
        }
        Err(Error::ImageNotFound { id: id.clone() })
    }

    /// The content of a complete layer of this store or of an additional one. Somebody has to hold an image of it.
    ///
    /// # Errors
    /// [`Error::LayerNotFound`]; I/O errors.
    pub fn layer_content(&self, id: &LayerId) -> Result<LayerContent, Error> {
        let absent = || Error::LayerNotFound { id: id.clone() };
        if self.layer(id)?.is_none() {
            return Err(absent());
        }
        let directory = self.opened.overlay.dirs.find(id).ok_or_else(absent)?;
        let diff = directory.join("diff");
        let root = Root::open(&diff).map_err(Error::io("open", diff))?;
        let own = store::tar_split_path(&self.opened, id.as_str());
        let name = format!("{id}.tar-split.gz");
        let others = self.opened.additional.iter().map(|store| store.layers.dir().join(&name));
        for path in std::iter::once(own).chain(others) {
            match File::open(&path) {
                Ok(file) => return Ok(LayerContent { root, tar_split: Some(file) }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", path)(error)),
            }
        }
        Ok(LayerContent { root, tar_split: None })
    }

    /// The lock that removing an image takes; it fails while somebody holds the image.
    pub(crate) fn lock_for_removal(&self, id: &ImageId) -> Result<Option<File>, Error> {
        let path = self.opened.images.dir().join(id.as_str());
        let lock = match File::open(&path) {
            // No directory, no items, no holds.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(Error::io("open", &path))?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Error::ImageHeld { id: id.clone() }),
            result => result.map(|()| Some(lock)).map_err(Error::io("lock", path)),
        }
    }
}

fn is_same(open: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (open.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewImage, StoreConfig};

    #[test]
    fn an_image_that_somebody_holds_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, runroot) = (dir.path().join("root"), dir.path().join("run"));
        let open = || {
            let (root, runroot) = (root.clone(), runroot.clone());
            Store::open(StoreConfig { root, runroot, ..StoreConfig::default() }).unwrap()
        };
        let (store, other) = (open(), open());
        let id = ImageId::generate();
        let new = || NewImage {
            id: id.clone(),
            names: Vec::new(),
            top_layer: None,
            digest: None,
            big_data: vec![("manifest".to_owned(), b"{}".to_vec())],
            created: ochre_types::Timestamp::now(),
            metadata: String::new(),
        };
        assert!(matches!(store.hold_image(&id), Err(Error::ImageNotFound { .. })));
        store.create_image(new()).unwrap();
        let (hold, second) = (store.hold_image(&id).unwrap(), other.hold_image(&id).unwrap());
        other.create_image(new()).unwrap();
        drop(second);
        assert!(matches!(other.delete_image(&id), Err(Error::ImageHeld { .. })));
        assert!(store.image(&id).unwrap().is_some());
        drop(hold);
        other.delete_image(&id).unwrap();
        assert!(matches!(store.hold_image(&id), Err(Error::ImageNotFound { .. })));
    }
}
