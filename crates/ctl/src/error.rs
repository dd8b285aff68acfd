//! Everything a command can fail with. The message says what was being done, the sources say why.

use std::path::PathBuf;

use ochre_types::ErrorKind;
use tonic::{Code, Status};

use crate::parse::UsageError;
use crate::schema::LoadError;
use crate::template::TemplateError;

/// A command's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The words of the command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// No such command.
    #[error("No help topic for '{name}'")]
    UnknownCommand {
        /// What was typed.
        name: String,
    },
    /// Arguments that make no sense together, or are missing.
    #[error("{what}")]
    Arguments {
        /// What is wrong with them.
        what: String,
    },
    /// A value that names none of the possibilities.
    #[error("{what} {value:?} is not one of {possible}")]
    Choice {
        /// Which value.
        what: &'static str,
        /// What was given.
        value: String,
        /// What there is.
        possible: &'static str,
    },
    /// The engine cannot be reached.
    #[error("connecting to {endpoint}")]
    Connect {
        /// As it was configured.
        endpoint: String,
        /// Why.
        source: ochre_client::ConnectError,
    },
    /// An endpoint that is no unix socket.
    #[error("endpoint {endpoint:?}: only unix sockets are supported, such as unix:///run/crio/crio.sock")]
    Endpoint {
        /// As it was configured.
        endpoint: String,
    },
    /// The engine said no.
    #[error("{doing}: rpc error: code = {code:?} desc = {message}", code = status.code(), message = status.message())]
    Refused {
        /// What was being done.
        doing: String,
        /// The engine's answer.
        status: Box<Status>,
    },
    /// The engine did not answer in time.
    #[error("{doing}: rpc error: code = DeadlineExceeded desc = no answer within {seconds} s (--timeout)")]
    Deadline {
        /// What was being done.
        doing: String,
        /// How long was waited.
        seconds: f64,
    },
    /// No such image.
    #[error("no such image {image:?} present")]
    NoImage {
        /// As it was given.
        image: String,
    },
    /// The object is in the wrong state.
    #[error("{what} {id:?} is running, please stop it first")]
    Running {
        /// `container` or `pod sandbox`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The command in the container failed.
    #[error(
        "execing command in container {id} synchronously: command '{command}' exited with {code}: {stderr}"
    )]
    Command {
        /// The container.
        id: String,
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it said.
        stderr: String,
    },
    /// A file of the user.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration file that is not there.
    #[error("config at {path} not found")]
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// A file that is neither YAML nor JSON.
    #[error("{path}: {why}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// With line and column.
        why: String,
    },
    /// A file whose values do not fit.
    #[error("{path}")]
    Load {
        /// Which.
        path: PathBuf,
        /// The value.
        source: LoadError,
    },
    /// A file that lacks something.
    #[error("{path}: {what}")]
    Incomplete {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The client's configuration.
    #[error("load config file: {path}: {what}")]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The template of `go-template`.
    #[error("failed to execute the template")]
    Template(#[from] TemplateError),
    /// What the engine said cannot be read.
    #[error("{what}")]
    Answer {
        /// What is wrong with it.
        what: String,
    },
    /// Standard output is gone.
    #[error("writing to standard output")]
    Output(#[source] std::io::Error),
    /// Several targets, several failures.
    #[error("{}", lines(.0))]
    Several(Vec<Error>),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A call's failure.
    pub(crate) fn refused(doing: impl Into<String>, status: Status) -> Self {
        Self::Refused { doing: doing.into(), status: Box::new(status) }
    }

    /// Wrong arguments.
    pub(crate) fn arguments(what: impl Into<String>) -> Self {
        Self::Arguments { what: what.into() }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_)
            | Self::UnknownCommand { .. }
            | Self::Arguments { .. }
            | Self::Choice { .. }
            | Self::Endpoint { .. }
            | Self::Syntax { .. }
            | Self::Load { .. }
            | Self::Incomplete { .. }
            | Self::Configuration { .. }
            | Self::Template(_) => ErrorKind::InvalidArgument,
            Self::Connect { .. } | Self::Interrupted => ErrorKind::Unavailable,
            Self::Refused { status, .. } => kind_of(status.code()),
            Self::Deadline { .. } => ErrorKind::Timeout,
            Self::NoImage { .. } | Self::NoFile { .. } => ErrorKind::NotFound,
            Self::Running { .. } | Self::Command { .. } => ErrorKind::FailedPrecondition,
            Self::File { .. } | Self::Answer { .. } | Self::Output(_) => ErrorKind::Internal,
            Self::Several(errors) => errors.first().map_or(ErrorKind::Internal, Self::kind),
        }
    }

    /// The exit code: 3 for an unknown command, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::UnknownCommand { .. }) { 3 } else { 1 }
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => ErrorKind::InvalidArgument,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::FailedPrecondition,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unavailable | Code::Cancelled => ErrorKind::Unavailable,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    }
}

/// An error with its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        // Some say their source themselves.
        let inner_text = inner.to_string();
        if !out.ends_with(&inner_text) {
            out = format!("{out}: {inner_text}");
        }
        source = inner.source();
    }
    out
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("\n")
}
