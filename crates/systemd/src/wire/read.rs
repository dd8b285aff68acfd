//! Reading replies, errors and signals.

use super::{MAX_MESSAGE, field};
use crate::Error;

const FIXED_HEADER: usize = 16;
/// Largest array of header fields taken; ours hold a few short names.
const MAX_FIELDS: usize = 16 * 1024;

/// What kind of message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Call,
    Reply,
    Error,
    Signal,
    /// A kind of a later protocol version; the specification says to ignore it.
    Unknown,
}

/// A message from the other side.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) reply_serial: Option<u32>,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error_name: String,
    pub(crate) sender: String,
    signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

impl Message {
    /// Takes the first whole message off `inbox`; `None` until all of it has arrived.
    ///
    /// # Errors
    /// [`Error::Protocol`] and [`Error::TooLarge`]; the connection is of no use after either.
    pub(crate) fn take(inbox: &mut Vec<u8>) -> Result<Option<Self>, Error> {
        let Some(fixed) = inbox.get(..FIXED_HEADER) else { return Ok(None) };
        let big_endian = match fixed[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(Error::Protocol { reason: "unknown byte order" }),
        };
        if fixed[3] != 1 {
            return Err(Error::Protocol { reason: "unknown protocol version" });
        }
        let mut header = Body { bytes: fixed, at: 4, big_endian };
        let body_length = header.u32()? as usize;
        header.at = 12;
        let fields_length = header.u32()? as usize;
        let fields_end = FIXED_HEADER.saturating_add(fields_length);
        let body_start = fields_end.saturating_add(7) & !7;
        let total = body_start.saturating_add(body_length);
        if fields_length > MAX_FIELDS || total > MAX_MESSAGE {
            return Err(Error::TooLarge { size: total, limit: MAX_MESSAGE });
        }
        if inbox.len() < total {
            return Ok(None);
        }
        let bytes: Vec<u8> = inbox.drain(..total).collect();
        let mut message = Self::empty(bytes[1], big_endian);
        let mut fields = Body { bytes: &bytes[..fields_end], at: FIXED_HEADER, big_endian };
        while fields.at < fields_end {
            message.read_field(&mut fields)?;
        }
        message.body = bytes[body_start..].to_vec();
        Ok(Some(message))
    }

    fn empty(kind: u8, big_endian: bool) -> Self {
        let kind = match kind {
            1 => MessageKind::Call,
            2 => MessageKind::Reply,
            3 => MessageKind::Error,
            4 => MessageKind::Signal,
            _ => MessageKind::Unknown,
        };
        Self {
            kind,
            reply_serial: None,
            interface: String::new(),
            member: String::new(),
            error_name: String::new(),
            sender: String::new(),
            signature: String::new(),
            body: Vec::new(),
            big_endian,
        }
    }

    fn read_field(&mut self, fields: &mut Body<'_>) -> Result<(), Error> {
        fields.align(8)?;
        let code = fields.u8()?;
        let signature = fields.signature()?;
        match (code, signature) {
            (field::INTERFACE, "s") => self.interface = fields.string()?.to_owned(),
            (field::MEMBER, "s") => self.member = fields.string()?.to_owned(),
            (field::ERROR_NAME, "s") => self.error_name = fields.string()?.to_owned(),
            (field::SENDER, "s") => self.sender = fields.string()?.to_owned(),
            (field::REPLY_SERIAL, "u") => self.reply_serial = Some(fields.u32()?),
            (field::SIGNATURE, "g") => self.signature = fields.signature()?.to_owned(),
            // Paths, destinations and fields of later versions.
            (_, signature) => fields.skip(signature)?,
        }
        Ok(())
    }

    /// A reader of the arguments, which must have this signature.
    ///
    /// # Errors
    /// [`Error::Protocol`] for another signature.
    pub(crate) fn arguments(&self, signature: &'static str) -> Result<Body<'_>, Error> {
        if self.signature != signature {
            return Err(Error::Protocol { reason: "unexpected signature" });
        }
        Ok(Body { bytes: &self.body, at: 0, big_endian: self.big_endian })
    }

    /// The text of an error message: its first argument where that is a string.
    pub(crate) fn error_text(&self) -> &str {
        if !self.signature.starts_with('s') {
            return "";
        }
        Body { bytes: &self.body, at: 0, big_endian: self.big_endian }.string().unwrap_or_default()
    }
}

/// Reads values with their alignment; every access is checked.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Body<'a> {
    fn align(&mut self, to: usize) -> Result<(), Error> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.take(padding).map(drop)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count);
        let taken = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(Error::Protocol { reason: "truncated" })?;
        self.at += count;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.align(4)?;
        let bytes = self.take(4)?;
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// A string or an object path.
    pub(crate) fn string(&mut self) -> Result<&'a str, Error> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<&'a str, Error> {
        let length = usize::from(self.u8()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, Error> {
        let text = self.take(length)?;
        if self.u8()? != 0 {
            return Err(Error::Protocol { reason: "a string without its end" });
        }
        std::str::from_utf8(text).map_err(|_| Error::Protocol { reason: "a string that is not UTF-8" })
    }

    /// Passes over a value of a basic type.
    fn skip(&mut self, signature: &str) -> Result<(), Error> {
        let (align, size) = match signature {
            "s" | "o" => return self.string().map(drop),
            "g" => return self.signature().map(drop),
            "y" => (1, 1),
            "n" | "q" => (2, 2),
            "b" | "i" | "u" | "h" => (4, 4),
            "x" | "t" | "d" => (8, 8),
            _ => return Err(Error::Protocol { reason: "a header field that is no basic value" }),
        };
        self.align(align)?;
        self.take(size).map(drop)
    }
}
