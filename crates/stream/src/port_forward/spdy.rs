//! Port-forward over SPDY: per forwarded connection a pair of streams, `data` and `error`, with the same `requestID`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Forwarded, Pod, forward};
use crate::context::{CREATION, Context, FAREWELL};
use crate::request::PortForwardRequest;
use crate::spdy::{self, Incoming, Role, SessionError, Stream, Writer};

/// The name of the protocol in `X-Stream-Protocol-Version`, and behind `SPDY/3.1+` as a WebSocket subprotocol.
pub(crate) const PROTOCOL: &str = "portforward.k8s.io";
/// Streams at a time, two per forwarded connection.
const STREAMS: usize = 4096;
/// How often pairs are looked for that never became whole.
const SWEEP: Duration = Duration::from_secs(1);
/// How long what a client has sent may take to reach the pod after the client has gone.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Serves one session to its end.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite>(
    connection: C,
    request: &PortForwardRequest,
    context: &Context,
) -> Result<(), SessionError> {
    let (session, incoming, driver) = spdy::session(connection, Role::Server, STREAMS)?;
    let pod = Pod { backend: Arc::clone(&context.backend), sandbox: request.sandbox.as_str().into() };
    // Dropped with this future, and with it every forwarded connection.
    let mut forwards = JoinSet::new();
    let driver = driver.run();
    tokio::pin!(driver);
    let result = tokio::select! {
        result = &mut driver => result,
        () = accept(incoming, &pod, &mut forwards) => Ok(()),
        _ = context.forced_end(|| session.quiet_for()) => {
            session.close();
            forwards.abort_all();
            return timeout(FAREWELL, driver).await.unwrap_or(Ok(()));
        }
    };
    let drained = async { while forwards.join_next().await.is_some() {} };
    timeout(LAST_BYTES, drained).await.ok();
    result
}

/// Streams of one forwarded connection that is not whole yet.
struct Half {
    data: Option<Stream>,
    error: Option<Stream>,
    port: u16,
    since: Instant,
}

/// Takes the streams that the client opens, until the session is over.
async fn accept(mut incoming: mpsc::Receiver<Incoming>, pod: &Pod, forwards: &mut JoinSet<()>) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            stream = incoming.recv() => {
                let Some(stream) = stream else { return };
                if let Some((port, data, error)) = pair(stream, &mut halves) {
                    forwards.spawn(one(pod.clone(), port, data, error));
                }
            }
            Some(_) = forwards.join_next() => {}
            _ = sweep.tick() => {
                let late = halves.extract_if(|_, half| half.since.elapsed() >= CREATION);
                for (request, half) in late {
                    if let Some(error) = half.error {
                        let text = format!("request {request}: timed out waiting for its data stream");
                        forwards.spawn(tell(error.writer, text));
                    }
                }
            }
        }
    }
}

/// Puts a stream to its partner; what makes no sense is refused.
fn pair(stream: Incoming, halves: &mut HashMap<String, Half>) -> Option<(u16, Stream, Stream)> {
    let port = stream.headers().get("port")?.parse::<u16>().ok().filter(|port| *port > 0)?;
    let is_data = match stream.headers().get("streamType")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    // Clients older than the header open the data stream right behind the error stream.
    let without = if is_data { stream.id().wrapping_sub(2) } else { stream.id() };
    let request = stream.headers().get("requestID").map_or_else(|| without.to_string(), str::to_owned);
    let half = halves.entry(request.clone()).or_insert_with(|| Half {
        data: None,
        error: None,
        port,
        since: Instant::now(),
    });
    let place = if is_data { &mut half.data } else { &mut half.error };
    if place.is_some() || half.port != port {
        return None;
    }
    *place = stream.accept();
    if half.data.is_none() || half.error.is_none() {
        return None;
    }
    let half = halves.remove(&request)?;
    Some((half.port, half.data?, half.error?))
}

/// One forwarded connection, from connect to close.
async fn one(pod: Pod, port: u16, data: Stream, error: Stream) {
    // Clients send nothing on the error stream. Its end comes with that of this function.
    let Stream { reader: _, writer: error } = error;
    match pod.connect(port).await {
        Ok(connection) => {
            let Stream { reader, mut writer } = data;
            // That the pod resets a connection is the business of its two ends: an error text would make the Go
            // clients give up all the other connections too.
            if forward(connection, reader, &mut writer).await == Forwarded::Reset {
                writer.reset();
            }
        }
        Err(text) => {
            tell(error, text).await;
            data.writer.reset();
        }
    }
}

async fn tell(mut error: Writer, text: String) {
    if error.write_all(text.as_bytes()).await.is_ok() {
        error.shutdown().await.ok();
    }
}
