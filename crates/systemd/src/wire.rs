//! D-Bus messages as bytes (D-Bus specification, "Message Protocol").
//!
//! ```text
//! endian type flags 1 │ body length │ serial │ array of (field code, variant) │ pad to 8 │ body
//! ```
//!
//! Only what the calls of this crate need: method calls go out little-endian, replies, errors and signals of either
//! byte order come in. Alignment counts from the start of the message; a body starts on 8, so it is laid out alone.

mod read;
mod write;

pub(crate) use read::{Message, MessageKind};
pub(crate) use write::{Call, Writer};

/// Largest message read or written. The specification allows 128 MiB; unit calls and their signals are far smaller.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;

/// Codes of header fields ("Header Fields").
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SENDER: u8 = 7;
    pub(super) const SIGNATURE: u8 = 8;
}

#[cfg(test)]
mod tests;
