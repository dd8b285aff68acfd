//! Importing images from disk: an OCI image layout (image-layout.md), as a directory or in a tar archive, and a
//! docker-archive.
//!
//! ```text
//!   directory ────────────────────────► oci-layout ──► index.json ─┐
//!   archive ─► unpacked below temp_dir ─┤                          ├─► manifest ─► config, layers ─► commit
//!                                       └► manifest.json ──────────┘
//! ```
//!
//! An archive that is both, as docker writes since version 25, is read as a layout. The directory may come from
//! anywhere: it is read through a held descriptor that paths cannot leave, sizes and counts are bounded, and every blob
//! is verified like one from a registry.

mod archive;
mod docker;
mod layout;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ochre_sys::rooted::Root;
use ochre_types::{Digest, ImageId};

use crate::error::Error;
use crate::images::{Images, Service};
use crate::pull::commit::commit;
use crate::pull::error::PullError;
use crate::pull::layer::{Staged, unpack};
use crate::pull::resolve::Found;
use crate::reference::{Parsed, Reference};
pub(crate) use archive::sweep;

use archive::Unpacked;
use layout::{Layout, open_regular};

pub use layout::LayoutError;

/// Most images of one layout or archive.
const IMAGES_MAX: usize = 1000;
/// Most names of one image in an archive.
const NAMES_MAX: usize = 1000;

/// An image that was found.
struct Image {
    found: Found,
    config: Vec<u8>,
    /// The names it has there.
    names: Vec<Reference>,
    /// Where its layers lie, by digest.
    places: HashMap<Digest, PathBuf>,
}

impl Images {
    /// Imports the layout or archive at `path`: a single image under `name`, without one under the names it has in there
    /// (or none). Of several images all are imported under their names, or the one that is called `name`. A short
    /// `name` means `localhost`; the short names in a docker-archive mean `docker.io`.
    ///
    /// # Errors
    /// A name that is none, and [`Error::Import`] for everything else. Images before the one that failed stay.
    pub async fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<ImageId>, Error> {
        let name = name.map(parse_name).transpose()?;
        let path = path.to_owned();
        let imported = self.service.with_store(move |service| {
            let result = service.import(&path, name.as_ref());
            result.map_err(|source| Error::Import { path, source: Arc::new(source) })
        });
        let imported = imported.await;
        self.service.refresh_usage().await;
        imported
    }
}

impl Service {
    fn import(&self, path: &Path, name: Option<&Reference>) -> Result<Vec<ImageId>, PullError> {
        let failed = |source| LayoutError::Read { place: path.display().to_string(), source };
        // Held until the images are committed; dropping it removes the unpacked archive.
        let unpacked = match std::fs::metadata(path).map_err(failed)?.is_dir() {
            true => None,
            false => Some(Unpacked::from(path, &self.config.temp_dir, self.config.unpacker.as_deref())?),
        };
        let root = Root::open(unpacked.as_ref().map_or(path, Unpacked::path)).map_err(failed)?;
        let layout = match Layout::open(&root) {
            Err(LayoutError::NotALayout) if unpacked.is_some() && docker::is_one(&root) => None,
            layout => Some(layout?),
        };
        let transport = match (&layout, &unpacked) {
            (Some(_), None) => "oci",
            (Some(_), Some(_)) => "oci-archive",
            (None, _) => "docker-archive",
        };
        if let Some(policy) = self.config.policy.load(None)? {
            policy.admit_path(transport, path)?;
        }
        let images = match layout {
            Some(layout) => layout.images(&self.config.platform, name)?,
            None => docker::images(&root, name)?,
        };
        images.into_iter().map(|image| self.import_image(&root, image, name)).collect()
    }

    fn import_image(
        &self,
        root: &Root,
        image: Image,
        name: Option<&Reference>,
    ) -> Result<ImageId, PullError> {
        let Image { found, config, names, places } = image;
        let resolved = found.with_config(config)?;
        let store = &self.config.store;
        let mut staged = Vec::new();
        for wanted in resolved.missing(store)? {
            let place = places.get(&wanted.digest).ok_or(LayoutError::Empty)?;
            let input = open_regular(root, place)?;
            let unpacked = unpack(store, self.config.unpacker.as_deref(), &wanted, input)?;
            staged.push((wanted, Staged::new(unpacked)));
        }
        let names = name.map_or(names, |name| vec![name.clone()]);
        commit(store, resolved, &staged, names.iter().map(Reference::recorded_name).collect())
    }
}

fn parse_name(text: &str) -> Result<Reference, Error> {
    Ok(match Parsed::parse(text)? {
        Parsed::Qualified(reference) => reference,
        Parsed::Short(short) => short.at("localhost"),
    })
}
