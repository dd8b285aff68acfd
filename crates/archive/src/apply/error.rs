//! Why a layer was not applied.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use ochre_types::ErrorKind;
use rustix::io::Errno;

use crate::decompress::DecompressError;
use crate::tar::TarError;

/// Why a layer was not applied. Paths are those of the archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is malformed, refused or cut short.
    #[error(transparent)]
    Tar(TarError),
    /// The blob does not decompress, is a bomb, or could not be read.
    #[error(transparent)]
    Decompress(DecompressError),
    /// The decompressing thread could not be started.
    #[error("starting the decompressing thread")]
    Thread {
        /// The error of `clone`.
        #[source]
        source: io::Error,
    },
    /// The tar-split could not be written.
    #[error("writing the tar-split")]
    TarSplit {
        /// The writer's error.
        #[source]
        source: io::Error,
    },
    /// More members than the limit.
    #[error("the layer has more than {limit} members")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// More memory for directory times than the limit.
    #[error("the layer names directories of more than {limit} bytes together")]
    TooManyDirectories {
        /// The limit in bytes of path text.
        limit: usize,
    },
    /// A file larger than the limit (a sparse one; others would break the stream's limit first).
    #[error("{path:?} has {size} bytes, more than {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A name that climbs out of the layer with `..`.
    #[error("{path:?} leads out of the layer")]
    Escapes {
        /// The name or link target.
        path: PathBuf,
    },
    /// The layer's root as something other than a directory, or as a link target.
    #[error("{path:?} is the layer's root and can only be a directory")]
    NotTheRoot {
        /// The name.
        path: PathBuf,
    },
    /// A whiteout of nothing, a whiteout used as a directory, or one of a kind that cannot be a whiteout.
    #[error("{path:?} is no valid whiteout")]
    Whiteout {
        /// The name.
        path: PathBuf,
    },
    /// A device node, which the options do not allow.
    #[error("{path:?} is a device node ({major}:{minor})")]
    Device {
        /// The name.
        path: PathBuf,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A hard link to something this layer does not hold (or not as a file).
    #[error("{path:?} is a hard link to {target:?}, which is no file of this layer")]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// More extended attributes than the limit.
    #[error("{path:?} has {count} extended attributes, more than {limit}")]
    TooManyXattrs {
        /// The member.
        path: PathBuf,
        /// How many it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// An extended attribute that no file system takes.
    #[error("{path:?} has an invalid extended attribute {name:?} of {length} bytes")]
    InvalidXattr {
        /// The member.
        path: PathBuf,
        /// Name of the attribute.
        name: String,
        /// Length of its value in bytes.
        length: usize,
    },
    /// The file system refused.
    #[error("{action} {path:?}")]
    Filesystem {
        /// What was tried.
        action: &'static str,
        /// The member.
        path: PathBuf,
        /// The error of the call.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tar(error) => error.kind(),
            Self::Decompress(error) => error.kind(),
            Self::Thread { .. } => ErrorKind::Exhausted,
            Self::TooManyEntries { .. } | Self::TooManyDirectories { .. } | Self::TooLarge { .. } => {
                ErrorKind::Exhausted
            }
            Self::Escapes { .. }
            | Self::NotTheRoot { .. }
            | Self::Whiteout { .. }
            | Self::LinkTarget { .. }
            | Self::TooManyXattrs { .. }
            | Self::InvalidXattr { .. } => ErrorKind::InvalidArgument,
            Self::Device { .. } => ErrorKind::Denied,
            Self::TarSplit { source } | Self::Filesystem { source, .. } => disk_kind(source),
        }
    }

    pub(super) fn too_large(name: &[u8], size: u64, limit: u64) -> Self {
        Self::TooLarge { path: shown(name), size, limit }
    }

    /// Wraps the error of a call on `path`.
    pub(super) fn at<E: Into<io::Error>>(action: &'static str, path: &[u8]) -> impl FnOnce(E) -> Self {
        let path = shown(path);
        move |source| Self::Filesystem { action, path, source: source.into() }
    }
}

/// Bytes of the archive as a path to show.
pub(super) fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(path.to_vec()))
}

impl From<TarError> for Error {
    /// Takes a decompression error out of the reader's I/O error, where it only travelled.
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read { source } => match source.downcast::<DecompressError>() {
                Ok(cause) => Self::Decompress(cause),
                Err(source) => Self::Tar(TarError::Read { source }),
            },
            other => Self::Tar(other),
        }
    }
}

fn disk_kind(error: &io::Error) -> ErrorKind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::FBIG) => {
            ErrorKind::Exhausted
        }
        Some(Errno::PERM | Errno::ACCESS) => ErrorKind::Denied,
        Some(Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL) => ErrorKind::InvalidArgument,
        _ => ErrorKind::Internal,
    }
}
