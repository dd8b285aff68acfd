//! Encoding and reading of netlink messages and attributes (netlink(7), `include/uapi/linux/netlink.h`).
//!
//! A batch is several messages in one buffer, sent with one system call:
//!
//! ```text
//! ┌ nlmsghdr: length, type, flags, sequence, port ┐┌ family header ┐┌ attribute ┐┌ attribute ┐ …  next message …
//! └────────────────── 16 bytes ───────────────────┘└───────────────┘└ u16 length, u16 type, value, padded to 4 ┘
//! ```

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// `NLM_F_REQUEST`: every message to the kernel carries it.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`: the kernel answers success too.
pub(crate) const ACK: u16 = 4;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: fail when the object exists.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

/// Messages under construction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(1024), sequence: 0 }
    }

    /// Appends a message and returns its sequence number, by which its answer is known.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Writer<'_>)) -> u32 {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut Writer { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes the body of one message.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// A fixed header in front of the attributes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.header(kind, 4 + value.len());
        self.raw(value);
    }

    /// A NUL-terminated string.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.header(kind, 5 + value.len());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// A 32-bit number in the machine's byte order, as route messages want it.
    pub(crate) fn native(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A 32-bit number in network byte order, as firewall messages want it.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Attributes inside an attribute. Callers keep the content below 64 KiB, the limit of the format.
    pub(crate) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.header(kind | NESTED, 0);
        write(&mut Writer { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn header(&mut self, kind: u16, length: usize) {
        self.bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages in a datagram; ends silently at the first malformed one.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let payload = datagram.get(HEADER..length)?;
        let message = Received {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a buffer as (type, value); ends silently at the first malformed one.
pub(crate) fn attributes(mut buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(buffer, 0)?);
        let kind = u16_at(buffer, 2)? & TYPE_MASK;
        let value = buffer.get(4..length)?;
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// A NUL-terminated string value.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut batch = Batch::new();
        let first = batch.message(7, ACK, |m| {
            m.raw(&[1, 2, 3, 4]);
            m.text(1, "abc");
            m.nested(2, |m| m.number(3, 0x0102_0304));
        });
        let second = batch.message(8, 0, |_| {});
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (7, ACK | REQUEST, first));
        assert_eq!((read[1].kind, read[1].sequence), (8, second));
        let found: Vec<_> = attributes(&read[0].payload[4..]).collect();
        assert_eq!((found[0].0, text(found[0].1)), (1, "abc".to_owned()));
        assert_eq!(attributes(found[1].1).next(), Some((3, &[1u8, 2, 3, 4][..])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
