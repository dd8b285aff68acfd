//! Writing method calls.

use super::{MAX_MESSAGE, field};
use crate::Error;

/// Lays values out little-endian with their alignment.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// A text with a NUL byte was written: the message must not be sent.
    has_nul: bool,
}

impl Writer {
    pub(crate) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A string or an object path.
    pub(crate) fn string(&mut self, text: &str) {
        self.has_nul |= text.contains('\0');
        // A longer text exceeds MAX_MESSAGE, so what is written here never leaves `Call::encode`.
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// A signature; all of ours are short literals.
    pub(crate) fn signature(&mut self, text: &'static str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements are aligned to `align`; its length excludes the padding before the first element.
    pub(crate) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(align);
        let start = self.bytes.len();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// A method call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) destination: &'static str,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) member: &'static str,
    /// Signature of `body`; empty for no arguments.
    pub(crate) signature: &'static str,
    pub(crate) body: Writer,
}

impl Call {
    /// The whole message under `serial`.
    ///
    /// # Errors
    /// [`Error::InvalidText`] and [`Error::TooLarge`].
    pub(crate) fn encode(&self, serial: u32) -> Result<Vec<u8>, Error> {
        if self.body.has_nul {
            return Err(Error::InvalidText { method: self.member });
        }
        let body_length = match u32::try_from(self.body.bytes.len()) {
            Ok(length) if self.body.bytes.len() <= MAX_MESSAGE => length,
            _ => return Err(Error::TooLarge { size: self.body.bytes.len(), limit: MAX_MESSAGE }),
        };
        let mut out = Writer::default();
        // little-endian, method call, no flags, protocol version
        out.bytes.extend_from_slice(&[b'l', 1, 0, 1]);
        out.u32(body_length);
        out.u32(serial);
        out.array(8, |out| {
            text_field(out, field::PATH, "o", self.path);
            text_field(out, field::INTERFACE, "s", self.interface);
            text_field(out, field::MEMBER, "s", self.member);
            text_field(out, field::DESTINATION, "s", self.destination);
            if !self.signature.is_empty() {
                out.align(8);
                out.u8(field::SIGNATURE);
                out.signature("g");
                out.signature(self.signature);
            }
        });
        out.align(8);
        out.bytes.extend_from_slice(&self.body.bytes);
        Ok(out.bytes)
    }
}

fn text_field(out: &mut Writer, code: u8, signature: &'static str, text: &str) {
    out.align(8);
    out.u8(code);
    out.signature(signature);
    out.string(text);
}

#[cfg(test)]
impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
