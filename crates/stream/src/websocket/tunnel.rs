//! A byte stream in the binary messages of a WebSocket: what port-forward sends its SPDY session through
//! (`SPDY/3.1+portforward.k8s.io`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as Broken, Message};

/// Longest message sent.
const CHUNK: usize = 64 * 1024;

/// The byte stream.
pub(crate) struct Tunnel<C> {
    socket: WebSocketStream<C>,
    unread: Bytes,
}

impl<C> Tunnel<C> {
    pub(crate) fn new(socket: WebSocketStream<C>) -> Self {
        Self { socket, unread: Bytes::new() }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Pings are answered by the socket itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Ok(Message::Close(_)) | Err(Broken::ConnectionClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Err(broken)) => return Poll::Ready(Err(in_io(broken))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..count).unwrap_or_default());
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(in_io)?;
        let bytes = bytes.get(..CHUNK).unwrap_or(bytes);
        Pin::new(&mut self.socket).start_send(Message::binary(bytes.to_vec())).map_err(in_io)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(in_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(context)) {
            Ok(()) | Err(Broken::ConnectionClosed | Broken::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(broken) => Poll::Ready(Err(in_io(broken))),
        }
    }
}

fn in_io(broken: Broken) -> io::Error {
    match broken {
        Broken::Io(error) => error,
        other => io::Error::other(other),
    }
}
