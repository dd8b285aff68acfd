//! What the server asks of the engine, and what it gives it: the seam between the wire and the pods.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A future of a [`Backend`]. Dropping it means that the client has gone.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The streams of one exec or attach. Those that were not asked for are `None`.
pub struct Session {
    /// What the client sends; its end is the client's half-close.
    pub stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// To the client. Flow control makes writes wait; shutting it down ends this stream alone.
    pub stdout: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// To the client; `None` with a terminal.
    pub stderr: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Whether the process has a terminal; its output is `stdout`.
    pub terminal: bool,
    /// Sizes of the client's window; only the latest counts. Closed when the client sends none any more.
    pub sizes: mpsc::Receiver<TerminalSize>,
}

/// How the process of an exec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, 128 plus the signal when one ended it.
    pub code: i32,
}

/// Why a session could not be served; the text is shown to the user.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened, to which object.
    pub message: String,
}

/// A connection to a port inside a pod.
pub trait PortStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> PortStream for T {}

/// The engine, as the streaming server sees it.
pub trait Backend: Send + Sync + 'static {
    /// Runs a command in a container until it ends. When the future is dropped, the process is ended.
    fn exec<'a>(
        &'a self,
        container: &'a str,
        command: &'a [String],
        session: Session,
    ) -> BoxFuture<'a, Result<Ended, Failure>>;

    /// Joins the streams of a container's first process, until the container ends or the client leaves.
    fn attach<'a>(&'a self, container: &'a str, session: Session) -> BoxFuture<'a, Result<(), Failure>>;

    /// Connects to a TCP port of a pod, from inside its network namespace: `localhost` by IPv4, then IPv6.
    fn connect<'a>(
        &'a self,
        sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn PortStream>, Failure>>;
}
