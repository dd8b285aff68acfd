//! The future that moves the frames of a session. It owns the connection; dropping it drops the connection.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::frame::{Decoder, Encoder, FrameError};
use super::headers::HeadersError;
use super::session::Incoming;
use super::table::Table;

/// Bytes read at a time.
const READ: usize = 64 * 1024;
/// Bytes encoded before they are written.
const BATCH: usize = 64 * 1024;
/// How often a connection that is not read is probed: a client that died is noticed by the failing write.
const PROBE: Duration = Duration::from_secs(1);
/// Every how many probes a connection that is read gets a ping.
const QUIET_PROBES: u32 = 15;
/// How long the peer has to close the connection after we have said all.
const LINGER: Duration = Duration::from_secs(5);

/// How a session failed. That the peer closes the connection is not a failure.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    /// The peer does not speak the protocol.
    #[error("the peer breaks the protocol")]
    Protocol(#[from] FrameError),
    /// Our headers could not be compressed.
    #[error("headers cannot be compressed")]
    Compression(#[source] HeadersError),
}

/// Moves frames between a connection and the handles of a session.
#[derive(Debug)]
pub struct Driver<C> {
    reader: ReadHalf<C>,
    writer: WriteHalf<C>,
    decoder: Decoder,
    encoder: Encoder,
    table: Arc<Mutex<Table>>,
    opened: mpsc::Sender<Incoming>,
}

impl<C: AsyncRead + AsyncWrite> Driver<C> {
    pub(super) fn new(
        connection: C,
        table: Arc<Mutex<Table>>,
        opened: mpsc::Sender<Incoming>,
    ) -> Result<Self, FrameError> {
        let (reader, writer) = tokio::io::split(connection);
        Ok(Self { reader, writer, decoder: Decoder::default(), encoder: Encoder::new()?, table, opened })
    }

    /// Runs until the connection has ended: by the peer, or after [`super::Session::close`].
    ///
    /// # Errors
    ///
    /// [`SessionError`] when the connection breaks or the peer breaks the protocol.
    pub async fn run(self) -> Result<(), SessionError> {
        let Self { reader, writer, decoder, encoder, table, opened } = self;
        let _ending = Ending(Arc::clone(&table));
        tokio::select! {
            result = receive(reader, decoder, &table, opened) => result,
            result = send(writer, encoder, &table) => result,
            never = probe(&table) => match never {},
        }
    }
}

/// Ends the handles with the driver, also when it is dropped.
struct Ending(Arc<Mutex<Table>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().end();
    }
}

async fn receive<C: AsyncRead>(
    mut reader: ReadHalf<C>,
    mut decoder: Decoder,
    table: &Arc<Mutex<Table>>,
    opened: mpsc::Sender<Incoming>,
) -> Result<(), SessionError> {
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        poll_fn(|context| {
            let mut table = table.lock();
            if table.has_room() {
                return Poll::Ready(());
            }
            table.receiver = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        buffer.reserve(READ);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(frame) = decoder.decode(&mut buffer)? {
            let stream = table.lock().receive(frame);
            if let Some((id, headers)) = stream {
                // A full queue or a session that takes no streams drops it, which refuses it.
                drop(opened.try_send(Incoming::new(id, headers, table)));
            }
        }
    }
}

async fn send<C: AsyncWrite>(
    mut writer: WriteHalf<C>,
    mut encoder: Encoder,
    table: &Arc<Mutex<Table>>,
) -> Result<(), SessionError> {
    let mut buffer = BytesMut::with_capacity(BATCH);
    loop {
        let closed = poll_fn(|context| {
            let mut table = table.lock();
            while buffer.len() < BATCH {
                let Some(frame) = table.next_frame() else { break };
                if let Err(error) = encoder.encode(&frame, &mut buffer) {
                    return Poll::Ready(Err(SessionError::Compression(error)));
                }
            }
            if buffer.is_empty() && !table.drained() {
                table.sender = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(buffer.is_empty()))
        })
        .await?;
        if closed {
            // The peer reads all that was said before it sees the end; closing at once could cut that short.
            writer.shutdown().await?;
            tokio::time::sleep(LINGER).await;
            return Ok(());
        }
        writer.write_all_buf(&mut buffer).await?;
        writer.flush().await?;
    }
}

async fn probe(table: &Arc<Mutex<Table>>) -> std::convert::Infallible {
    let mut probes = 0;
    loop {
        tokio::time::sleep(PROBE).await;
        probes += 1;
        let mut table = table.lock();
        if !table.has_room() || probes % QUIET_PROBES == 0 {
            table.ping();
        }
    }
}
