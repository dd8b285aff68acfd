//! Image manifests and indexes: OCI image specification 1.1 and Docker image manifest version 2, schema 2.
//!
//! The bytes are parsed only after their digest is known. What the server says they are (`Content-Type`), what they say
//! themselves (`mediaType`) and what they look like (`layers` or `manifests`) must agree: a document that is an image
//! to one reader and an index to another is how content slips past a check (CVE-2021-41190).

use std::collections::BTreeMap;

use ochre_types::{Digest, ErrorKind};
use serde::Deserialize;

use crate::platform::Platform;

/// Largest manifest or index (OCI distribution specification: at least 4 MiB must be accepted).
pub(crate) const MANIFEST_MAX: u64 = 4 << 20;
/// Largest image configuration.
pub(crate) const CONFIG_MAX: u64 = 8 << 20;
/// Most layers of an image. overlayfs itself stacks 500.
pub(crate) const LAYERS_MAX: usize = 1000;

/// The type of an image manifest of OCI.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a registry is asked for.
pub(crate) const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// Why a document is not the manifest of an image that runs here.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The server calls it something else.
    #[error("the manifest has content type {content_type:?}, which is no image manifest or index")]
    ContentType {
        /// What the server said.
        content_type: String,
    },
    /// Schema 1, without content addressing of the whole image; removed from the specifications.
    #[error(
        "the image is only available in the obsolete Docker schema 1 format; push it again with a current tool"
    )]
    SchemaOne,
    /// Not JSON, or fields of a wrong type.
    #[error("the manifest is malformed")]
    Syntax {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Header and document disagree.
    #[error("the manifest calls itself {inside:?} but was served as {outside:?}")]
    MediaTypeMismatch {
        /// `mediaType`.
        inside: String,
        /// `Content-Type`, or the type in the descriptor.
        outside: String,
    },
    /// Both an image and an index, or neither.
    #[error("the manifest is ambiguous: {reason}")]
    Ambiguous {
        /// Which fields clash.
        reason: &'static str,
    },
    /// Too many layers.
    #[error("the image has {count} layers; at most {LAYERS_MAX} are allowed")]
    TooManyLayers {
        /// How many.
        count: usize,
    },
    /// The configuration is too large.
    #[error("the image configuration {digest} is {size} bytes; at most {CONFIG_MAX} are allowed")]
    ConfigTooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size as promised.
        size: u64,
    },
    /// An index without an entry for this machine.
    #[error("no image for {platform} in the index; it has {available}")]
    NoPlatform {
        /// The machine.
        platform: Platform,
        /// Comma-separated platforms.
        available: String,
    },
    /// An index inside an index.
    #[error("the entry {digest} of the index is itself an index")]
    NestedIndex {
        /// The entry.
        digest: Digest,
    },
    /// A manifest of something that is not a container image.
    #[error("this is an OCI artifact (configuration type {media_type:?}), not a container image")]
    NotAnImage {
        /// Type of the configuration.
        media_type: String,
    },
    /// A layer that lies outside the registry.
    #[error(
        "layer {digest} is a foreign layer to be fetched from elsewhere ({media_type}); \
         layers are only taken from the registry"
    )]
    ForeignLayer {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// A layer in a format that cannot be unpacked.
    #[error("layer {digest} has the unsupported media type {media_type:?}")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
}

impl ManifestError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyLayers { .. } | Self::ConfigTooLarge { .. } => ErrorKind::Exhausted,
            Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::SchemaOne
            | Self::NestedIndex { .. }
            | Self::NotAnImage { .. }
            | Self::ForeignLayer { .. }
            | Self::LayerType { .. } => ErrorKind::InvalidArgument,
            Self::ContentType { .. }
            | Self::Syntax { .. }
            | Self::MediaTypeMismatch { .. }
            | Self::Ambiguous { .. } => ErrorKind::Internal,
        }
    }
}

/// A parsed document.
#[derive(Debug)]
pub(crate) enum Document {
    Image(Box<Manifest>),
    Index(Index),
}

/// The manifest of one image.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Whether it is of OCI's form, which artifacts have as well.
    oci: bool,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The images of several platforms under one name.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// A promise about a blob (OCI image specification, descriptor.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    platform: Option<DescriptorPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct DescriptorPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Parses a document that was served as `content_type` (none: the server did not say).
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let outside =
            content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if outside.as_deref().is_some_and(is_schema_one) {
            return Err(ManifestError::SchemaOne);
        }
        if let Some(outside) = outside.as_deref().filter(|outside| !ACCEPTED.contains(outside)) {
            return Err(ManifestError::ContentType { content_type: outside.chars().take(120).collect() });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|source| ManifestError::Syntax { source })?;
        if wire.schema_version == 1 || wire.media_type.as_deref().is_some_and(is_schema_one) {
            return Err(ManifestError::SchemaOne);
        }
        if wire.schema_version != 2 {
            return Err(ManifestError::Ambiguous { reason: "schemaVersion is not 2" });
        }
        let media_type = match (outside, wire.media_type.clone().filter(|inside| !inside.is_empty())) {
            (Some(outside), Some(inside)) if inside != outside => {
                return Err(ManifestError::MediaTypeMismatch { inside, outside });
            }
            // Docker's formats require the field; OCI's recommend it.
            (Some(outside), None) if !matches!(outside.as_str(), OCI_MANIFEST | OCI_INDEX) => {
                return Err(ManifestError::Ambiguous { reason: "mediaType is missing" });
            }
            (Some(either), _) | (None, Some(either)) => either,
            (None, None) => return Err(ManifestError::Ambiguous { reason: "mediaType is missing" }),
        };
        wire.into_document(&media_type)
    }
}

