//! The two halves of a stream, as readers and writers of tokio.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::entry::Side;
use super::table::{Table, Wrote};

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The session is over or has as many streams as it may have.
    #[error("the session takes no more streams")]
    Exhausted,
    /// The peer refused the stream, or the session ended before it answered.
    #[error("the peer refused the stream")]
    Refused,
}

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    /// What the peer sends.
    pub reader: Reader,
    /// What the peer gets.
    pub writer: Writer,
}

impl Stream {
    pub(super) fn new(id: u32, table: &Arc<Mutex<Table>>) -> Self {
        Self {
            reader: Reader { id, table: Arc::clone(table) },
            writer: Writer { id, table: Arc::clone(table) },
        }
    }
}

/// What the peer sends on a stream; its end is the peer's FIN. Dropped, what still comes is thrown away.
#[derive(Debug)]
pub struct Reader {
    id: u32,
    table: Arc<Mutex<Table>>,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut table = self.table.lock();
        let bytes = table.take(self.id, buffer.remaining());
        if !bytes.is_empty() {
            buffer.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let Some(entry) = table.entry(self.id) else { return Poll::Ready(Ok(())) };
        match entry.reading {
            Side::Open => {
                entry.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Side::Ended | Side::Ignored => Poll::Ready(Ok(())),
            Side::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.table.lock().drop_reader(self.id);
    }
}

/// What the peer gets on a stream. Shutting it down or dropping it sends FIN behind what was written.
#[derive(Debug)]
pub struct Writer {
    id: u32,
    table: Arc<Mutex<Table>>,
}

impl Writer {
    /// Ends the stream in both directions at once; what was not sent yet is not sent.
    pub fn reset(self) {
        self.table.lock().reset(self.id);
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.table.lock().write(self.id, bytes, context.waker()) {
            Wrote::Bytes(count) => Poll::Ready(Ok(count)),
            Wrote::Wait => Poll::Pending,
            Wrote::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.table.lock().finish(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.table.lock().drop_writer(self.id);
    }
}
