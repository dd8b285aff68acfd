//! What can go wrong between the daemon and a monitor.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ochre_types::{ContainerId, ErrorKind};

use crate::message::{Failure, FailureKind};

/// What was asked of the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Making a container.
    Create,
    /// Starting it.
    Start,
    /// Signalling it.
    Signal,
    /// Deleting it.
    Delete,
    /// Changing its limits.
    Update,
    /// Reopening its log.
    ReopenLog,
    /// Resizing its terminal.
    Resize,
    /// Closing its stdin.
    CloseStdin,
    /// Running another process in it.
    Exec,
    /// Killing such a process.
    KillExec,
    /// Attaching to it.
    Attach,
    /// Taking it over.
    Adopt,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::ReopenLog => "reopen the log of",
            Self::Resize => "resize the terminal of",
            Self::CloseStdin => "close the stdin of",
            Self::Exec => "exec in",
            Self::KillExec => "kill an exec in",
            Self::Attach => "attach to",
            Self::Adopt => "adopt",
        })
    }
}

/// A failure of the monitor, or of reaching it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the socket.
    #[error("cannot connect to the monitor at {path}", path = path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The monitor accepted the connection and says nothing.
    #[error("the monitor at {path} does not answer", path = path.display())]
    Greeting {
        /// The socket.
        path: PathBuf,
    },
    /// The monitor is of another version.
    #[error("the monitor speaks protocol version {theirs}, this daemon {ours}")]
    Version {
        /// The monitor's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// A monitor serves this directory already.
    #[error("a monitor is running in {dir}", dir = dir.display())]
    AlreadyRunning {
        /// The directory.
        dir: PathBuf,
    },
    /// The monitor's directory, socket or log cannot be made.
    #[error("cannot prepare the monitor's directory {path}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot start the monitor {binary}", binary = binary.display())]
    Launch {
        /// The program.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer came.
    #[error("the connection to monitor {pid} is lost")]
    Disconnected {
        /// The monitor.
        pid: i32,
    },
    /// The monitor answered something that is no answer to the request.
    #[error("the monitor gave an answer that does not belong to the request")]
    UnexpectedReply,
    /// The request does not fit into a frame.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The OCI runtime refused.
    #[error("cannot {operation} container {id}: {message}")]
    RuntimeFailed {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// The runtime's words, bounded.
        message: String,
    },
    /// The OCI runtime did not finish in time and was killed.
    #[error("cannot {operation} container {id}: {message}")]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// Which call, and how long it was waited for.
        message: String,
    },
    /// The monitor has no such container or exec.
    #[error("cannot {operation} container {id}: the monitor does not have it")]
    Unknown {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
    },
    /// The id is in use.
    #[error("cannot {operation} container {id}: {message}")]
    Exists {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// What exists.
        message: String,
    },
    /// The state of the container does not allow it.
    #[error("cannot {operation} container {id}: {message}")]
    WrongState {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// What is in the way.
        message: String,
    },
    /// A system call of the monitor failed.
    #[error("cannot {operation} container {id}: {message}")]
    System {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// The kernel's words.
        message: String,
    },
    /// The request has impossible values.
    #[error("cannot {operation} container {id}: {message}")]
    Invalid {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// Which.
        message: String,
    },
    /// The monitor may not end yet.
    #[error("monitor {pid} cannot end: {message}")]
    ContainersAlive {
        /// The monitor.
        pid: i32,
        /// Which container.
        message: String,
    },
}

impl Error {
    pub(super) fn from_failure(operation: Operation, id: ContainerId, failure: Failure) -> Self {
        let message = failure.message;
        match failure.kind {
            FailureKind::Unknown => Self::Unknown { operation, id },
            FailureKind::Exists => Self::Exists { operation, id, message },
            FailureKind::WrongState => Self::WrongState { operation, id, message },
            FailureKind::Runtime => Self::RuntimeFailed { operation, id, message },
            FailureKind::TimedOut => Self::TimedOut { operation, id, message },
            FailureKind::System => Self::System { operation, id, message },
            FailureKind::Invalid => Self::Invalid { operation, id, message },
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Disconnected { .. } => ErrorKind::Unavailable,
            Self::Greeting { .. } | Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::AlreadyRunning { .. } => ErrorKind::AlreadyExists,
            Self::WrongState { .. } | Self::ContainersAlive { .. } | Self::Version { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::Invalid { .. } | Self::TooLarge { .. } => ErrorKind::InvalidArgument,
            Self::Directory { .. }
            | Self::Launch { .. }
            | Self::UnexpectedReply
            | Self::RuntimeFailed { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }
}
