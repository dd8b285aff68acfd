//! From a name to the documents of one image: index, manifest, configuration. Every document is verified before it is
//! parsed.

use std::sync::Arc;

use ochre_storage::{Store, chain_layer_id};
use ochre_types::{Digest, ImageId, LayerId};

use super::error::PullError;
use super::layer::Wanted;
use crate::config::ImageConfig;
use crate::manifest::{Document, Manifest, ManifestError};
use crate::platform::Platform;
use crate::registry::RegistryError;
use crate::registry::client::{RegistryClient, ServedManifest};
use crate::trust::Kept;

/// The documents of an image or artifact.
pub(crate) struct Found {
    pub(crate) manifest: Manifest,
    /// Digest and bytes of the image's manifest.
    pub(crate) chosen: (Digest, Vec<u8>),
    /// The index that it was chosen from.
    pub(crate) index: Option<(Digest, Vec<u8>)>,
    /// The signatures that admit it; none where none was demanded.
    pub(crate) signatures: Vec<Kept>,
}

/// An image whose configuration is known.
pub(crate) struct Resolved {
    pub(crate) id: ImageId,
    pub(crate) found: Found,
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Vec<u8>,
    /// Lowest first.
    pub(crate) layers: Vec<Wanted>,
}

/// Asks the sources in turn; with `artifacts`, an artifact will do as well as an image. Returns the documents, and the sources from the one that answered on.
pub(super) async fn find(
    sources: &[Arc<RegistryClient>],
    selector: &str,
    (platform, artifacts): (&Platform, bool),
) -> Result<(Found, Vec<Arc<RegistryClient>>), PullError> {
    let mut attempts = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        match find_at(source, selector, (platform, artifacts)).await {
            Ok(found) => return Ok((found, sources[number..].to_vec())),
            Err(PullError::Registry(error)) => attempts.push((source.place(), error)),
            // What is wrong with the content does not get better elsewhere, except in a mirror of other content.
            Err(error) if number + 1 == sources.len() => return Err(error),
            Err(error) => {
                tracing::warn!(mirror = source.place(), %error, "the mirror's image cannot be used")
            }
        }
    }
    if attempts.len() == 1
        && let Some((_, only)) = attempts.pop()
    {
        return Err(only.into());
    }
    Err(PullError::AllSources { attempts })
}

async fn find_at(
    source: &RegistryClient,
    selector: &str,
    (platform, artifacts): (&Platform, bool),
) -> Result<Found, PullError> {
    let served = source.manifest(selector).await?;
    let index = match parse(&served)? {
        Document::Image(manifest) => {
            check(&manifest, artifacts)?;
            let chosen = (served.digest, served.bytes);
            return Ok(Found { manifest: *manifest, chosen, index: None, signatures: Vec::new() });
        }
        Document::Index(index) => index,
    };
    let entry = index.choose(platform)?;
    let chosen = source.manifest(&entry.digest.to_string()).await?;
    if chosen.bytes.len() as u64 != entry.size {
        let (digest, actual) = (entry.digest.clone(), chosen.bytes.len() as u64);
        return Err(RegistryError::Size { url: source.place(), digest, expected: entry.size, actual }.into());
    }
    let manifest = match parse(&chosen)? {
        Document::Image(manifest) => manifest,
        Document::Index(_) => return Err(ManifestError::NestedIndex { digest: chosen.digest }.into()),
    };
    check(&manifest, artifacts)?;
    Ok(Found {
        manifest: *manifest,
        chosen: (chosen.digest, chosen.bytes),
        index: Some((served.digest, served.bytes)),
        signatures: Vec::new(),
    })
}

/// Refuses what is neither an image that runs here nor, where those are wanted, an artifact.
fn check(manifest: &Manifest, artifacts: bool) -> Result<(), ManifestError> {
    if artifacts && manifest.is_artifact() { Ok(()) } else { manifest.check() }
}

fn parse(served: &ServedManifest) -> Result<Document, ManifestError> {
    Document::parse(&served.bytes, served.content_type.as_deref())
}

impl Found {
    /// The image's id: the hexadecimal part of its configuration's digest.
    pub(crate) fn image_id(&self) -> Result<ImageId, PullError> {
        let digest = &self.manifest.config.digest;
        digest.hex().parse().map_err(|_| PullError::ConfigDigest { digest: digest.clone() })
    }

    /// Puts the verified configuration beside the documents.
    pub(crate) fn with_config(self, config_bytes: Vec<u8>) -> Result<Resolved, PullError> {
        let id = self.image_id()?;
        let config = ImageConfig::parse(&config_bytes)?;
        let (manifest, diff_ids) = (self.manifest.layers.len(), config.diff_ids.len());
        if manifest != diff_ids {
            return Err(PullError::LayerCount { manifest, config: diff_ids });
        }
        let mut parent: Option<LayerId> = None;
        let mut layers = Vec::with_capacity(manifest);
        for (blob, diff_id) in self.manifest.layers.iter().zip(&config.diff_ids) {
            let id = chain_layer_id(parent.as_ref(), diff_id);
            let (digest, diff_id) = (blob.digest.clone(), diff_id.clone());
            layers.push(Wanted {
                id: id.clone(),
                parent: parent.replace(id),
                digest,
                size: blob.size,
                diff_id,
            });
        }
        Ok(Resolved { id, found: self, config, config_bytes, layers })
    }
}

impl Resolved {
    /// The layers that the store lacks.
    pub(crate) fn missing(&self, store: &Store) -> Result<Vec<Wanted>, ochre_storage::Error> {
        let mut missing = Vec::new();
        for layer in &self.layers {
            if store.layer(&layer.id)?.is_none() {
                missing.push(layer.clone());
            }
        }
        Ok(missing)
    }
}
