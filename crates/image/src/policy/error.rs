//! Why the signature policy keeps an image out.

use std::io;
use std::path::PathBuf;

use ochre_types::{Digest, ErrorKind};

use crate::manifest::ManifestError;
use crate::registry::RegistryError;
use crate::trust::{MaterialError, PlacesError, SignatureError};

/// Why an image may not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy cannot be read.
    #[error("reading the signature policy {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The policy is larger than one can be.
    #[error("the signature policy {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The policy is not valid.
    #[error("the signature policy {} is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A scope without requirements would accept or refuse by accident.
    #[error("the signature policy {} has no requirement for scope {scope:?}", path.display())]
    NoRequirement {
        /// The file.
        path: PathBuf,
        /// The scope.
        scope: String,
    },
    /// The namespace cannot be a file name.
    #[error("{namespace:?} is not a namespace name")]
    Namespace {
        /// The refused text.
        namespace: String,
    },
    /// A `reject` requirement.
    #[error("the signature policy {} rejects {image} (scope {scope:?})", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// The image.
        image: String,
        /// The scope that decided.
        scope: String,
    },
    /// A requirement that cannot be checked: of a kind that is not supported, or for something that is not in a registry.
    #[error(
        "the signature policy {} requires {requirement} for {image} (scope {scope:?}), \
         and verifying that is not supported",
        path.display()
    )]
    SignatureUnsupported {
        /// The file.
        path: PathBuf,
        /// The image.
        image: String,
        /// The scope that decided.
        scope: String,
        /// The requirement's type.
        requirement: &'static str,
    },
    /// A key or certificate that the policy names cannot be used.
    #[error("the signature policy {} names a key or certificate that cannot be used", path.display())]
    Material {
        /// The policy's file.
        path: PathBuf,
        /// Which, and why.
        #[source]
        source: MaterialError,
    },
    /// The configuration of where signatures are kept cannot be used.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// There is no signature to look at.
    #[error("{image} ({digest}) must be signed (scope {scope:?}), and {reason}")]
    Unsigned {
        /// The image.
        image: String,
        /// The digest of its manifest.
        digest: Digest,
        /// The scope that decided.
        scope: String,
        /// Where was looked, or why nowhere.
        reason: String,
    },
    /// There are signatures, and none will do.
    #[error("no signature of {image} ({digest}) is accepted (scope {scope:?}): {}", listed(rejections))]
    NotAccepted {
        /// The image.
        image: String,
        /// The digest of its manifest.
        digest: Digest,
        /// The scope that decided.
        scope: String,
        /// What is wrong with each.
        rejections: Vec<SignatureError>,
    },
    /// The signatures could not be fetched.
    #[error("the signatures of {image} could not be fetched")]
    Fetch {
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// What the registry has in the place of signatures is something else.
    #[error("what the registry has as signatures of {image} cannot be used")]
    Attachments {
        /// The image.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
}

/// Most rejections that a message names.
const NAMED_MAX: usize = 4;

impl PolicyError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Material { .. } => ErrorKind::FailedPrecondition,
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::NoRequirement { .. }
            | Self::Namespace { .. } => ErrorKind::InvalidArgument,
            Self::Places(error) => error.kind(),
            Self::Fetch { source, .. } => source.kind(),
            Self::Rejected { .. }
            | Self::SignatureUnsupported { .. }
            | Self::Unsigned { .. }
            | Self::NotAccepted { .. }
            | Self::Attachments { .. } => ErrorKind::Denied,
        }
    }

    /// Whether CRI's `SignatureValidationFailed` says it. A registry that could not be asked is another matter, and a
    /// policy that cannot be read as well.
    pub fn is_signature_failure(&self) -> bool {
        match self {
            Self::Rejected { .. }
            | Self::SignatureUnsupported { .. }
            | Self::Material { .. }
            | Self::Places(_)
            | Self::Unsigned { .. }
            | Self::NotAccepted { .. }
            | Self::Attachments { .. } => true,
            Self::Fetch { .. } => !self.is_unavailable(),
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::NoRequirement { .. }
            | Self::Namespace { .. } => false,
        }
    }

    /// Whether the registry could not be asked for signatures, which says nothing about them.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Fetch { .. })
            && matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

fn listed(rejections: &[SignatureError]) -> String {
    let mut texts: Vec<_> = rejections.iter().take(NAMED_MAX).map(SignatureError::to_string).collect();
    if rejections.len() > NAMED_MAX {
        texts.push(format!("and {} more", rejections.len() - NAMED_MAX));
    }
    texts.join("; ")
}
