//! The state of a session: its streams and what waits to be sent. No I/O; every method is one step under the lock.
//!
//! A stream leaves the table when both its handles are gone. Frames for streams that are not in the table are ignored,
//! as the Go peers ignore them.

use std::collections::HashMap;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::entry::{Entry, Side};
use super::frame::{CANCEL, Frame, PROTOCOL_ERROR, REFUSED_STREAM};
use super::headers::Headers;
use super::output::{OVERHEAD, Output, cost};
use super::session::Role;

/// Received and unread bytes of one stream at which the connection is not read any more.
pub(super) const STREAM_RECEIVE: usize = 256 * 1024;
/// The same for all streams together.
pub(super) const SESSION_RECEIVE: usize = 8 * 1024 * 1024;
/// Unsent bytes of one stream at which its writer waits.
pub(super) const STREAM_SEND: usize = 64 * 1024;
/// The same for all streams together.
pub(super) const SESSION_SEND: usize = 1024 * 1024;
/// Unsent frames without data, at which the connection is not read any more: most of them the peer has caused.
const CONTROLS: usize = 1024;
/// Longest data frame sent.
const FRAME: usize = 32 * 1024;

/// What a written piece became.
pub(super) enum Wrote {
    /// So many bytes are queued.
    Bytes(usize),
    /// Not now.
    Wait,
    /// The direction has ended.
    Closed,
}

/// How far a session has come. Each phase forbids what the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// The peer has said GOAWAY: no new streams.
    GoneAway,
    /// We have, and write nothing more.
    Closing,
    /// The connection has ended.
    Over,
}

/// All of a session.
#[derive(Debug)]
pub(super) struct Table {
    capacity: usize,
    streams: HashMap<u32, Entry>,
    next: u32,
    last_peer: u32,
    output: Output,
    buffered: usize,
    full: usize,
    phase: Phase,
    pub(super) sender: Option<Waker>,
    pub(super) receiver: Option<Waker>,
    pub(super) traffic: Instant,
    next_ping: u32,
}

impl Table {
    pub(super) fn new(role: Role, capacity: usize) -> Self {
        let first = match role {
            Role::Client => 1,
            Role::Server => 2,
        };
        Self {
            capacity,
            streams: HashMap::new(),
            next: first,
            last_peer: 0,
            output: Output::default(),
            buffered: 0,
            full: 0,
            phase: Phase::Open,
            sender: None,
            receiver: None,
            traffic: Instant::now(),
            next_ping: first,
        }
    }

    // ---- what comes in ----

    /// Whether the connection may be read: there is room for what comes.
    pub(super) fn has_room(&self) -> bool {
        self.full == 0 && self.buffered < SESSION_RECEIVE && self.output.controls() < CONTROLS
    }

    /// Takes one frame of the peer; returns a stream that the peer opens.
    pub(super) fn receive(&mut self, frame: Frame) -> Option<(u32, Headers)> {
        match frame {
            Frame::SynStream { id, fin, headers } => return self.opened(id, fin, headers),
            Frame::SynReply { id, fin, .. } => {
                if let Some(entry) = self.streams.get_mut(&id) {
                    entry.answered = true;
                    entry.wake();
                }
                self.ended(id, fin);
            }
            Frame::Data { id, fin, bytes } => {
                self.traffic = Instant::now();
                self.arrived(id, &bytes);
                self.ended(id, fin);
            }
            Frame::Headers { id, fin } => self.ended(id, fin),
            Frame::Reset { id, .. } => self.broken(id),
            Frame::Ping { id } => {
                if id % 2 != self.next % 2 {
                    self.queue(Frame::Ping { id });
                }
            }
            Frame::GoAway { .. } => self.phase = self.phase.max(Phase::GoneAway),
            Frame::Ignored => {}
        }
        None
    }

    fn opened(&mut self, id: u32, fin: bool, headers: Headers) -> Option<(u32, Headers)> {
        self.traffic = Instant::now();
        if id % 2 == self.next % 2 || id <= self.last_peer {
            self.queue(Frame::Reset { id, status: PROTOCOL_ERROR });
            return None;
        }
        self.last_peer = id;
        if self.streams.len() >= self.capacity || self.phase > Phase::Open {
            self.queue(Frame::Reset { id, status: REFUSED_STREAM });
            return None;
        }
        self.streams.insert(id, Entry::new(true));
        self.ended(id, fin);
        Some((id, headers))
    }

