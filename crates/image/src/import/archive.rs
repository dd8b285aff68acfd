//! A layout in a tar archive, unpacked into a private directory for the time of the import.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ochre_archive::{ApplyOptions, apply_layer};
use ochre_sys::rooted::Root;
use rustix::fs::OFlags;

use super::layout::LayoutError;

/// An unpacked archive. Dropping it removes it.
pub(super) struct Unpacked {
    path: PathBuf,
}

impl Unpacked {
    /// Unpacks `archive` (plain, gzip or zstd) below `temp_dir`. Blocking.
    pub(super) fn from(archive: &Path, temp_dir: &Path) -> Result<Self, LayoutError> {
        let failed = |place: &Path| {
            let place = place.display().to_string();
            move |source| LayoutError::Read { place, source }
        };
        // A FIFO in the archive's place must not hold the import up.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(archive).map_err(failed(archive))?;
        if !file.metadata().map_err(failed(archive))?.is_file() {
            return Err(LayoutError::NotARegularFile { place: archive.display().to_string() });
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(temp_dir).map_err(failed(temp_dir))?;
        let path = temp_dir.join(format!("import-{}", ochre_types::ImageId::generate().short()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        let unpacked = Self { path };
        let root = Root::open(&unpacked.path).map_err(failed(&unpacked.path))?;
        apply_layer(file, &root, None, &ApplyOptions::default())
            .map_err(|source| LayoutError::Archive { source: Box::new(source) })?;
        Ok(unpacked)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unpacked archive could not be removed");
        }
    }
}
