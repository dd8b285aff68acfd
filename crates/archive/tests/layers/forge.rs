//! Archives byte by byte, without any validation.

use std::io::Write;

pub(crate) const BLOCK: usize = 512;

/// A header block to be bent before it is sealed with its checksum.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; BLOCK]);

impl Header {
    pub(crate) fn new(flag: u8, name: &str, size: u64) -> Self {
        let mut header = Self([0; BLOCK]);
        header.text(0, &name.as_bytes()[..name.len().min(100)]);
        header.octal(100, 8, 0o644).octal(108, 8, 0).octal(116, 8, 0).octal(124, 12, size).octal(
            136,
            12,
            1_000_000_000,
        );
        header.0[156] = flag;
        header.text(257, b"ustar\x0000");
        header
    }

    pub(crate) fn text(&mut self, at: usize, text: &[u8]) -> &mut Self {
        self.0[at..at + text.len()].copy_from_slice(text);
        self
    }

    pub(crate) fn octal(&mut self, at: usize, width: usize, value: u64) -> &mut Self {
        let digits = format!("{value:0width$o}\0", width = width - 1);
        self.text(at, digits.as_bytes())
    }

    pub(crate) fn link(&mut self, target: &str) -> &mut Self {
        self.text(157, target.as_bytes())
    }

    pub(crate) fn mode(&mut self, mode: u64) -> &mut Self {
        self.octal(100, 8, mode)
    }

    pub(crate) fn device(&mut self, major: u64, minor: u64) -> &mut Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    pub(crate) fn gnu(&mut self) -> &mut Self {
        self.text(257, b"ustar  \0")
    }

    pub(crate) fn sealed(&self) -> [u8; BLOCK] {
        let mut block = self.0;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// An archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Forge(pub(crate) Vec<u8>);

impl Forge {
    pub(crate) fn member(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(&header.sealed());
        self.padded(content)
    }

    pub(crate) fn padded(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(&Header::new(b'0', name, content.len() as u64), content)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.member(Header::new(b'5', name, 0).mode(0o755), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(Header::new(b'2', name, 0).link(target), b"")
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.member(Header::new(b'1', name, 0).link(target), b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.member(&Header::new(b'x', "PaxHeaders/x", content.len() as u64), &content)
    }

    pub(crate) fn long(self, flag: u8, text: &[u8]) -> Self {
        let content = [text, b"\0"].concat();
        self.member(Header::new(flag, "././@LongLink", content.len() as u64).gnu(), &content)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }
}

/// One PAX record, its length counting itself.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
