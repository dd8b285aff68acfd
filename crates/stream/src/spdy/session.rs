//! The handles of a session: opening streams, being told of those the peer opens, closing.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::driver::Driver;
use super::frame::FrameError;
use super::headers::Headers;
use super::stream::{Stream, StreamError};
use super::table::Table;

/// Which end of the connection this is: clients open streams with odd numbers, servers with even ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that sent the upgrade request.
    Client,
    /// The end that answered it.
    Server,
}

/// A session over a connection that is upgraded already, with at most `streams` streams at a time.
///
/// Nothing moves until the [`Driver`] is polled; when it ends, every handle of the session ends too.
///
/// # Errors
///
/// [`FrameError::Headers`] when zlib refuses to start.
pub fn session<C: AsyncRead + AsyncWrite>(
    connection: C,
    role: Role,
    streams: usize,
) -> Result<(Session, mpsc::Receiver<Incoming>, Driver<C>), FrameError> {
    let table = Arc::new(Mutex::new(Table::new(role, streams)));
    // As many places as streams, so that telling of a stream never waits.
    let (sender, receiver) = mpsc::channel(streams.max(1));
    let driver = Driver::new(connection, Arc::clone(&table), sender)?;
    Ok((Session { table }, receiver, driver))
}

/// A session. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Session {
    table: Arc<Mutex<Table>>,
}

impl Session {
    /// Opens a stream and waits until the peer has accepted it. With `fin`, nothing will be written to it.
    ///
    /// # Errors
    ///
    /// [`StreamError`] when the session or the peer refuses.
    pub async fn open(&self, headers: Headers, fin: bool) -> Result<Stream, StreamError> {
        let id = self.table.lock().open(headers, fin).ok_or(StreamError::Exhausted)?;
        let stream = Stream::new(id, &self.table);
        let accepted =
            std::future::poll_fn(|context| match self.table.lock().accepted(id, context.waker()) {
                Some(accepted) => Poll::Ready(accepted),
                None => Poll::Pending,
            });
        if accepted.await { Ok(stream) } else { Err(StreamError::Refused) }
    }

    /// Sends FIN on every stream and GOAWAY behind all that is queued; the driver ends when that is sent and the peer
    /// has closed the connection.
    pub fn close(&self) {
        self.table.lock().close();
    }

    /// How long no stream has carried anything, in either direction. Pings do not count.
    pub fn quiet_for(&self) -> Duration {
        self.table.lock().traffic.elapsed()
    }
}

/// A stream that the peer wants to open. Dropped, it is refused.
#[derive(Debug)]
pub struct Incoming {
    id: u32,
    headers: Headers,
    table: Option<Arc<Mutex<Table>>>,
}

impl Incoming {
    pub(super) fn new(id: u32, headers: Headers, table: &Arc<Mutex<Table>>) -> Self {
        Self { id, headers, table: Some(Arc::clone(table)) }
    }

    /// What the peer says the stream is for.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The number of the stream.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Accepts the stream; `None` cannot happen but for a stream accepted before.
    pub fn accept(mut self) -> Option<Stream> {
        let table = self.table.take()?;
        table.lock().accept(self.id);
        Some(Stream::new(self.id, &table))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(table) = self.table.take() {
            table.lock().refuse(self.id);
        }
    }
}
