//! Why an image could not be brought in.

use std::sync::Arc;

use ochre_types::{Digest, ErrorKind};

use crate::artifact::error::ArtifactError;
use crate::auth::AuthError;
use crate::config::ConfigError;
use crate::error::PullReason;
use crate::import::LayoutError;
use crate::manifest::ManifestError;
use crate::policy::PolicyError;
use crate::registries::RegistriesError;
use crate::registry::RegistryError;

/// Why a pull or an import failed. Nothing of it is visible in the store.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registries configuration cannot be used or forbids it.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The signature policy cannot be used or forbids it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Neither a mirror nor the registry gave it. The last entry is the registry itself.
    #[error("no source has it: {}", listed(attempts))]
    AllSources {
        /// Place and failure of each source, in the order tried.
        attempts: Vec<(String, RegistryError)>,
    },
    /// Not the manifest of an image for this machine.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Not the configuration of an image for this machine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration names another number of layers than the manifest.
    #[error("the manifest has {manifest} layers and the configuration {config}")]
    LayerCount {
        /// Layers of the manifest.
        manifest: usize,
        /// Layers of the configuration.
        config: usize,
    },
    /// The configuration's digest cannot be an image id.
    #[error("the image configuration has the digest {digest}; only sha256 is supported there")]
    ConfigDigest {
        /// The digest.
        digest: Digest,
    },
    /// A layer's bytes are not those of its descriptor.
    #[error("layer {layer} is not what the manifest promises")]
    LayerBytes {
        /// The layer's digest.
        layer: Digest,
        /// The broken promise.
        #[source]
        source: ochre_archive::VerifyError,
    },
    /// A layer cannot be unpacked.
    #[error("unpacking layer {layer}")]
    Unpack {
        /// The layer's digest.
        layer: Digest,
        /// Why.
        #[source]
        source: ochre_archive::worker::WorkerError,
    },
    /// A layer unpacks to something else than the configuration says.
    #[error("layer {layer} unpacks to {actual}, but the image configuration says {expected}")]
    DiffId {
        /// The layer's digest.
        layer: Digest,
        /// Digest by the configuration.
        expected: Digest,
        /// Digest of the unpacked archive.
        actual: Digest,
    },
    /// A layer that another pull was unpacking is gone again.
    #[error("layer {layer} could not be taken over from another pull")]
    LayerLost {
        /// The layer's digest.
        layer: Digest,
    },
    /// Another pull was fetching the layer and failed.
    #[error(transparent)]
    Shared(Arc<PullError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ochre_storage::Error),
    /// The artifact cannot be kept.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The layout or archive cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The engine is stopping, or a task of it died.
    #[error("the engine is stopping")]
    Stopped,
}

impl PullError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registries(error) => error.kind(),
            Self::Auth(error) => error.kind(),
            Self::Policy(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::AllSources { attempts } => {
                attempts.last().map_or(ErrorKind::Unavailable, |(_, error)| error.kind())
            }
            Self::Manifest(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::LayerCount { .. } | Self::LayerBytes { .. } | Self::DiffId { .. } => ErrorKind::Internal,
            Self::ConfigDigest { .. } => ErrorKind::InvalidArgument,
            Self::Unpack { source, .. } => source.kind(),
            Self::LayerLost { .. } | Self::Stopped => ErrorKind::Unavailable,
            Self::Shared(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Artifact(error) => error.kind(),
            Self::Layout(error) => error.kind(),
        }
    }

    /// Whether a layer that was there, or was somebody else's to bring in, is gone: an image with the same layers was
    /// removed meanwhile. Another try fetches it.
    pub(crate) fn is_lost_layer(&self) -> bool {
        use ochre_storage::Error::{LayerNotFound, ParentMissing};
        matches!(
            self,
            Self::LayerLost { .. }
                | Self::Store(LayerNotFound { .. } | ParentMissing { .. })
                | Self::Artifact(ArtifactError::Lost { .. })
        )
    }

    /// The reason CRI has a word for.
    pub(crate) fn reason(&self) -> Option<PullReason> {
        match self {
            Self::Policy(error) if error.is_signature_failure() => {
                Some(PullReason::SignatureValidationFailed)
            }
            Self::Policy(error) if error.is_unavailable() => Some(PullReason::RegistryUnavailable),
            Self::Registry(error) => unavailable(error),
            Self::AllSources { attempts } => unavailable(&attempts.last()?.1),
            Self::Shared(error) => error.reason(),
            Self::Policy(_)
            | Self::Registries(_)
            | Self::Auth(_)
            | Self::Manifest(_)
            | Self::Config(_)
            | Self::LayerCount { .. }
            | Self::ConfigDigest { .. }
            | Self::LayerBytes { .. }
            | Self::Unpack { .. }
            | Self::DiffId { .. }
            | Self::LayerLost { .. }
            | Self::Store(_)
            | Self::Artifact(_)
            | Self::Layout(_)
            | Self::Stopped => None,
        }
    }
}

fn unavailable(error: &RegistryError) -> Option<PullReason> {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
        .then_some(PullReason::RegistryUnavailable)
}

fn listed(attempts: &[(String, RegistryError)]) -> String {
    let texts: Vec<_> = attempts.iter().map(|(place, error)| format!("({place}) {error}")).collect();
    texts.join("; ")
}
