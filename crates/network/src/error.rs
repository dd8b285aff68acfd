//! Failures of the network as a whole.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use ochre_types::{ErrorKind, SandboxId};

use crate::cni::CniError;
use crate::hostport::HostPortError;
use crate::native::NativeError;

/// Why no pod can be connected now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotReady {
    /// In words for the operator: which directory, file or plugin.
    pub reason: String,
}

/// Why an operation on a pod's network failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable network.
    #[error("the pod network is not ready")]
    NotReady(#[from] NotReady),
    /// A CNI operation failed.
    #[error("network {network:?} of pod {}", .sandbox.short())]
    Cni {
        /// The pod.
        sandbox: SandboxId,
        /// The network's name.
        network: String,
        /// Why.
        #[source]
        source: Box<CniError>,
    },
    /// Garbage collection of a network failed.
    #[error("garbage collection of network {network:?}")]
    Garbage {
        /// The network's name.
        network: String,
        /// Why.
        #[source]
        source: Box<CniError>,
    },
    /// The built-in network failed.
    #[error("built-in network of pod {}", .sandbox.short())]
    Native {
        /// The pod.
        sandbox: SandboxId,
        /// Why.
        #[source]
        source: NativeError,
    },
    /// The built-in network could not be opened or removed.
    #[error("built-in network")]
    Bridge(#[from] NativeError),
    /// Host ports of a pod failed.
    #[error("host ports of pod {}", .sandbox.short())]
    HostPort {
        /// The pod.
        sandbox: SandboxId,
        /// Why.
        #[source]
        source: HostPortError,
    },
    /// The host port records could not be opened, or the tables not removed.
    #[error("host ports")]
    HostPorts(#[from] HostPortError),
    /// The pod's network namespace cannot be used.
    #[error("network namespace {} of pod {}", .path.display(), .sandbox.short())]
    Namespace {
        /// The pod.
        sandbox: SandboxId,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of this crate could not be read or written.
    #[error("network state {}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directories of configurations and plugins cannot be watched.
    #[error("cannot watch the network configuration")]
    Watch(#[source] io::Error),
    /// Nothing is known about the pod's network.
    #[error("pod {} has no network attachment", .sandbox.short())]
    NotAttached {
        /// The pod.
        sandbox: SandboxId,
    },
    /// An attachment failed and could not be undone completely; a later detach goes on with it.
    #[error("{}; undoing it failed too: {}", chain(.cause.as_ref()), joined(.undo))]
    Undo {
        /// Why the attachment failed.
        cause: Box<Error>,
        /// What could not be undone.
        undo: Vec<Error>,
    },
    /// Several steps failed; all were tried.
    #[error("{}", joined(.failures))]
    Several {
        /// The failures in the order in which they happened.
        failures: Vec<Error>,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady(_) => ErrorKind::Unavailable,
            Self::Cni { source, .. } | Self::Garbage { source, .. } => source.kind(),
            Self::Native { source, .. } | Self::Bridge(source) => source.kind(),
            Self::HostPort { source, .. } | Self::HostPorts(source) => source.kind(),
            Self::Namespace { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::State { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Self::Namespace { .. } | Self::State { .. } | Self::Watch(_) => ErrorKind::Internal,
            Self::NotAttached { .. } => ErrorKind::NotFound,
            Self::Undo { cause, .. } => cause.kind(),
            Self::Several { failures } => failures.first().map_or(ErrorKind::Internal, Self::kind),
        }
    }

    /// Nothing, the one failure, or all of them.
    pub(crate) fn collect(mut failures: Vec<Error>) -> Result<(), Error> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Error::Several { failures }),
        }
    }
}

/// An error with its sources on one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ")
}
