//! Frames on the wire (SPDY/3.1, section 2.2): eight bytes of head, then a payload of the length the head tells.
//!
//! ```text
//!   control  1 version:15 type:16 | flags:8 length:24 | payload
//!   data     0 stream:31          | flags:8 length:24 | payload
//! ```
//!
//! Decoding is a function of bytes, without I/O. The payload of a data frame is given out in pieces as it comes in,
//! so its announced length never costs memory; a control frame is collected, up to [`CONTROL_LIMIT`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{Deflater, Headers, HeadersError, Inflater};

const VERSION: u16 = 3;
const HEAD: usize = 8;
/// Longest payload of a control frame that is read, bytes.
pub(super) const CONTROL_LIMIT: usize = 64 * 1024;
const FLAG_FIN: u8 = 0x01;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// `RST_STREAM` status: the stream was refused before anything was done with it.
pub(super) const REFUSED_STREAM: u32 = 3;
/// `RST_STREAM` status: the stream is not wanted any more.
pub(super) const CANCEL: u32 = 5;
/// `RST_STREAM` status: the stream breaks the rules.
pub(super) const PROTOCOL_ERROR: u32 = 1;

/// Bytes that are not SPDY/3.1 as these protocols use it; the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Another version of SPDY.
    #[error("a frame of SPDY version {version}")]
    Version {
        /// What the frame says.
        version: u16,
    },
    /// A control frame that is longer than any of these protocols.
    #[error("a control frame of type {kind} with {length} bytes")]
    TooLong {
        /// Type on the wire.
        kind: u16,
        /// Length it announces.
        length: usize,
    },
    /// A control frame shorter than its fields.
    #[error("a control frame of type {kind} that ends early")]
    Short {
        /// Type on the wire.
        kind: u16,
    },
    /// Stream 0 does not exist.
    #[error("a frame for stream 0")]
    NoStream,
    /// Headers that cannot be read.
    #[error("headers of a control frame cannot be read")]
    Headers(#[from] HeadersError),
}

/// One frame, or a piece of a data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The sender opens a stream.
    SynStream {
        /// Odd from a client, even from a server, growing.
        id: u32,
        /// Whether the sender will send no data.
        fin: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// The receiver of a `SynStream` accepts it.
    SynReply {
        /// The stream.
        id: u32,
        /// Whether the sender will send no data.
        fin: bool,
        /// Empty in these protocols.
        headers: Headers,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        id: u32,
        /// Whether these are the sender's last.
        fin: bool,
        /// A piece of the frame's payload.
        bytes: Bytes,
    },
    /// The stream ends in both directions.
    Reset {
        /// The stream.
        id: u32,
        /// Why (section 2.6.3).
        status: u32,
    },
    /// To be sent back when the number is one of the sender's.
    Ping {
        /// Odd from a client, even from a server.
        id: u32,
    },
    /// The sender takes no new streams.
    GoAway {
        /// The last stream it took.
        last: u32,
    },
    /// More headers; only their end mark matters here.
    Headers {
        /// The stream.
        id: u32,
        /// Whether the sender will send no data.
        fin: bool,
    },
    /// Settings, windows and types not known: skipped, as section 2.2.1 asks.
    Ignored,
}

/// Makes frames of bytes.
#[derive(Debug)]
pub struct Decoder {
    inflater: Inflater,
    state: State,
}

#[derive(Debug)]
enum State {
    Head,
    Data { id: u32, fin: bool, left: usize },
    Skip { left: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflater: Inflater::new(), state: State::Head }
    }
}

