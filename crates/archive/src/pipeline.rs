//! The two stages of unpacking: a thread that decompresses, and the caller's thread that hashes and applies.
//!
//! Inflating is the slow stage (about 635 MB/s a core against 1,800 MB/s for SHA-256), so it gets a thread of its
//! own. Buffers circulate: full ones one way, empty ones back, so memory is bounded by `QUEUE + 2` buffers.
//!
//! ```text
//!   input ─▶ [decompress thread] ──Chunk──▶ (queue of 4) ──▶ Stream (BufRead): hash ─▶ tar reader
//!                     ▲                                          │
//!                     └──────────────── empty buffers ◀──────────┘
//! ```
//!
//! A stage that fails drops its end of the queue; the other one notices at its next buffer. A thread blocked in
//! `input.read()` is waited for: deadlines belong to the input.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope};

use ochre_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::apply::Limits;
use crate::decompress::{DecompressError, Decompressor};

const CHUNK: usize = 256 * 1024;
const QUEUE: usize = 4;
/// Below this much output no ratio is suspicious: empty file systems compress well.
const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;

enum Message {
    Chunk { buffer: Vec<u8>, length: usize },
    End,
    Failed(DecompressError),
}

/// The plain bytes of the layer, hashed as they arrive.
pub(crate) struct Stream {
    full: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    position: usize,
    length: usize,
    ended: bool,
    hash: Sha256,
    total: u64,
}

impl Stream {
    /// Starts the decompressing thread in `scope`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start<'scope, R>(
        scope: &'scope Scope<'scope, '_>,
        input: R,
        limits: Limits,
    ) -> io::Result<Self>
    where
        R: Read + Send + 'scope,
    {
        let (full_sender, full) = sync_channel(QUEUE);
        let (empty, empty_receiver) = channel();
        Builder::new().name("layer-inflate".into()).spawn_scoped(scope, move || {
            let last = match decompress_all(input, &limits, &full_sender, &empty_receiver) {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // Nobody listens when the other stage failed first; its error is the one that counts.
            drop(full_sender.send(last));
        })?;
        let (buffer, hash) = (Vec::new(), Sha256::new());
        Ok(Self { full, empty, buffer, position: 0, length: 0, ended: false, hash, total: 0 })
    }

    /// Digest and length of everything that came, once the end was seen.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest::sha256(&self.hash.finalize().into()), self.total)
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let spent = std::mem::take(&mut self.buffer);
        if !spent.is_empty() {
            // The other stage may be gone already; then nobody needs the buffer.
            drop(self.empty.send(spent));
        }
        (self.position, self.length) = (0, 0);
        match self.full.recv() {
            Ok(Message::Chunk { buffer, length }) => {
                self.hash.update(buffer.get(..length).unwrap_or_default());
                self.total += length as u64;
                (self.buffer, self.length) = (buffer, length);
                Ok(())
            }
            Ok(Message::End) => {
                self.ended = true;
                Ok(())
            }
            Ok(Message::Failed(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(_) => Err(io::Error::other(DecompressError::StageLost)),
        }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.length && !self.ended {
            self.next_chunk()?;
        }
        Ok(self.buffer.get(self.position..self.length).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.length.min(self.position + count);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn decompress_all(
    input: impl Read,
    limits: &Limits,
    full: &SyncSender<Message>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), DecompressError> {
    let mut decompressor = Decompressor::new(input)?;
    loop {
        let mut buffer = empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let mut length = 0;
        while let Some(free) = buffer.get_mut(length..).filter(|free| !free.is_empty()) {
            match decompressor.decompress(free)? {
                0 => break,
                count => length += count,
            }
        }
        check_limits(decompressor.input_bytes(), decompressor.output_bytes(), limits)?;
        if length == 0 || full.send(Message::Chunk { buffer, length }).is_err() {
            return Ok(());
        }
    }
}

fn check_limits(input: u64, output: u64, limits: &Limits) -> Result<(), DecompressError> {
    if output > limits.max_bytes {
        return Err(DecompressError::TooLarge { limit: limits.max_bytes });
    }
    if output > RATIO_FREE_BYTES && output > input.saturating_mul(limits.max_ratio) {
        return Err(DecompressError::Bomb { input, output, limit: limits.max_ratio });
    }
    Ok(())
}
