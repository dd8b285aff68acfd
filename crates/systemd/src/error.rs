//! What can go wrong between us and systemd.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// A failed conversation with systemd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither socket could be connected; the source is the error of the last one tried.
    #[error("cannot connect to systemd at {path}")]
    Connect {
        /// The socket tried last.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The other side did not accept `EXTERNAL` authentication.
    #[error("systemd refused the authentication of user {uid}")]
    Authentication {
        /// Our effective user id.
        uid: u32,
    },
    /// Reading or writing the connected socket failed.
    #[error("the connection to systemd failed")]
    Connection {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// systemd closed the connection, as it does when it re-executes itself.
    #[error("systemd closed the connection")]
    Closed,
    /// The other side sent something that is not D-Bus.
    #[error("systemd sent an invalid message: {reason}")]
    Protocol {
        /// Which rule it broke.
        reason: &'static str,
    },
    /// A message larger than this client reads or writes.
    #[error("a message of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The text holds a NUL byte, which D-Bus cannot carry.
    #[error("an argument of {method} contains a NUL byte")]
    InvalidText {
        /// The method it was meant for.
        method: &'static str,
    },
    /// The name is not that of such a unit (`systemd.unit(5)`, "String Escaping for Inclusion in Unit Names").
    #[error("{unit:?} is not a valid name for a {suffix} unit")]
    InvalidUnitName {
        /// The name.
        unit: String,
        /// `.scope`, `.slice`, or empty where any unit is accepted.
        suffix: &'static str,
    },
    /// The deadline passed before systemd answered the call.
    #[error("systemd did not answer {method} in time")]
    NoAnswer {
        /// The method.
        method: &'static str,
    },
    /// The call was accepted but its job did not end before the deadline. The job may still end well.
    #[error("the job {job} for {unit} did not end in time")]
    JobTimeout {
        /// The unit.
        unit: String,
        /// Object path of the job.
        job: String,
    },
    /// The job ended, but not with `done`.
    #[error("the job for {unit} ended with {result:?}")]
    JobFailed {
        /// The unit.
        unit: String,
        /// `canceled`, `timeout`, `failed`, `dependency`, `skipped` (`org.freedesktop.systemd1(5)`).
        result: String,
    },
    /// A unit of that name exists already.
    #[error("unit {unit} exists already")]
    UnitExists {
        /// The unit.
        unit: String,
    },
    /// No unit of that name is loaded.
    #[error("no unit {unit} is loaded")]
    NoSuchUnit {
        /// The unit.
        unit: String,
    },
    /// systemd refused the call for another reason.
    #[error("systemd refused {method} for {unit}: {message} ({name})")]
    Refused {
        /// The method.
        method: &'static str,
        /// The unit; empty for calls about none.
        unit: String,
        /// The D-Bus error name.
        name: String,
        /// Its text.
        message: String,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Connection { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::Authentication { .. } => ErrorKind::Denied,
            Self::Protocol { .. } => ErrorKind::Internal,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::InvalidText { .. } | Self::InvalidUnitName { .. } => ErrorKind::InvalidArgument,
            Self::NoAnswer { .. } | Self::JobTimeout { .. } => ErrorKind::Timeout,
            Self::JobFailed { .. } => ErrorKind::FailedPrecondition,
            Self::UnitExists { .. } => ErrorKind::AlreadyExists,
            Self::NoSuchUnit { .. } => ErrorKind::NotFound,
            Self::Refused { name, .. } => refusal_kind(name),
        }
    }
}

fn refusal_kind(name: &str) -> ErrorKind {
    match name.strip_prefix("org.freedesktop.DBus.Error.") {
        Some("AccessDenied" | "AuthFailed" | "InteractiveAuthorizationRequired") => ErrorKind::Denied,
        Some("InvalidArgs" | "PropertyReadOnly" | "UnknownProperty" | "InvalidSignature") => {
            ErrorKind::InvalidArgument
        }
        Some("NoReply" | "Timeout" | "TimedOut") => ErrorKind::Timeout,
        Some("LimitsExceeded" | "NoMemory") => ErrorKind::Exhausted,
        Some("ServiceUnknown" | "NameHasNoOwner" | "Disconnected") => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}