impl Decoder {
    /// The next frame of `input`, taken from its front; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the bytes break the protocol. The decoder must not be used after that.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Head => {
                    if input.len() < HEAD {
                        return Ok(None);
                    }
                    self.state = head(input.get_u32(), input.get_u32())?;
                }
                State::Data { id, fin, left } => {
                    if input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let bytes = input.split_to(left.min(input.len())).freeze();
                    let left = left - bytes.len();
                    self.state = if left == 0 { State::Head } else { State::Data { id, fin, left } };
                    return Ok(Some(Frame::Data { id, fin: fin && left == 0, bytes }));
                }
                State::Skip { left } => {
                    if input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let step = left.min(input.len());
                    input.advance(step);
                    if step == left {
                        self.state = State::Head;
                        return Ok(Some(Frame::Ignored));
                    }
                    self.state = State::Skip { left: left - step };
                }
                State::Control { kind, flags, length } => {
                    if input.len() < length {
                        return Ok(None);
                    }
                    let payload = input.split_to(length);
                    self.state = State::Head;
                    return self.control(kind, flags, &payload).map(Some);
                }
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: &[u8]) -> Result<Frame, FrameError> {
        let word = payload.try_get_u32().map_err(|_| FrameError::Short { kind })?;
        let id = word & 0x7fff_ffff;
        let fin = flags & FLAG_FIN != 0;
        if id == 0 && !matches!(kind, PING | GOAWAY) {
            return Err(FrameError::NoStream);
        }
        match kind {
            SYN_STREAM => {
                // The associated stream, the priority and the credential slot mean nothing here.
                let block = payload.get(6..).ok_or(FrameError::Short { kind })?;
                Ok(Frame::SynStream { id, fin, headers: self.inflater.read(block)? })
            }
            SYN_REPLY => Ok(Frame::SynReply { id, fin, headers: self.inflater.read(payload)? }),
            RST_STREAM => {
                let status = payload.try_get_u32().map_err(|_| FrameError::Short { kind })?;
                Ok(Frame::Reset { id, status })
            }
            PING => Ok(Frame::Ping { id: word }),
            GOAWAY => Ok(Frame::GoAway { last: id }),
            HEADERS => {
                self.inflater.read(payload)?;
                Ok(Frame::Headers { id, fin })
            }
            _ => Ok(Frame::Ignored),
        }
    }
}

fn head(first: u32, second: u32) -> Result<State, FrameError> {
    let flags = (second >> 24) as u8;
    let length = (second & 0x00ff_ffff) as usize;
    if first & 0x8000_0000 == 0 {
        if first == 0 {
            return Err(FrameError::NoStream);
        }
        return Ok(State::Data { id: first, fin: flags & FLAG_FIN != 0, left: length });
    }
    let version = ((first >> 16) & 0x7fff) as u16;
    if version != VERSION {
        return Err(FrameError::Version { version });
    }
    let kind = (first & 0xffff) as u16;
    match kind {
        SYN_STREAM | SYN_REPLY | RST_STREAM | PING | GOAWAY | HEADERS if length > CONTROL_LIMIT => {
            Err(FrameError::TooLong { kind, length })
        }
        SYN_STREAM | SYN_REPLY | RST_STREAM | PING | GOAWAY | HEADERS => {
            Ok(State::Control { kind, flags, length })
        }
        _ => Ok(State::Skip { left: length }),
    }
}

/// Makes bytes of frames.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    /// The encoder of one direction of one connection.
    ///
    /// # Errors
    ///
    /// [`HeadersError::Zlib`] when zlib refuses the dictionary.
    pub fn new() -> Result<Self, HeadersError> {
        Ok(Self { deflater: Deflater::new()? })
    }

    /// Appends the frame to `output`. A data frame must be shorter than 16 MiB.
    ///
    /// # Errors
    ///
    /// [`HeadersError::Zlib`] when the headers cannot be compressed.
    pub fn encode(&mut self, frame: &Frame, output: &mut BytesMut) -> Result<(), HeadersError> {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let mut block = BytesMut::new();
                self.deflater.write(headers, &mut block)?;
                control(output, SYN_STREAM, *fin, 10 + block.len());
                output.put_u32(*id);
                output.put_u32(0);
                output.put_u16(0);
                output.extend_from_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => {
                let mut block = BytesMut::new();
                self.deflater.write(headers, &mut block)?;
                control(output, SYN_REPLY, *fin, 4 + block.len());
                output.put_u32(*id);
                output.extend_from_slice(&block);
            }
            Frame::Data { id, fin, bytes } => {
                output.put_u32(*id);
                put_length(output, *fin, bytes.len());
                output.extend_from_slice(bytes);
            }
            Frame::Reset { id, status } => {
                control(output, RST_STREAM, false, 8);
                output.put_u32(*id);
                output.put_u32(*status);
            }
            Frame::Ping { id } => {
                control(output, PING, false, 4);
                output.put_u32(*id);
            }
            Frame::GoAway { last } => {
                control(output, GOAWAY, false, 8);
                output.put_u32(*last);
                output.put_u32(0);
            }
            // Never queued: nothing of ours sends later headers, settings or windows.
            Frame::Headers { .. } | Frame::Ignored => {}
        }
        Ok(())
    }
}

fn control(output: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    output.put_u16(0x8000 | VERSION);
    output.put_u16(kind);
    put_length(output, fin, length);
}

fn put_length(output: &mut BytesMut, fin: bool, length: usize) {
    let flags = if fin { u32::from(FLAG_FIN) } else { 0 };
    output.put_u32(flags << 24 | (length as u32 & 0x00ff_ffff));
}

#[cfg(test)]
mod tests;
