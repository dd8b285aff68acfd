//! Listing images, and what CRI wants to know of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use ochre_storage::Image;
use ochre_types::{ImageId, Timestamp};

use crate::config::ImageConfig;
use crate::error::Error;
use crate::images::{Images, Service, sha256};
use crate::manifest::Document;

/// An image as CRI sees it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// Its id.
    pub id: ImageId,
    /// Names with a tag.
    pub repo_tags: Vec<String>,
    /// Names with a digest: each repository it has a name in, with each of its manifests' digests.
    pub repo_digests: Vec<String>,
    /// Bytes: unpacked layers and documents.
    pub size: u64,
    /// User of the image's configuration when it is a number. Never set together with `username`.
    pub uid: Option<i64>,
    /// User of the image's configuration when it is a name.
    pub username: String,
    /// Whether the configuration protects it from garbage collection.
    pub pinned: bool,
    /// When it was built.
    pub created: Option<Timestamp>,
    details: Arc<Details>,
}

impl ImageSummary {
    /// Labels of the image's configuration.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.details.config.labels
    }

    /// Annotations of its manifest.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.details.annotations
    }

    /// The configuration's JSON as the registry had it; empty when the store lost it.
    pub fn config_json(&self) -> &[u8] {
        &self.details.config_json
    }

    /// Whether it is an artifact, which cannot be run.
    pub(crate) fn is_artifact(&self) -> bool {
        self.details.is_artifact
    }

    /// An artifact: id, bytes, annotations of the manifest; names with a tag and with a digest.
    pub(crate) fn of_artifact(
        (id, size, annotations): (ImageId, u64, BTreeMap<String, String>),
        repo_tags: Vec<String>,
        repo_digests: Vec<String>,
        pinned: bool,
    ) -> Self {
        let details = Details {
            is_artifact: true,
            config: ImageConfig::default(),
            config_json: Vec::new(),
            annotations,
            size,
        };
        Self {
            id,
            repo_tags,
            repo_digests,
            size,
            uid: None,
            username: String::new(),
            pinned,
            created: None,
            details: Arc::new(details),
        }
    }

    pub(crate) fn config(&self) -> &ImageConfig {
        &self.details.config
    }
}

/// What does not change as long as the image exists.
#[derive(Debug)]
pub(crate) struct Details {
    is_artifact: bool,
    config: ImageConfig,
    config_json: Vec<u8>,
    annotations: BTreeMap<String, String>,
    size: u64,
}

impl Images {
    /// All images, then all artifacts.
    ///
    /// # Errors
    /// The store's records cannot be read.
    pub async fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        self.service.with_store(Service::summaries).await
    }
}

impl Service {
    fn summaries(&self) -> Result<Vec<ImageSummary>, Error> {
        let images = self.config.store.images().map_err(Error::store)?;
        let mut summaries: Vec<ImageSummary> = images.iter().map(|image| self.summary(image)).collect();
        summaries.extend(self.all_artifacts()?.iter().map(|artifact| self.artifact_summary(artifact)));
        let mut details = self.details.lock();
        if details.len() > images.len() {
            details.retain(|id, _| images.iter().any(|image| image.id == *id));
        }
        Ok(summaries)
    }

    /// Reads the image's documents the first time. One damaged image does not hide the others: what cannot be read of
    /// it is empty.
    pub(crate) fn summary(&self, image: &Image) -> ImageSummary {
        let known = self.details.lock().get(&image.id).cloned();
        let details = known.unwrap_or_else(|| {
            let details = Arc::new(self.read_details(image));
            // What could not be read may be readable the next time.
            if !details.config_json.is_empty() {
                self.details.lock().insert(image.id.clone(), Arc::clone(&details));
            }
            details
        });
        let (uid, username) = details.config.user_for_status();
        ImageSummary {
            id: image.id.clone(),
            repo_tags: image.names.iter().filter(|name| !name.contains('@')).cloned().collect(),
            repo_digests: repo_digests(image),
            size: details.size,
            uid,
            username,
            pinned: self.pins(&image.names),
            created: image.created.or(details.config.created),
            details,
        }
    }

    /// Whether the configuration protects one of these names.
    pub(crate) fn pins(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.config.pinned.iter().any(|pattern| is_pinned(name, pattern)))
    }

    fn read_details(&self, image: &Image) -> Details {
        let store = &self.config.store;
        let manifest = store.big_data(&image.id, "manifest").ok().and_then(|bytes| {
            match Document::parse(&bytes, None)
                .or_else(|_| Document::parse(&bytes, Some(OCI_MANIFEST)))
                .ok()?
            {
                Document::Image(manifest) => Some(*manifest),
                Document::Index(_) => None,
            }
        });
        let usual = format!("sha256:{}", image.id);
        // Images that podman pulled in part (zstd:chunked) have an id of their own; the manifest knows the key.
        let key = match &manifest {
            Some(manifest) if !image.big_data_names.contains(&usual) => manifest.config.digest.to_string(),
            _ => usual,
        };
        let config_json = store.big_data(&image.id, &key).unwrap_or_default();
        let intact = key == sha256(&config_json).to_string();
        Details {
            is_artifact: false,
            config: ImageConfig::parse(&config_json).ok().filter(|_| intact).unwrap_or_default(),
            config_json: if intact { config_json } else { Vec::new() },
            annotations: manifest.map(|manifest| manifest.annotations).unwrap_or_default(),
            size: store.image_size(&image.id).unwrap_or_default(),
        }
    }
}

/// OCI manifests in a store need not say what they are.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Each repository of the image's names with each of its digests.
fn repo_digests(image: &Image) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in &image.names {
        let repository = repository_of(name);
        let own = name.contains('@').then(|| name.clone());
        for digest in
            own.into_iter().chain(image.digests.iter().map(|digest| format!("{repository}@{digest}")))
        {
            if !all.contains(&digest) {
                all.push(digest);
            }
        }
    }
    all
}

/// A recorded name without its tag or digest.
pub(crate) fn repository_of(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// CRI-O's patterns: exact, `*keyword*`, and `prefix*`, which is not anchored there either. Case does not count.
fn is_pinned(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.to_lowercase(), pattern.to_lowercase());
    match pattern.strip_suffix('*') {
        Some(rest) => name.contains(rest.strip_prefix('*').unwrap_or(rest)),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_pin_as_in_cri_o() {
        let name = "registry.k8s.io/pause:3.10";
        for (pattern, pinned) in [
            ("registry.k8s.io/pause:3.10", true),
            ("Registry.k8s.io/Pause:3.10", true),
            ("registry.k8s.io/pause", false),
            ("registry.k8s.io/*", true),
            ("*pause*", true),
            ("*paws*", false),
            ("*3.10", false),
        ] {
            assert_eq!(is_pinned(name, pattern), pinned, "{pattern}");
        }
    }

    #[test]
    fn repositories_keep_their_port() {
        assert_eq!(repository_of("a.io:5000/b:c"), "a.io:5000/b");
        assert_eq!(repository_of("a.io:5000/b"), "a.io:5000/b");
        assert_eq!(repository_of("a.io/b@sha256:00"), "a.io/b");
    }
}