    fn arrived(&mut self, id: u32, bytes: &Bytes) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if entry.reading != Side::Open || bytes.is_empty() {
            return;
        }
        let before = entry.input.len();
        entry.input.extend_from_slice(bytes);
        self.buffered += bytes.len();
        if before < STREAM_RECEIVE && entry.input.len() >= STREAM_RECEIVE {
            self.full += 1;
        }
        if let Some(reader) = entry.reader.take() {
            reader.wake();
        }
    }

    fn ended(&mut self, id: u32, fin: bool) {
        if !fin {
            return;
        }
        if let Some(entry) = self.streams.get_mut(&id) {
            if entry.reading == Side::Open {
                entry.reading = Side::Ended;
            }
            if let Some(reader) = entry.reader.take() {
                reader.wake();
            }
        }
    }

    fn broken(&mut self, id: u32) {
        self.unqueue(id);
        if let Some(entry) = self.streams.get_mut(&id) {
            if entry.reading == Side::Open {
                entry.reading = Side::Reset;
            }
            entry.writing = Side::Reset;
            entry.wake();
        }
        self.wake_writers();
    }

    // ---- what goes out ----

    fn queue(&mut self, frame: Frame) {
        self.output.push(frame);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// Accepts a stream of the peer.
    pub(super) fn accept(&mut self, id: u32) {
        self.queue(Frame::SynReply { id, fin: false, headers: Headers::default() });
    }

    /// Refuses a stream of the peer and forgets it.
    pub(super) fn refuse(&mut self, id: u32) {
        self.forget(id);
        self.queue(Frame::Reset { id, status: REFUSED_STREAM });
    }

    /// Opens a stream of ours; `None` when the session takes no more.
    pub(super) fn open(&mut self, headers: Headers, fin: bool) -> Option<u32> {
        if self.phase > Phase::Open || self.streams.len() >= self.capacity {
            return None;
        }
        let id = self.next;
        self.next = id.checked_add(2).filter(|next| *next < 1 << 31)?;
        let mut entry = Entry::new(false);
        if fin {
            entry.writing = Side::Ended;
        }
        self.streams.insert(id, entry);
        self.traffic = Instant::now();
        self.queue(Frame::SynStream { id, fin, headers });
        Some(id)
    }

    /// Whether the peer has accepted a stream of ours: `None` until it answers.
    pub(super) fn accepted(&mut self, id: u32, waker: &Waker) -> Option<bool> {
        let over = self.phase == Phase::Over;
        let entry = self.streams.get_mut(&id)?;
        if entry.answered {
            return Some(true);
        }
        if over || entry.writing == Side::Reset || entry.reading == Side::Reset {
            return Some(false);
        }
        entry.answer = Some(waker.clone());
        None
    }

    /// Queues bytes of a stream as far as there is room.
    pub(super) fn write(&mut self, id: u32, bytes: &[u8], waker: &Waker) -> Wrote {
        let Some(entry) = self.streams.get_mut(&id) else { return Wrote::Closed };
        if entry.writing != Side::Open || self.phase >= Phase::Closing {
            return Wrote::Closed;
        }
        if bytes.is_empty() {
            return Wrote::Bytes(0);
        }
        if entry.unsent >= STREAM_SEND || self.output.unsent() >= SESSION_SEND {
            entry.writer = Some(waker.clone());
            return Wrote::Wait;
        }
        let length = bytes.len().min(FRAME);
        let bytes = Bytes::copy_from_slice(bytes.get(..length).unwrap_or(bytes));
        entry.unsent += length + OVERHEAD;
        self.traffic = Instant::now();
        self.queue(Frame::Data { id, fin: false, bytes });
        Wrote::Bytes(length)
    }

    /// Ends our direction of a stream.
    pub(super) fn finish(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if entry.writing == Side::Open {
            entry.writing = Side::Ended;
            self.queue(Frame::Data { id, fin: true, bytes: Bytes::new() });
        }
    }

    /// Ends both directions of a stream at once; what is unsent is not sent.
    pub(super) fn reset(&mut self, id: u32) {
        self.unqueue(id);
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if entry.writing == Side::Reset || self.phase == Phase::Over {
            return;
        }
        entry.writing = Side::Reset;
        entry.reading = Side::Reset;
        entry.wake();
        self.queue(Frame::Reset { id, status: CANCEL });
        self.wake_writers();
    }

    /// The next frame to send.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        let crowded = self.output.unsent() >= SESSION_SEND;
        let frame = self.output.pop()?;
        match (&frame, cost(&frame)) {
            (Frame::Data { id, .. }, cost @ 1..) => {
                if let Some(entry) = self.streams.get_mut(id) {
                    entry.unsent -= cost;
                    if let Some(writer) = entry.writer.take() {
                        writer.wake();
                    }
                }
                if crowded {
                    self.wake_writers();
                }
                self.traffic = Instant::now();
            }
            _ => self.wake_receiver(),
        }
        Some(frame)
    }

    /// Removes the unsent data of a stream.
    fn unqueue(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if entry.unsent > 0 {
            entry.unsent = 0;
            self.output.remove(id);
        }
    }

    fn wake_writers(&mut self) {
        if self.output.unsent() < SESSION_SEND {
            for writer in self.streams.values_mut().filter_map(|entry| entry.writer.take()) {
                writer.wake();
            }
        }
    }

    fn wake_receiver(&mut self) {
        if self.has_room()
            && let Some(receiver) = self.receiver.take()
        {
            receiver.wake();
        }
    }

    // ---- handles ----

    pub(super) fn entry(&mut self, id: u32) -> Option<&mut Entry> {
        self.streams.get_mut(&id)
    }

    /// Takes up to `limit` bytes out of the buffer of a stream.
    pub(super) fn take(&mut self, id: u32, limit: usize) -> BytesMut {
        let Some(entry) = self.streams.get_mut(&id) else { return BytesMut::new() };
        let before = entry.input.len();
        let bytes = entry.input.split_to(limit.min(before));
        let after = entry.input.len();
        self.taken(before, after);
        bytes
    }

    fn taken(&mut self, before: usize, after: usize) {
        self.buffered -= before - after;
        if before >= STREAM_RECEIVE && after < STREAM_RECEIVE {
            self.full -= 1;
        }
        self.wake_receiver();
    }

    /// Nobody reads the stream any more.
    pub(super) fn drop_reader(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        let before = entry.input.len();
        entry.input = BytesMut::new();
        entry.reading = Side::Ignored;
        self.taken(before, 0);
        self.drop_handle(id);
    }

    /// Nobody writes to the stream any more.
    pub(super) fn drop_writer(&mut self, id: u32) {
        self.finish(id);
        self.drop_handle(id);
    }

    fn drop_handle(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.handles = entry.handles.saturating_sub(1);
            if entry.handles == 0 {
                // The end mark is queued behind what is unsent, which goes out without its entry.
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: u32) {
        if let Some(entry) = self.streams.remove(&id) {
            self.taken(entry.input.len(), 0);
        }
    }

    // ---- the session ----

    /// Ends our direction of every stream and takes no new ones.
    pub(super) fn close(&mut self) {
        if self.phase >= Phase::Closing {
            return;
        }
        let open: Vec<u32> = self.streams.keys().copied().collect();
        for id in open {
            self.finish(id);
            self.drop_input(id);
        }
        self.phase = Phase::Closing;
        self.queue(Frame::GoAway { last: self.last_peer });
        self.wake_receiver();
    }

    fn drop_input(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id) {
            let before = entry.input.len();
            entry.input = BytesMut::new();
            entry.reading = Side::Ignored;
            entry.wake();
            self.taken(before, 0);
        }
    }

    /// Whether everything is sent and nothing more will be.
    pub(super) fn drained(&self) -> bool {
        self.phase >= Phase::Closing && self.output.is_empty()
    }

    /// The connection has ended: wakes everybody who waits for it.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
        self.output.clear();
        for entry in self.streams.values_mut() {
            entry.unsent = 0;
            if entry.reading == Side::Open {
                entry.reading = Side::Reset;
            }
            entry.writing = Side::Reset;
            entry.wake();
        }
    }

    /// Asks the peer for a sign of life, unless something else is on its way.
    pub(super) fn ping(&mut self) {
        if self.output.is_empty() && self.phase < Phase::Closing {
            let id = self.next_ping;
            self.next_ping = if id >= 0x7fff_fff0 { id % 2 + 2 } else { id + 2 };
            self.queue(Frame::Ping { id });
        }
    }
}

#[cfg(test)]
mod tests;
