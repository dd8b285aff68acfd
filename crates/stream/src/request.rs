//! What is announced to the server: a session that a client will fetch with the token of its URL.

use crate::error::Error;

/// Which streams a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the four flags of the CRI request, each independent")]
pub struct Streams {
    /// The client sends input.
    pub stdin: bool,
    /// The client gets standard output.
    pub stdout: bool,
    /// The client gets standard error.
    pub stderr: bool,
    /// The process has a terminal.
    pub terminal: bool,
}

impl Streams {
    /// Refuses what no session can be (CRI: at least one stream, and no stderr with a terminal).
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Self { terminal: true, stderr: true, .. } => Err(Error::TerminalWithStderr),
            Self { stdin: false, stdout: false, stderr: false, .. } => Err(Error::NoStreams),
            _ => Ok(()),
        }
    }
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container, as the backend knows it.
    pub container: String,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// The streams it gets.
    pub streams: Streams,
}

/// A container whose first process is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The container, as the backend knows it.
    pub container: String,
    /// The streams to join; `terminal` is that of the container.
    pub streams: Streams,
}

/// A pod whose ports are to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForwardRequest {
    /// The pod sandbox, as the backend knows it.
    pub sandbox: String,
    /// The ports, for WebSocket clients that name channels only; others name a port per stream.
    pub ports: Vec<u16>,
}

/// What a token stands for.
#[derive(Debug)]
pub(crate) enum Announced {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

impl Announced {
    /// First part of the path of its URL.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_streams_are_refused() {
        let none = Streams::default();
        for (streams, good) in [
            (none, false),
            (Streams { terminal: true, ..none }, false),
            (Streams { terminal: true, stdout: true, stderr: true, ..none }, false),
            (Streams { terminal: true, stdin: true, ..none }, true),
            (Streams { stdin: true, stdout: true, stderr: true, ..none }, true),
            (Streams { stderr: true, ..none }, true),
        ] {
            assert_eq!(streams.check().is_ok(), good, "{streams:?}");
        }
    }
}
