//! Why a monitor could not start, or had to end.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// The monitor cannot do its work at all. Failures of single requests are answered, not returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be opened.
    #[error("cannot open the monitor's directory {path}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Descriptor 3 is not a listening socket.
    #[error("descriptor 3 is not the listening socket")]
    Listener {
        /// Why.
        source: io::Error,
    },
    /// The process cannot become a child subreaper or receive its signals.
    #[error("cannot set up signals and reaping")]
    Signals {
        /// Why.
        source: io::Error,
    },
    /// The event loop failed.
    #[error("cannot wait for events")]
    Poll {
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Directory { .. } => ErrorKind::NotFound,
            Self::Listener { .. } => ErrorKind::InvalidArgument,
            Self::Signals { .. } | Self::Poll { .. } => ErrorKind::Internal,
        }
    }
}
