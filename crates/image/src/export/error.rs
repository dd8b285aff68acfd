//! Why images could not be exported.

use std::io;
use std::path::PathBuf;

use ochre_archive::RebuildError;
use ochre_types::{Digest, ErrorKind, ImageId, LayerId};

/// Why an export failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output is there already.
    #[error("it exists already")]
    Exists,
    /// What is to be replaced is nothing that an export made.
    #[error("it exists already and is no {expected}, so it is not replaced")]
    NotReplaced {
        /// What it would have to be.
        expected: &'static str,
    },
    /// A path without a last name.
    #[error("it has no file name")]
    NoName,
    /// The output cannot be written.
    #[error("writing")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The layers of a docker-archive are never compressed.
    #[error("the layers of a docker-archive are not compressed")]
    Compression,
    /// The store lost the image's configuration.
    #[error("the store has no intact configuration of image {id}")]
    NoConfig {
        /// The image.
        id: ImageId,
    },
    /// Configuration and layers do not belong together.
    #[error("image {id} has {layers} layers in the store, but its configuration lists {config}")]
    LayerCount {
        /// The image.
        id: ImageId,
        /// Layers in the store.
        layers: usize,
        /// Layers of the configuration.
        config: usize,
    },
    /// A layer's archive cannot be made again.
    #[error("making the archive of layer {id} again")]
    Layer {
        /// The layer.
        id: LayerId,
        /// Why.
        #[source]
        source: RebuildError,
    },
    /// Files and tar-split make another archive than the one that was unpacked.
    #[error("layer {id} is damaged: its archive has the digest {actual} instead of {expected}")]
    Damaged {
        /// The layer.
        id: LayerId,
        /// Digest by the image's configuration.
        expected: Digest,
        /// Digest of the archive.
        actual: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ochre_storage::Error),
}

impl ExportError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Exists | Self::NotReplaced { .. } => ErrorKind::AlreadyExists,
            Self::NoName | Self::Compression => ErrorKind::InvalidArgument,
            Self::Write { source } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    ErrorKind::Exhausted
                }
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Internal,
            },
            Self::NoConfig { .. } | Self::LayerCount { .. } | Self::Damaged { .. } => ErrorKind::Internal,
            Self::Layer { source, .. } => source.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

impl From<io::Error> for ExportError {
    fn from(source: io::Error) -> Self {
        Self::Write { source }
    }
}

/// The output that could not be written, for the outer error.
pub(super) fn at(path: PathBuf) -> impl FnOnce(ExportError) -> crate::Error {
    move |source| crate::Error::Export { path, source: std::sync::Arc::new(source) }
}
