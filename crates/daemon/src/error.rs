//! Why the daemon does not start.

use std::path::PathBuf;

/// A failure to start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another engine answers at the socket.
    #[error("another engine answers at {path}; stop it first, or choose another socket with --listen")]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("the socket {path} cannot be made: {source}")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program that belongs to the engine is missing.
    #[error("{program} is not beside {directory}/ochre; install the engine's three programs together")]
    MissingProgram {
        /// Its name.
        program: &'static str,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A directory cannot be made.
    #[error("the directory {path} cannot be made: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The streaming server does not start.
    #[error(transparent)]
    Streaming(#[from] ochre_stream::Error),
    /// A part of the engine does not start.
    #[error(transparent)]
    Pod(#[from] ochre_pod::Error),
    /// The image store cannot be opened.
    #[error(transparent)]
    Storage(#[from] ochre_storage::Error),
    /// The image service does not start.
    #[error(transparent)]
    Image(#[from] ochre_image::Error),
    /// The network does not start.
    #[error(transparent)]
    Network(#[from] ochre_network::Error),
    /// A handler is unusable.
    #[error(transparent)]
    Handler(#[from] ochre_runtime::handler::HandlerError),
    /// The cgroup hierarchies cannot be used.
    #[error(transparent)]
    Cgroup(#[from] ochre_runtime::cgroup::CgroupError),
    /// The daemon's own privileges cannot be read.
    #[error(transparent)]
    Clamp(#[from] ochre_runtime::clamp::Error),
    /// An option's value is wrong in a way that only the machine shows.
    #[error("option {option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// An error and its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
