//! One stream of a session, as the table holds it.
//!
//! ```text
//!   of a stream, per direction:
//!
//!             FIN                      reading: the buffer is still given out after Ended
//!     Open ─────────► Ended            writing: nothing can be written after Ended
//!      │
//!      ├── RST_STREAM, or the session is over ─► Reset
//!      └── reader dropped ─► Ignored   what still comes is thrown away
//! ```

use std::task::Waker;

use bytes::BytesMut;

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Open,
    Ended,
    Reset,
    Ignored,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) input: BytesMut,
    pub(super) reading: Side,
    pub(super) writing: Side,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// What its unsent data costs, bytes.
    pub(super) unsent: usize,
    /// How many of its two halves somebody holds.
    pub(super) handles: u8,
    /// Whether the peer has accepted it, or opened it itself.
    pub(super) answered: bool,
    pub(super) answer: Option<Waker>,
}

impl Entry {
    pub(super) fn new(answered: bool) -> Self {
        Self {
            input: BytesMut::new(),
            reading: Side::Open,
            writing: Side::Open,
            reader: None,
            writer: None,
            unsent: 0,
            handles: 2,
            answered,
            answer: None,
        }
    }

    /// Wakes everybody who waits for this stream.
    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take(), self.answer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}
