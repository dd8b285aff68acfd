//! Why a handler cannot be used.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use ochre_types::ErrorKind;

/// A handler that is not there or does not work.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// No such handler.
    #[error("unknown runtime handler {name:?}, known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names of all handlers.
        known: String,
    },
    /// The default handler does not work.
    #[error("the default runtime handler {name} cannot be used")]
    Default {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<HandlerError>,
    },
    /// No `runtime_path`, and no executable of the handler's name in `$PATH`.
    #[error("runtime handler {name}: no executable {name} in PATH and no runtime_path configured")]
    NotInstalled {
        /// Its name.
        name: String,
    },
    /// `runtime_path` is relative.
    #[error("runtime handler {name}: {path} is not an absolute path")]
    NotAbsolute {
        /// Its name.
        name: String,
        /// The path.
        path: PathBuf,
    },
    /// A type that is not supported.
    #[error("runtime handler {name}: runtime_type {kind:?} is not supported, only \"oci\" is")]
    UnsupportedType {
        /// Its name.
        name: String,
        /// The type.
        kind: &'static str,
    },
    /// `seccomp_profile` names no usable profile.
    #[error("runtime handler {name}: its seccomp_profile cannot be used")]
    Seccomp {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<crate::spec::Error>,
    },
    /// The runtime could not be executed.
    #[error("runtime handler {name}: cannot execute {path}")]
    Execute {
        /// Its name.
        name: String,
        /// The runtime.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime did not answer in time, or without end, and was killed.
    #[error("runtime handler {name}: {path} {argument} did not end within {limit:?}")]
    NoAnswer {
        /// Its name.
        name: String,
        /// The runtime.
        path: PathBuf,
        /// What it was asked.
        argument: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The runtime failed.
    #[error("runtime handler {name}: {path} {argument} failed ({status}): {output}")]
    Failed {
        /// Its name.
        name: String,
        /// The runtime.
        path: PathBuf,
        /// What it was asked.
        argument: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        output: String,
    },
}

impl HandlerError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // To whoever asks for a pod, a handler that is not there is a wrong argument.
            Self::Unknown { .. } => ErrorKind::InvalidArgument,
            Self::Default { source, .. } => source.kind(),
            Self::NotInstalled { .. }
            | Self::NotAbsolute { .. }
            | Self::UnsupportedType { .. }
            | Self::Seccomp { .. } => ErrorKind::FailedPrecondition,
            Self::Execute { .. } | Self::Failed { .. } => ErrorKind::Internal,
            Self::NoAnswer { .. } => ErrorKind::Timeout,
        }
    }
}
