//! Exec and attach: the streams of a client, whichever way they came, given to a process.
//!
//! ```text
//!   client opens its streams ──► backend runs ──► output all sent ──► status ──► connection closed
//!        │ 30 s                     │ idle, server stops                ▲
//!        └─ connection closed       └───────────────────────────────────┘
//!
//!   The client goes away: the future of the backend is dropped at once.
//! ```

pub(crate) mod spdy;
pub(crate) mod websocket;

use crate::backend::{Backend, Session};
use crate::request::{Announced, AttachRequest, ExecRequest, Streams};
use crate::status::Status;

/// What to do with the streams.
#[derive(Debug)]
pub(crate) enum Command {
    Exec(ExecRequest),
    Attach(AttachRequest),
}

impl Command {
    /// The command of an announced session; the session back when it is a port-forward.
    pub(crate) fn of(announced: Announced) -> Result<Self, crate::request::PortForwardRequest> {
        match announced {
            Announced::Exec(request) => Ok(Self::Exec(request)),
            Announced::Attach(request) => Ok(Self::Attach(request)),
            Announced::PortForward(request) => Err(request),
        }
    }

    pub(crate) fn streams(&self) -> Streams {
        match self {
            Self::Exec(request) => request.streams,
            Self::Attach(request) => request.streams,
        }
    }

    /// Gives the streams to the process and waits for its end.
    async fn run(&self, backend: &dyn Backend, session: Session) -> Status {
        match self {
            Self::Exec(ExecRequest { container, command, .. }) => {
                Status::of_exec(backend.exec(container, command, session).await)
            }
            Self::Attach(AttachRequest { container, .. }) => {
                Status::of_attach(backend.attach(container, session).await)
            }
        }
    }
}
