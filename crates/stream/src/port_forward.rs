//! Port-forward: byte streams of a client, connected to ports inside a pod.

pub(crate) mod spdy;
pub(crate) mod websocket;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::backend::{Backend, PortStream};

/// Bytes copied at a time.
const CHUNK: usize = 32 * 1024;

/// A pod whose ports are reached.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) sandbox: Arc<str>,
}

impl Pod {
    /// Connects to a port; the text for the client when that fails.
    async fn connect(&self, port: u16) -> Result<Box<dyn PortStream>, String> {
        let connected = self.backend.connect(&self.sandbox, port).await;
        connected.map_err(|failure| {
            format!("error forwarding port {port} to pod {}, uid : {failure}", self.sandbox)
        })
    }
}

/// How one direction ended.
enum Copied {
    /// All there was is copied, and the end with it.
    All,
    /// The side that is read has broken.
    Source,
    /// The side that is written takes no more.
    Target,
}

/// How a forwarded connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// Both sides have closed their direction, or the client has gone.
    Closed,
    /// The pod has reset the connection.
    Reset,
}

/// Copies in both directions until both have ended. The end of one direction is handed on and leaves the other one
/// open; a side that breaks ends both.
async fn forward(
    pod: Box<dyn PortStream>,
    from_client: impl AsyncRead + Unpin,
    to_client: impl AsyncWrite + Unpin,
) -> Forwarded {
    let (from_pod, to_pod) = tokio::io::split(pod);
    let (up, down) = (copy(from_client, to_pod), copy(from_pod, to_client));
    tokio::pin!(up, down);
    let (mut up_done, mut down_done) = (false, false);
    while !(up_done && down_done) {
        tokio::select! {
            copied = &mut up, if !up_done => match copied {
                Copied::All | Copied::Target => up_done = true,
                Copied::Source => return Forwarded::Closed,
            },
            copied = &mut down, if !down_done => match copied {
                Copied::All | Copied::Target => down_done = true,
                Copied::Source => return Forwarded::Reset,
            },
        }
    }
    Forwarded::Closed
}

/// Both ends are dropped with the end of the copy, so that a target that takes no more is not waited for.
async fn copy(mut source: impl AsyncRead + Unpin, mut target: impl AsyncWrite + Unpin) -> Copied {
    let mut buffer = vec![0u8; CHUNK];
    loop {
        let read: io::Result<usize> = source.read(&mut buffer).await;
        match read {
            Ok(0) => {
                target.shutdown().await.ok();
                return Copied::All;
            }
            Ok(count) => {
                if target.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
                    return Copied::Target;
                }
            }
            Err(_) => return Copied::Source,
        }
    }
}