impl Wire {
    fn into_document(self, media_type: &str) -> Result<Document, ManifestError> {
        let ambiguous = |reason| Err(ManifestError::Ambiguous { reason });
        if self.fs_layers.is_some() {
            return ambiguous("it has fsLayers, a field of schema 1");
        }
        match (media_type, self.config, self.layers, self.manifests) {
            (_, _, Some(_), Some(_)) => ambiguous("it has both layers and manifests"),
            (OCI_MANIFEST | DOCKER_MANIFEST, Some(config), Some(layers), None) => {
                if layers.len() > LAYERS_MAX {
                    return Err(ManifestError::TooManyLayers { count: layers.len() });
                }
                Ok(Document::Image(Box::new(Manifest {
                    oci: media_type == OCI_MANIFEST,
                    config,
                    layers,
                    annotations: self.annotations.unwrap_or_default(),
                })))
            }
            (OCI_MANIFEST | DOCKER_MANIFEST, ..) => ambiguous("an image manifest needs config and layers"),
            (OCI_INDEX | DOCKER_LIST, None, None, Some(manifests)) => {
                Ok(Document::Index(Index { manifests }))
            }
            (OCI_INDEX | DOCKER_LIST, ..) => {
                ambiguous("an index has manifests and neither config nor layers")
            }
            (other, ..) => {
                Err(ManifestError::ContentType { content_type: other.chars().take(120).collect() })
            }
        }
    }
}

impl Manifest {
    /// Whether it is the manifest of an artifact: something else than the configuration of an image stands behind it
    /// (OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage").
    pub(crate) fn is_artifact(&self) -> bool {
        let config = self.config.media_type.as_str();
        self.oci && !config.is_empty() && !matches!(config, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// Refuses what is no image that can be unpacked here.
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        if !matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return Err(ManifestError::NotAnImage {
                media_type: self.config.media_type.chars().take(120).collect(),
            });
        }
        if self.config.size > CONFIG_MAX {
            return Err(ManifestError::ConfigTooLarge {
                digest: self.config.digest.clone(),
                size: self.config.size,
            });
        }
        self.layers.iter().try_for_each(Descriptor::check_layer)
    }
}

impl Index {
    /// The entry for `platform`.
    pub(crate) fn choose(&self, platform: &Platform) -> Result<&Descriptor, ManifestError> {
        let images = || self.manifests.iter().filter(|entry| entry.is_manifest());
        for variant in platform.variants() {
            let fits = |entry: &&Descriptor| {
                entry.platform.as_ref().is_some_and(|theirs| {
                    theirs.os == platform.os
                        && theirs.architecture == platform.architecture
                        && theirs.variant.as_deref().unwrap_or_default() == variant
                })
            };
            if let Some(entry) = images().find(fits) {
                return entry.not_an_index();
            }
        }
        // Tools that write one image into an index often leave the platform out.
        let mut all = images();
        if let (Some(only), None) = (all.next(), all.next())
            && only.platform.is_none()
        {
            return only.not_an_index();
        }
        let available: Vec<_> =
            self.manifests.iter().take(20).filter_map(Descriptor::platform_text).collect();
        let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
        Err(ManifestError::NoPlatform { platform: platform.clone(), available })
    }
}

impl Descriptor {
    /// An annotation of the entry.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn is_manifest(&self) -> bool {
        self.media_type.is_empty() || ACCEPTED.contains(&self.media_type.as_str())
    }

    /// Whether the entry points at an index.
    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }

    fn not_an_index(&self) -> Result<&Self, ManifestError> {
        if self.is_index() {
            return Err(ManifestError::NestedIndex { digest: self.digest.clone() });
        }
        Ok(self)
    }

    fn platform_text(&self) -> Option<String> {
        let platform = self.platform.as_ref()?;
        let text = Platform {
            os: platform.os.chars().take(20).collect(),
            architecture: platform.architecture.chars().take(20).collect(),
            variant: platform.variant.as_ref().map(|variant| variant.chars().take(20).collect()),
        };
        Some(text.to_string())
    }

    /// Layers are gzip, zstd or plain tar, and lie in the registry.
    fn check_layer(&self) -> Result<(), ManifestError> {
        let (digest, media_type) =
            (self.digest.clone(), self.media_type.chars().take(120).collect::<String>());
        let foreign = media_type.contains(".foreign.") || media_type.contains(".nondistributable.");
        // A foreign layer without URLs has been pushed like any other. URLs of a normal layer are simply not used.
        if foreign && self.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
            return Err(ManifestError::ForeignLayer { digest, media_type });
        }
        match media_type.as_str() {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Ok(()),
            _ => Err(ManifestError::LayerType { digest, media_type }),
        }
    }
}

fn is_schema_one(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

#[cfg(test)]
mod tests;
