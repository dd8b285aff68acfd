//! Failures of talking to the kernel over netlink.

use std::io;

use ochre_types::ErrorKind;

/// Why a netlink exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("netlink socket: cannot {action}")]
    Socket {
        /// What was tried: open, send, receive.
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel refused to {action}{}", explain(.explanation.as_deref()))]
    Refused {
        /// What was asked for.
        action: String,
        /// The kernel's words (extended acknowledgement), when it had any.
        explanation: Option<String>,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer lacks what it must contain, or there was no answer.
    #[error("the kernel's answer to {action} is incomplete")]
    Incomplete {
        /// What was asked for.
        action: String,
    },
}

fn explain(explanation: Option<&str>) -> String {
    explanation.map(|text| format!(" ({text})")).unwrap_or_default()
}

impl NetlinkError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::Incomplete { .. } => ErrorKind::Internal,
        }
    }

    /// The error number of a refusal or of the socket.
    pub(crate) fn os_error(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket { source, .. } => source.raw_os_error(),
            Self::Incomplete { .. } => None,
        }
    }

    /// The error number of a refusal.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Socket { .. } | Self::Incomplete { .. } => None,
        }
    }
}
