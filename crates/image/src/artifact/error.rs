//! What can go wrong with artifacts.

use std::io;
use std::path::PathBuf;

use ochre_types::{Digest, ErrorKind};

/// An artifact cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A file or directory of the store could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The index of the store is not one.
    #[error("the index {} of artifacts cannot be used: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else holds the store for longer than anybody should.
    #[error("the store of artifacts is locked by another program")]
    Locked,
    /// A file name that would lie somewhere else.
    #[error("the artifact names a file {title:?}, which is no plain relative name")]
    Title {
        /// As written, shortened.
        title: String,
    },
    /// Two files of one name.
    #[error("the artifact names two files {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// A blob that was here is gone.
    #[error("blob {blob} of the artifact is gone")]
    Lost {
        /// Its digest.
        blob: Digest,
    },
}

impl ArtifactError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::Index { .. } => ErrorKind::Internal,
            Self::Locked | Self::Lost { .. } => ErrorKind::Unavailable,
            Self::Title { .. } | Self::Twice { .. } => ErrorKind::InvalidArgument,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
