//! Why a CDI device cannot be given.

use std::path::PathBuf;

use ochre_types::ErrorKind;

/// A requested device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// Text that is no qualified device name.
    #[error("CDI device {name:?} is not of the form vendor/class=device")]
    Name {
        /// As written, shortened.
        name: String,
    },
    /// More devices than anybody has.
    #[error("more than {limit} CDI devices are asked for")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No usable file describes the device.
    #[error("CDI device {name} is unknown{}", because(.left_out))]
    Unknown {
        /// Its qualified name.
        name: String,
        /// Files that were left out, which may be the reason.
        left_out: Vec<FileError>,
    },
    /// Several files of the same priority describe the device.
    #[error("CDI device {name} is described by both {} and {}", first.display(), second.display())]
    Conflict {
        /// Its qualified name.
        name: String,
        /// One of the files.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// What the file says cannot be done on this node.
    #[error("CDI device node {path:?} {reason}")]
    DeviceNode {
        /// Path of the node in the container or on the node.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl CdiError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } | Self::TooMany { .. } | Self::Unknown { .. } => ErrorKind::InvalidArgument,
            Self::Conflict { .. } | Self::DeviceNode { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

/// A file or directory that was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} was left out: {reason}", path.display())]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

fn because(left_out: &[FileError]) -> String {
    // A few reasons help, a screen of them does not.
    left_out.iter().take(3).map(|file| format!("; {file}")).collect()
}
