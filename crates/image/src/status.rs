//! Which image a text means, and what is known of it.
//!
//! In this order: a full id (with or without `sha256:`), a name, a digest in a repository, a short name in the places
//! where it may be, the digest of a manifest, the beginning of one id (3 characters or more).

use std::sync::Arc;

use ochre_storage::Image;
use ochre_types::{Digest, ImageId};

use crate::config::ImageConfig;
use crate::error::Error;
use crate::images::{Images, Service};
use crate::list::{ImageSummary, repository_of};
use crate::reference::{Parsed, Reference};

/// Shortest beginning of an id that is looked for, as in CRI-O.
const PREFIX_MIN: usize = 3;

/// An image that a container can be made from.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// What CRI shows of it.
    pub summary: ImageSummary,
    /// What containers take from it.
    pub config: ImageConfig,
}

impl Images {
    /// The image or artifact that `reference` means; `None` when it is not here.
    ///
    /// # Errors
    /// A text that cannot be a reference, the beginning of several ids, errors of the store.
    pub async fn status(&self, reference: &str) -> Result<Option<ImageSummary>, Error> {
        let reference = reference.to_owned();
        self.service
            .with_store(move |service| match service.find(&reference)? {
                Some(image) => Ok(Some(service.summary(&image))),
                None => {
                    Ok(service.find_artifact(&reference)?.map(|artifact| service.artifact_summary(&artifact)))
                }
            })
            .await
    }

    /// The image that `reference` means, with its configuration.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming the reference; [`Error::Config`] for an image whose configuration the store lost; as
    /// [`Images::status`].
    pub async fn resolve(&self, reference: &str) -> Result<ResolvedImage, Error> {
        let summary = self
            .status(reference)
            .await?
            .ok_or_else(|| Error::NotFound { reference: reference.to_owned() })?;
        if summary.is_artifact() {
            return Err(Error::NotAnImage { reference: reference.to_owned() });
        }
        // A default configuration in place of an unreadable one would run the image as root, without its command.
        if let Err(source) = ImageConfig::parse(summary.config_json()) {
            return Err(Error::Config { id: summary.id, source: Arc::new(source) });
        }
        let config = summary.config().clone();
        Ok(ResolvedImage { summary, config })
    }
}

impl Service {
    pub(crate) fn find(&self, text: &str) -> Result<Option<Arc<Image>>, Error> {
        let store = &self.config.store;
        let digest: Option<Digest> = text.parse().ok();
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(id) = bare.parse::<ImageId>()
            && let Some(image) = store.image(&id).map_err(Error::store)?
        {
            return Ok(Some(image));
        }
        let images = store.images().map_err(Error::store)?;
        if let Some(digest) = digest {
            return Ok(images.iter().find(|image| image.digests.contains(&digest)).cloned());
        }
        let parsed = Parsed::parse(text);
        let candidates = match &parsed {
            Ok(Parsed::Qualified(reference)) => vec![reference.clone()],
            Ok(Parsed::Short(name)) => self.registries().local_candidates(name),
            Err(_) => Vec::new(),
        };
        for candidate in &candidates {
            if let Some(image) = self.named(candidate, &images)? {
                return Ok(Some(image));
            }
        }
        if bare.len() >= PREFIX_MIN
            && bare.len() <= 64
            && bare.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return by_prefix(bare, &images);
        }
        parsed?;
        Ok(None)
    }

    fn named(&self, reference: &Reference, images: &[Arc<Image>]) -> Result<Option<Arc<Image>>, Error> {
        if let Some(image) =
            self.config.store.image_by_name(&reference.recorded_name()).map_err(Error::store)?
        {
            return Ok(Some(image));
        }
        let Some(digest) = reference.digest() else { return Ok(None) };
        let repository = reference.repository();
        let fits = |image: &&Arc<Image>| {
            image.digests.contains(digest) && image.names.iter().any(|name| repository_of(name) == repository)
        };
        Ok(images.iter().find(fits).cloned())
    }
}

fn by_prefix(prefix: &str, images: &[Arc<Image>]) -> Result<Option<Arc<Image>>, Error> {
    let mut fitting = images.iter().filter(|image| image.id.as_str().starts_with(prefix));
    match (fitting.next(), fitting.count()) {
        (None, _) => Ok(None),
        (Some(image), 0) => Ok(Some(Arc::clone(image))),
        (Some(_), more) => Err(Error::AmbiguousId { prefix: prefix.to_owned(), count: more + 1 }),
    }
}
