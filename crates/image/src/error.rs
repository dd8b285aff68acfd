//! What the image service answers when it cannot do what was asked.
//!
//! A pull's failure is shared by everyone who waited for it, so all of this can be cloned.

use std::path::PathBuf;
use std::sync::Arc;

use ochre_types::{ErrorKind, ImageId};

use crate::artifact::error::ArtifactError;
use crate::config::ConfigError;
use crate::export::error::ExportError;
use crate::pull::error::PullError;
use crate::reference::ReferenceError;
use crate::registries::RegistriesError;

/// A failure of the image service.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The text names no image.
    #[error("invalid image reference")]
    Reference {
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// No image here has that name, id or digest.
    #[error("image {reference:?} is not present")]
    NotFound {
        /// The text asked for.
        reference: String,
    },
    /// A container has it mounted. The words after the colon are CRI-O's.
    #[error("image {id} cannot be removed: the image is in use by {user}")]
    HeldAsVolume {
        /// The image or artifact.
        id: ImageId,
        /// The container.
        user: String,
    },
    /// An artifact where only an image will do.
    #[error("{reference:?} is an OCI artifact, not an image: it can be mounted, but not run")]
    NotAnImage {
        /// The text asked for.
        reference: String,
    },
    /// An artifact cannot be used.
    #[error("artifact {id} cannot be used")]
    Artifact {
        /// The artifact.
        id: ImageId,
        /// Why.
        #[source]
        source: Arc<ArtifactError>,
    },
    /// The store of artifacts failed.
    #[error("the store of artifacts failed")]
    Artifacts {
        /// How.
        #[source]
        source: Arc<ArtifactError>,
    },
    /// The beginning of several ids.
    #[error("{prefix:?} is the beginning of {count} image ids")]
    AmbiguousId {
        /// The text asked for.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// A pull failed.
    #[error("pulling image {reference:?}")]
    Pull {
        /// The reference as requested.
        reference: String,
        /// Why.
        #[source]
        source: Arc<PullError>,
    },
    /// The signature policy keeps an image that is here from being run.
    #[error("image {reference:?} may not be run")]
    NotAdmitted {
        /// The reference as the user wrote it.
        reference: String,
        /// Why.
        #[source]
        source: Arc<PullError>,
    },
    /// An import failed.
    #[error("importing {}", path.display())]
    Import {
        /// The layout or archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<PullError>,
    },
    /// An export failed.
    #[error("exporting to {}", path.display())]
    Export {
        /// The output.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<ExportError>,
    },
    /// The registries configuration cannot be used.
    #[error("the registries configuration cannot be used")]
    Registries {
        /// Why.
        #[source]
        source: Arc<RegistriesError>,
    },
    /// The stored configuration of an image cannot be used.
    #[error("the stored configuration of image {id} cannot be used")]
    Config {
        /// The image.
        id: ImageId,
        /// Why.
        #[source]
        source: Arc<ConfigError>,
    },
    /// The store failed.
    #[error("the image store failed")]
    Store {
        /// How.
        #[source]
        source: Arc<ochre_storage::Error>,
    },
    /// The engine is stopping, or a task of it died.
    #[error("the operation was abandoned because the engine is stopping")]
    Stopped,
}

/// Failures of a pull that CRI tells apart by the first word of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullReason {
    /// `RegistryUnavailable`
    RegistryUnavailable,
    /// `SignatureValidationFailed`
    SignatureValidationFailed,
}

impl PullReason {
    /// The word that CRI expects in front of the message (`pkg/kubelet/images/types.go`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegistryUnavailable => "RegistryUnavailable",
            Self::SignatureValidationFailed => "SignatureValidationFailed",
        }
    }
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. } | Self::AmbiguousId { .. } | Self::NotAnImage { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::HeldAsVolume { .. } => ErrorKind::FailedPrecondition,
            Self::Artifact { source, .. } | Self::Artifacts { source } => source.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Pull { source, .. } | Self::NotAdmitted { source, .. } | Self::Import { source, .. } => {
                source.kind()
            }
            Self::Export { source, .. } => source.kind(),
            Self::Registries { source } => source.kind(),
            Self::Config { source, .. } => source.kind(),
            Self::Store { source } => source.kind(),
            Self::Stopped => ErrorKind::Unavailable,
        }
    }

    /// The reason CRI has a word for.
    pub fn pull_reason(&self) -> Option<PullReason> {
        match self {
            Self::Pull { source, .. } | Self::NotAdmitted { source, .. } => source.reason(),
            Self::Reference { .. }
            | Self::HeldAsVolume { .. }
            | Self::NotAnImage { .. }
            | Self::Artifact { .. }
            | Self::Artifacts { .. }
            | Self::NotFound { .. }
            | Self::AmbiguousId { .. }
            | Self::Import { .. }
            | Self::Export { .. }
            | Self::Registries { .. }
            | Self::Config { .. }
            | Self::Store { .. }
            | Self::Stopped => None,
        }
    }

    pub(crate) fn store(source: ochre_storage::Error) -> Self {
        Self::Store { source: Arc::new(source) }
    }
}

impl From<ReferenceError> for Error {
    fn from(source: ReferenceError) -> Self {
        Self::Reference { source }
    }
}
