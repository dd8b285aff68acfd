//! Exec and attach over WebSocket: channel 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Command;
use crate::backend::{Session, TerminalSize};
use crate::context::{Context, FAREWELL};
use crate::request::Streams;
use crate::sizes::{self, Sizes};
use crate::status::Status;
use crate::websocket::handshake::Remote;
use crate::websocket::{self, Inlet, Outlet, PIPE, Traffic};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// From version 5 on: the byte behind it names a channel that the client has closed.
const CLOSE: u8 = 255;

/// Serves one session to its end.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite + Unpin>(
    connection: C,
    command: &Command,
    remote: Remote,
    context: &Context,
) {
    let socket = websocket::socket(connection).await;
    let (outlet, mut inlet, traffic) = websocket::channels(socket, remote.coding);
    let status = tokio::select! {
        status = run(&outlet, &mut inlet, &traffic, (command, remote, context)) => status,
        _ = outlet.keep_alive() => return,
    };
    // A client that has gone needs no status.
    let Some((status, forced)) = status else { return };
    let tell = async {
        let text = status.render(remote.version >= 4);
        if (text.is_empty() || outlet.send(ERROR, &text).await.is_ok()) && outlet.close().await.is_ok() {
            timeout(FAREWELL, inlet.drain()).await.ok();
        }
    };
    if forced {
        timeout(FAREWELL, tell).await.ok();
    } else {
        tokio::select! {
            () = tell => {}
            _ = context.forced_end(|| traffic.quiet_for()) => {}
        }
    }
}

/// Runs the process. `None` when the client has gone; otherwise how it ended, and whether by force.
async fn run<C: AsyncRead + AsyncWrite + Unpin>(
    outlet: &Outlet<C>,
    inlet: &mut Inlet<C>,
    traffic: &Traffic,
    (command, remote, context): (&Command, Remote, &Context),
) -> Option<(Status, bool)> {
    let Streams { stdin, stdout, stderr, terminal } = command.streams();
    // The client learns by an empty message that it is connected.
    let greeted = if stdout {
        STDOUT
    } else if stderr {
        STDERR
    } else {
        ERROR
    };
    outlet.send(greeted, &[]).await.ok()?;

    let (input, process_in) = stdin.then(|| duplex(PIPE)).unzip();
    let (output, process_out) = stdout.then(|| duplex(PIPE)).unzip();
    let (errors, process_err) = stderr.then(|| duplex(PIPE)).unzip();
    let (size, sizes) = mpsc::channel(1);
    let (latest, follower) = watch::channel(None);
    let process = Session {
        stdin: process_in.map(|end| Box::new(end) as _),
        stdout: process_out.map(|end| Box::new(end) as _),
        stderr: process_err.map(|end| Box::new(end) as _),
        terminal,
        sizes,
    };
    let process = async {
        // The pipes end with the process; what is still in them is sent before the status.
        let (status, out, err) = tokio::join!(
            command.run(&*context.backend, process),
            outlet.pump(STDOUT, output),
            outlet.pump(STDERR, errors),
        );
        (out.is_ok() && err.is_ok()).then_some((status, false))
    };
    let input = Input { stdin: input, latest, sizes: Sizes::default(), closes: remote.version >= 5 };
    tokio::select! {
        ended = process => ended,
        () = input.follow(inlet) => None,
        why = context.forced_end(|| traffic.quiet_for()) => Some((Status::Failed(why), true)),
        never = async {
            sizes::deliver(follower, size).await;
            std::future::pending::<std::convert::Infallible>().await
        } => match never {},
    }
}

/// What the client sends.
struct Input {
    stdin: Option<DuplexStream>,
    latest: watch::Sender<Option<TerminalSize>>,
    sizes: Sizes,
    closes: bool,
}

impl Input {
    /// Hands it on until the client has gone.
    async fn follow<C: AsyncRead + AsyncWrite + Unpin>(mut self, inlet: &mut Inlet<C>) {
        while let Some((channel, bytes)) = inlet.next().await {
            match channel {
                STDIN => {
                    if let Some(stdin) = &mut self.stdin
                        && stdin.write_all(&bytes).await.is_err()
                    {
                        // The process reads no more.
                        self.stdin = None;
                    }
                }
                RESIZE => match self.sizes.read(&bytes) {
                    Ok(Some(size)) => {
                        self.latest.send_replace(Some(size));
                    }
                    Ok(None) => {}
                    Err(sizes::NotASize) => self.sizes = Sizes::default(),
                },
                CLOSE if self.closes && bytes.first() == Some(&STDIN) => self.stdin = None,
                _ => {}
            }
        }
    }
}
