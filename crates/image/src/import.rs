//! Importing an image from disk: an OCI image layout (image-layout.md), as a directory or in a tar archive.
//!
//! ```text
//!   directory ──────────────────────────────┐
//!   archive ─► unpacked below temp_dir ─────┴─► oci-layout ─► index.json ─► manifest ─► config, layers ─► commit
//! ```
//!
//! The directory may come from anywhere: it is read through a held descriptor that paths cannot leave, sizes are
//! bounded, and every blob is verified like one from a registry.

mod archive;
mod layout;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ochre_types::ImageId;

use crate::error::Error;
use crate::images::{Images, Service};
use crate::pull::commit::commit;
use crate::pull::error::PullError;
use crate::pull::layer::{Staged, unpack};
use crate::reference::{Parsed, Reference};
pub(crate) use archive::sweep;

use archive::Unpacked;
use layout::Layout;

pub use layout::LayoutError;

impl Images {
    /// Imports the layout or archive at `path` under `name`; without one, under the name that its index gives the
    /// image, and without that, under none. A short `name` means `localhost`.
    ///
    /// # Errors
    /// A name that is none, and [`Error::Import`] for everything else.
    pub async fn import(&self, path: &Path, name: Option<&str>) -> Result<ImageId, Error> {
        let name = name.map(parse_name).transpose()?;
        let path = path.to_owned();
        let imported = self.service.with_store(move |service| {
            let result = service.import(&path, name);
            result.map_err(|source| Error::Import { path, source: Arc::new(source) })
        });
        let imported = imported.await;
        self.service.refresh_usage().await;
        imported
    }
}

impl Service {
    fn import(&self, path: &Path, name: Option<Reference>) -> Result<ImageId, PullError> {
        let metadata = std::fs::metadata(path)
            .map_err(|source| LayoutError::Read { place: path.display().to_string(), source })?;
        let (transport, unpacked) = if metadata.is_dir() { ("oci", None) } else { ("oci-archive", Some(())) };
        if let Some(policy) = self.config.policy.load(None)? {
            policy.admit_path(transport, path)?;
        }
        // Held until the image is committed; dropping it removes the unpacked archive.
        let unpacked = unpacked.map(|()| Unpacked::from(path, &self.config.temp_dir)).transpose()?;
        let directory: PathBuf =
            unpacked.as_ref().map_or_else(|| path.to_owned(), |unpacked| unpacked.path().to_owned());
        self.import_layout(&Layout::open(&directory)?, name)
    }

    fn import_layout(&self, layout: &Layout, name: Option<Reference>) -> Result<ImageId, PullError> {
        let (found, own_name) = layout.find(&self.config.platform)?;
        let config = layout.small_blob(&found.manifest.config)?;
        let resolved = found.with_config(config)?;
        let store = &self.config.store;
        let mut staged = Vec::new();
        for wanted in resolved.missing(store)? {
            let unpacked =
                unpack(store, self.config.unpacker.as_deref(), &wanted, layout.open_blob(&wanted.digest)?)?;
            staged.push((wanted, Staged::new(unpacked)));
        }
        let name = name.or_else(|| parse_name(&own_name?).ok());
        commit(store, resolved, &staged, name.iter().map(Reference::recorded_name).collect())
    }
}

fn parse_name(text: &str) -> Result<Reference, Error> {
    Ok(match Parsed::parse(text)? {
        Parsed::Qualified(reference) => reference,
        Parsed::Short(short) => short.at("localhost"),
    })
}
