//! Frames and the primitive values in them: explicit little-endian fields, every length checked against a limit and
//! against what is there before anything is copied.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The largest frame, without its length field.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes in front of a frame's body.
pub const HEADER: usize = 10;
/// The longest path.
pub const MAX_PATH: usize = 4096;
/// The longest human-readable text.
pub const MAX_TEXT: usize = 16 * 1024;
/// Descriptors one frame can carry: one per role.
pub const MAX_DESCRIPTORS: usize = 5;

/// The bytes are not a frame of this protocol. The connection they came from is useless from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The message ends inside a field.
    #[error("a message ends inside a field")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("{extra} bytes follow the last field of a message")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A length is over its limit.
    #[error("a field or frame of {length} bytes is over its limit of {limit}")]
    TooLong {
        /// The length given.
        length: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A tag has no meaning.
    #[error("{what} has no value {tag}")]
    UnknownTag {
        /// The field.
        what: &'static str,
        /// The value found.
        tag: u8,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// An identifier is not 64 lower-case hexadecimal characters.
    #[error("an identifier is malformed")]
    InvalidId,
    /// A path is relative or contains a NUL byte.
    #[error("a path is not absolute or contains a NUL byte")]
    InvalidPath,
    /// A frame announces descriptors that did not arrive with it.
    #[error("a frame announces descriptors that did not arrive")]
    MissingDescriptors,
}

/// Which descriptors a frame carries; they travel in the order of the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// The bits: pidfd, stdin, stdout, stderr, terminal.
    const ALL: u8 = 0b1_1111;

    /// How many descriptors.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// Descriptors that travel with a message, by role.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// A process descriptor of the container's init.
    pub pidfd: Option<OwnedFd>,
    /// An end of a stdin pipe.
    pub stdin: Option<OwnedFd>,
    /// An end of a stdout pipe.
    pub stdout: Option<OwnedFd>,
    /// An end of a stderr pipe.
    pub stderr: Option<OwnedFd>,
    /// The master of a pseudo-terminal.
    pub terminal: Option<OwnedFd>,
}

impl Descriptors {
    /// Which roles are filled.
    pub fn roles(&self) -> Roles {
        let bits = self.slots().into_iter().enumerate().map(|(bit, slot)| u8::from(slot.is_some()) << bit);
        Roles(bits.fold(0, |all, bit| all | bit))
    }

    fn slots(&self) -> [&Option<OwnedFd>; MAX_DESCRIPTORS] {
        [&self.pidfd, &self.stdin, &self.stdout, &self.stderr, &self.terminal]
    }

    fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.slots().into_iter().flatten().map(AsFd::as_fd).collect()
    }

    fn take(roles: Roles, received: &mut VecDeque<OwnedFd>) -> Result<Self, Malformed> {
        if received.len() < roles.count() {
            return Err(Malformed::MissingDescriptors);
        }
        let mut next = |bit: u8| if roles.0 & (1 << bit) == 0 { None } else { received.pop_front() };
        Ok(Self { pidfd: next(0), stdin: next(1), stdout: next(2), stderr: next(3), terminal: next(4) })
    }
}

/// A whole frame: the still encoded body of a message and its descriptors.
#[derive(Debug)]
pub struct Frame {
    /// The request it belongs to; 0 for notices.
    pub id: u32,
    /// Which message.
    pub kind: u8,
    /// The message's fields.
    pub body: Vec<u8>,
    /// What travelled with it.
    pub descriptors: Descriptors,
}

/// What one system call's worth of bytes brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Something; more may wait.
    Bytes,
    /// Nothing now.
    WouldBlock,
    /// The peer has closed.
    Closed,
}

/// Collects received bytes and descriptors until a frame is complete.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads once from a non-blocking socket into the inbox; `scratch` is any buffer.
    ///
    /// # Errors
    /// The error of `recvmsg`, except that an empty socket is [`Received::WouldBlock`].
    pub fn receive(&mut self, socket: impl AsFd, scratch: &mut [u8]) -> std::io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let count = loop {
            match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(scratch)], &mut control, flags) {
                Ok(message) => break message.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Received::WouldBlock),
                Err(error) => return Err(error.into()),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // A peer that sends descriptors without announcing them must not fill the table.
        while self.descriptors.len() > 4 * MAX_DESCRIPTORS {
            self.descriptors.pop_back();
        }
        self.bytes.extend_from_slice(scratch.get(..count).unwrap_or_default());
        Ok(if count == 0 { Received::Closed } else { Received::Bytes })
    }

    /// Takes the next complete frame out.
    ///
    /// # Errors
    /// [`Malformed`] as soon as the header is wrong, without waiting for the body.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some((header, _)) = self.bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, roles, kind, i0, i1, i2, i3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_FRAME {
            return Err(Malformed::TooLong { length, limit: MAX_FRAME });
        }
        if length < HEADER - 4 {
            return Err(Malformed::Truncated);
        }
        if roles & !Roles::ALL != 0 {
            return Err(Malformed::UnknownTag { what: "descriptor roles", tag: roles });
        }
        let Some(body) = self.bytes.get(HEADER..4 + length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.bytes.drain(..4 + length);
        if self.bytes.is_empty() {
            // An idle connection keeps no buffer.
            self.bytes = Vec::new();
        }
        let descriptors = Descriptors::take(Roles(roles), &mut self.descriptors)?;
        Ok(Some(Frame { id: u32::from_le_bytes([i0, i1, i2, i3]), kind, body, descriptors }))
    }
}

