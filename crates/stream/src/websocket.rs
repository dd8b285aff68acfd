//! WebSocket: channels in messages, each message led by the number of its channel.
//!
//! ```text
//!   binary   [channel] bytes…             channel 0…        v5: [255, channel] closes one
//!   base64   "0" base64 text…             as an ASCII digit
//! ```
//!
//! What a channel carries to the client is read from a small pipe and sent message by message, one sender at a time;
//! what comes is written to a small pipe, and while that is full nothing more is read. So nothing grows, and a
//! process that does not read its input stops the client.

pub(crate) mod handshake;
pub(crate) mod tunnel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as Broken, Message};

/// Longest message taken from a client.
const MESSAGE_LIMIT: usize = 2 * 1024 * 1024;
/// Bytes of a channel between the connection and the process.
pub(crate) const PIPE: usize = 64 * 1024;
/// Bytes sent in one message.
const CHUNK: usize = 32 * 1024;
/// How often a connection that is not read gets a sign of life, which fails when the client has died.
const BEAT: Duration = Duration::from_secs(1);
/// Every how many beats a connection that is read gets a ping.
const PING_BEATS: u32 = 15;

/// How bytes are put into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Binary,
    Base64,
}

impl Coding {
    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = Vec::with_capacity(bytes.len() + 1);
                message.push(channel);
                message.extend_from_slice(bytes);
                Message::binary(message)
            }
            Self::Base64 => {
                let mut message = String::from(char::from(b'0'.saturating_add(channel)));
                STANDARD.encode_string(bytes, &mut message);
                Message::text(message)
            }
        }
    }

    /// Channel and bytes of a message; `None` when there is nothing in it that could be used.
    fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return None,
        };
        let channel = bytes.try_get_u8().ok()?;
        match self {
            Self::Binary => Some((channel, bytes)),
            Self::Base64 => Some((channel.checked_sub(b'0')?, STANDARD.decode(&bytes).ok()?.into())),
        }
    }
}

/// A WebSocket over a connection that is upgraded already.
pub(crate) async fn socket<C: AsyncRead + AsyncWrite + Unpin>(connection: C) -> WebSocketStream<C> {
    let config = WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(CHUNK)
        .max_write_buffer_size(2 * MESSAGE_LIMIT)
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// What both directions of a connection know of each other.
#[derive(Debug)]
pub(crate) struct Traffic {
    last: Mutex<Instant>,
    stalled: AtomicBool,
}

impl Traffic {
    fn touch(&self) {
        *self.last.lock() = Instant::now();
    }

    /// How long nothing but pings has gone either way.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.last.lock().elapsed()
    }
}

/// The direction to the client.
pub(crate) struct Outlet<C> {
    sink: tokio::sync::Mutex<SplitSink<WebSocketStream<C>, Message>>,
    coding: Coding,
    traffic: Arc<Traffic>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Outlet<C> {
    /// Sends bytes on a channel, none as well.
    pub(crate) async fn send(&self, channel: u8, bytes: &[u8]) -> Result<(), Broken> {
        let message = self.coding.encode(channel, bytes);
        self.sink.lock().await.send(message).await?;
        self.traffic.touch();
        Ok(())
    }

    /// Sends what comes out of a pipe until its end.
    pub(crate) async fn pump(&self, channel: u8, pipe: Option<impl AsyncRead + Unpin>) -> Result<(), Broken> {
        let Some(mut pipe) = pipe else { return Ok(()) };
        let mut buffer = vec![0u8; CHUNK];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            self.send(channel, buffer.get(..count).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Says that the session ended as it should.
    pub(crate) async fn close(&self) -> Result<(), Broken> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.sink.lock().await.send(Message::Close(Some(frame))).await
    }

    /// Keeps the connection alive, until it is found to be dead.
    ///
    /// Clients give up when their pings are not answered for a minute (client-go); while the process does not read
    /// its input, theirs are not even seen, so they are answered unasked (RFC 6455, section 5.5.3).
    pub(crate) async fn keep_alive(&self) -> Broken {
        for beat in 1u32.. {
            tokio::time::sleep(BEAT).await;
            let message = if self.traffic.stalled.load(Ordering::Relaxed) {
                Message::Pong(Bytes::new())
            } else if beat % PING_BEATS == 0 {
                Message::Ping(Bytes::new())
            } else {
                continue;
            };
            if let Err(broken) = self.sink.lock().await.send(message).await {
                return broken;
            }
        }
        Broken::ConnectionClosed
    }
}

/// The direction from the client.
pub(crate) struct Inlet<C> {
    stream: SplitStream<WebSocketStream<C>>,
    coding: Coding,
    traffic: Arc<Traffic>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Inlet<C> {
    /// The next bytes of a channel; `None` when the client has closed or broken the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, Bytes)> {
        self.traffic.stalled.store(false, Ordering::Relaxed);
        let received = loop {
            let message = self.stream.next().await?.ok()?;
            if message.is_binary() || message.is_text() {
                self.traffic.touch();
            }
            if let Some(received) = self.coding.decode(message) {
                break received;
            }
        };
        // Until the next call, nothing is read.
        self.traffic.stalled.store(true, Ordering::Relaxed);
        Some(received)
    }

    /// Reads until the client has closed the connection.
    pub(crate) async fn drain(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// The two directions of a connection.
pub(crate) fn channels<C: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<C>,
    coding: Coding,
) -> (Outlet<C>, Inlet<C>, Arc<Traffic>) {
    let traffic = Arc::new(Traffic { last: Mutex::new(Instant::now()), stalled: AtomicBool::new(false) });
    let (sink, stream) = socket.split();
    let outlet = Outlet { sink: tokio::sync::Mutex::new(sink), coding, traffic: Arc::clone(&traffic) };
    (outlet, Inlet { stream, coding, traffic: Arc::clone(&traffic) }, traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codings_carry_every_byte_on_every_channel() {
        let bytes: Vec<u8> = (0..=255).collect();
        for coding in [Coding::Binary, Coding::Base64] {
            for channel in 0..5 {
                let (back, read) = coding.decode(coding.encode(channel, &bytes)).unwrap();
                assert_eq!((back, read.as_ref()), (channel, bytes.as_slice()));
            }
        }
        assert_eq!(Coding::Base64.encode(1, b"\n").to_text().unwrap(), "1Cg==");
    }

    #[test]
    fn messages_without_meaning_are_skipped() {
        assert_eq!(Coding::Binary.decode(Message::binary(vec![])), None);
        for text in ["", "0!", "/Cg==", "é"] {
            assert_eq!(Coding::Base64.decode(Message::text(text)), None, "{text:?}");
        }
    }
}
