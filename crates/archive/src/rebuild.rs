//! What the two ways of making a layer's archive again have in common: by its tar-split, and from the files alone.

use std::io::{self, Write};
use std::path::PathBuf;

use ochre_types::{Digest, ErrorKind};
use sha2::{Digest as _, Sha256};

/// An archive that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// SHA-256 of the archive.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// Why a layer's archive cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The tar-split cannot be read.
    #[error("reading the tar-split")]
    TarSplit {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of the tar-split is not JSON of the right form.
    #[error("line {position} of the tar-split is malformed")]
    Syntax {
        /// Its number, from 0.
        position: u64,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A line of the tar-split that makes no sense.
    #[error("line {position} of the tar-split cannot be used: {reason}")]
    Line {
        /// Its number, from 0.
        position: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file of the layer cannot be read.
    #[error("reading {path:?} of the layer")]
    File {
        /// The file, inside the layer.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not the one that was unpacked.
    #[error("{path:?} of the layer was changed after it was unpacked")]
    Changed {
        /// The file, inside the layer.
        path: PathBuf,
    },
    /// A file whose content lies in another layer, as overlayfs makes them for `redirect_dir` and `metacopy`.
    #[error("{path:?} of the layer refers to a layer below ({attribute}), which no archive can say")]
    Refers {
        /// The file, inside the layer.
        path: PathBuf,
        /// The attribute that says so.
        attribute: &'static str,
    },
    /// The archive cannot be written.
    #[error("writing the archive")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl RebuildError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } | Self::Output { source } | Self::TarSplit { source } => {
                match source.kind() {
                    io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge => ErrorKind::Exhausted,
                    _ => ErrorKind::Internal,
                }
            }
            Self::Syntax { .. } | Self::Line { .. } | Self::Changed { .. } => ErrorKind::Internal,
            Self::Refers { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

/// Passes bytes on and hashes them.
pub(crate) struct Hashed<'w> {
    output: &'w mut dyn Write,
    hash: Sha256,
    size: u64,
}

impl<'w> Hashed<'w> {
    pub(crate) fn new(output: &'w mut dyn Write) -> Self {
        Self { output, hash: Sha256::new(), size: 0 }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), RebuildError> {
        self.output.write_all(bytes).map_err(|source| RebuildError::Output { source })?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn finish(self) -> Rebuilt {
        Rebuilt { diff_id: Digest::sha256(&self.hash.finalize().into()), size: self.size }
    }
}
