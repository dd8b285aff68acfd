//! Exec and attach over SPDY: one stream per kind, named by the header `streamType`.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Command;
use crate::backend::Session;
use crate::context::{CREATION, Context, FAREWELL};
use crate::request::Streams;
use crate::sizes;
use crate::spdy::{self, Incoming, Role, SessionError, Stream, Writer};
use crate::status::Status;

/// More streams than any client opens for one process.
const STREAMS: usize = 16;

/// Version of the remote command protocol (the header `X-Stream-Protocol-Version`). There is no fifth over SPDY: what
/// it adds, SPDY has by itself, and no server of Kubernetes answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
    V3,
    V4,
}

impl Version {
    /// The names on the wire, newest first.
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("v4.channel.k8s.io", Self::V4),
        ("v3.channel.k8s.io", Self::V3),
        ("v2.channel.k8s.io", Self::V2),
        ("channel.k8s.io", Self::V1),
    ];

    fn has_json_status(self) -> bool {
        self == Self::V4
    }

    fn has_resize(self) -> bool {
        matches!(self, Self::V3 | Self::V4)
    }
}

/// Serves one session to its end.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite>(
    connection: C,
    command: &Command,
    version: Version,
    context: &Context,
) -> Result<(), SessionError> {
    let (session, mut incoming, driver) = spdy::session(connection, Role::Server, STREAMS)?;
    let body = async {
        let mut opened = Opened::default();
        let collected = collect(&mut incoming, &mut opened, command.streams(), version);
        match timeout(CREATION, collected).await {
            Ok(true) => {
                // Streams that come later are refused.
                drop(incoming);
                run(opened, command, version, context, &session).await;
            }
            Ok(false) => {}
            Err(_) => {
                let late = Status::Failed("the client did not open its streams in time".to_owned());
                if let Some(error) = opened.error {
                    timeout(FAREWELL, tell(error.writer, &late, version)).await.ok();
                }
            }
        }
        session.close();
    };
    let driver = driver.run();
    tokio::pin!(driver);
    tokio::select! {
        result = &mut driver => return result,
        () = body => {}
    }
    // All is said; a client that reads slowly may take its time, but not for ever.
    tokio::select! {
        result = &mut driver => return result,
        _ = context.forced_end(|| session.quiet_for()) => {}
    }
    timeout(FAREWELL, driver).await.unwrap_or(Ok(()))
}

/// The streams that a client has opened.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    fn place(&mut self, kind: &str) -> Option<&mut Option<Stream>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, streams: Streams, version: Version) -> bool {
        let has = |asked: bool, stream: &Option<Stream>| !asked || stream.is_some();
        self.error.is_some()
            && has(streams.stdin, &self.stdin)
            && has(streams.stdout, &self.stdout)
            && has(streams.stderr, &self.stderr)
            && has(streams.terminal && version.has_resize(), &self.resize)
    }
}

/// Waits for all the streams that were asked for; `false` when the session ends before. Streams that were not are
/// accepted, and end when the process gets its own; what is none of the five kinds, or one of them a second time, is
/// refused.
async fn collect(
    incoming: &mut mpsc::Receiver<Incoming>,
    opened: &mut Opened,
    streams: Streams,
    version: Version,
) -> bool {
    while !opened.complete(streams, version) {
        let Some(stream) = incoming.recv().await else { return false };
        let kind = stream.headers().get("streamType").unwrap_or_default().to_owned();
        if let Some(place) = opened.place(&kind)
            && place.is_none()
        {
            *place = stream.accept();
        }
    }
    true
}

async fn run(
    opened: Opened,
    command: &Command,
    version: Version,
    context: &Context,
    session: &spdy::Session,
) {
    let Opened { error, stdin, stdout, stderr, resize } = opened;
    let error = error.map(|stream| stream.writer);
    let Streams { terminal, .. } = command.streams();
    let asked = command.streams();
    let (size, sizes) = mpsc::channel(1);
    let (latest, follower) = watch::channel(None);
    // The client's view of stdin has an end as well, which tells that nobody reads any more: it comes with the
    // process's end.
    let (input, _input_end) =
        stdin.filter(|_| asked.stdin).map(|stream| (stream.reader, stream.writer)).unzip();
    let process = Session {
        stdin: input.map(|reader| Box::new(reader) as _),
        stdout: stdout.filter(|_| asked.stdout).map(|stream| Box::new(stream.writer) as _),
        stderr: stderr.filter(|_| asked.stderr).map(|stream| Box::new(stream.writer) as _),
        terminal,
        sizes,
    };
    let resizes = async {
        if let Some(resize) = resize {
            tokio::join!(sizes::follow(resize.reader, latest), sizes::deliver(follower, size));
        } else {
            drop((latest, follower, size));
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let (status, forced) = tokio::select! {
        status = command.run(&*context.backend, process) => (status, false),
        why = context.forced_end(|| session.quiet_for()) => (Status::Failed(why), true),
        never = resizes => match never {},
    };
    let Some(error) = error else { return };
    let tell = tell(error, &status, version);
    if forced {
        timeout(FAREWELL, tell).await.ok();
    } else {
        tokio::select! {
            () = tell => {}
            _ = context.forced_end(|| session.quiet_for()) => {}
        }
    }
}

async fn tell(mut error: Writer, status: &Status, version: Version) {
    // A client that is gone needs no status.
    if error.write_all(&status.render(version.has_json_status())).await.is_ok() {
        error.shutdown().await.ok();
    }
}