/// An encoded frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Descriptors,
}

impl Outgoing {
    /// Whether the frame fits the protocol's limit.
    pub fn fits(&self) -> bool {
        self.bytes.len() <= MAX_FRAME + 4
    }

    /// Bytes still to send.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Sends as much as a non-blocking socket takes; `true` when all is sent.
    ///
    /// # Errors
    /// The error of `sendmsg`, except for a full socket.
    pub fn send(&mut self, socket: impl AsFd) -> std::io::Result<bool> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let borrowed = self.descriptors.borrowed();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                // The buffer has room for all roles, so the push cannot be refused.
                control.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&socket, &[IoSlice::new(rest)], &mut control, flags) {
                Ok(count) => {
                    self.sent += count;
                    // They went with the first byte.
                    drop(borrowed);
                    self.descriptors = Descriptors::default();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Writes the fields of a message.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Starts a frame.
    pub fn frame(id: u32, kind: u8) -> Self {
        let mut encoder = Self { bytes: Vec::with_capacity(64) };
        encoder.bytes.extend_from_slice(&[0, 0, 0, 0, 0, kind]);
        encoder.u32(id);
        encoder
    }

    /// Ends the frame.
    pub fn finish(mut self, descriptors: Descriptors) -> Outgoing {
        let length = u32::try_from(self.bytes.len() - 4).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4] = descriptors.roles().0;
        Outgoing { bytes: self.bytes, sent: 0, descriptors }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(value);
    }

    /// A path.
    pub fn path(&mut self, value: &Path) {
        self.bytes(value.as_os_str().as_bytes());
    }

    /// A path that may be absent; the empty path stands for absence.
    pub fn optional_path(&mut self, value: Option<&Path>) {
        self.path(value.unwrap_or(Path::new("")));
    }
}

/// Reads the fields of a message.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first field.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Malformed::Trailing`].
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing { extra: self.rest.len() }) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*value)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], like all fixed-size fields.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[value]| value)
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// [`Malformed::UnknownTag`] for any other value.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(Malformed::UnknownTag { what: "a yes-or-no field", tag }),
        }
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes, signed.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, signed.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// A length of at most `limit` and that many bytes, not copied.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] or [`Malformed::Truncated`].
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(Malformed::TooLong { length, limit });
        }
        let (value, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(value)
    }

    /// UTF-8 text.
    ///
    /// # Errors
    /// [`Malformed::NotUtf8`], or as [`Decoder::bytes`].
    pub fn text(&mut self, limit: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| Malformed::NotUtf8)
    }

    /// An identifier.
    ///
    /// # Errors
    /// [`Malformed::InvalidId`], or as [`Decoder::bytes`].
    pub fn id<T: std::str::FromStr>(&mut self) -> Result<T, Malformed> {
        self.text(64)?.parse().map_err(|_| Malformed::InvalidId)
    }

    /// An absolute path that may be absent.
    ///
    /// # Errors
    /// [`Malformed::InvalidPath`], or as [`Decoder::bytes`].
    pub fn optional_path(&mut self) -> Result<Option<PathBuf>, Malformed> {
        let bytes = self.bytes(MAX_PATH)?;
        match bytes.first() {
            None => Ok(None),
            Some(b'/') if !bytes.contains(&0) => {
                Ok(Some(std::ffi::OsString::from_vec(bytes.to_vec()).into()))
            }
            Some(_) => Err(Malformed::InvalidPath),
        }
    }

    /// An absolute path.
    ///
    /// # Errors
    /// [`Malformed::InvalidPath`], or as [`Decoder::bytes`].
    pub fn path(&mut self) -> Result<PathBuf, Malformed> {
        self.optional_path()?.ok_or(Malformed::InvalidPath)
    }
}
