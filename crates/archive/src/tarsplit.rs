//! What containers/storage keeps beside a layer as `<id>.tar-split.gz`: the archive without the files' content.
//!
//! gzip over JSON lines. A line of type 2 holds raw bytes of the archive (headers, padding, end marker), a line of
//! type 1 stands for a file's content, to be read from the layer directory and checked against a CRC-64:
//!
//! ```text
//!   {"type":2,"payload":"<base64>","position":0}
//!   {"type":1,"name":"etc/passwd","size":1234,"payload":"<base64 of 8 bytes, CRC-64/ISO big endian>","position":1}
//! ```
//!
//! Podman pushes a layer by putting both together, so the result must be the very archive. Content that no longer
//! is in the layer directory under its archive name at that time (sparse runs, whiteouts with content, a name used
//! twice, a name through a symbolic link, which podman would resolve on the host) is stored as raw bytes instead.
//! Names occur once, as the reader there demands.

pub(crate) mod reassembly;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    payload: Option<&'a str>,
    position: u64,
}

/// Writes the lines of one layer.
pub(crate) struct TarSplit<'w> {
    output: GzEncoder<&'w mut dyn Write>,
    position: u64,
    /// Hashes of names: a collision only stores content as raw bytes.
    names: HashSet<u64>,
    hasher: RandomState,
    crc: u64,
    size: u64,
    base64: String,
    line: Vec<u8>,
}

impl<'w> TarSplit<'w> {
    /// Starts the gzip stream on `output`.
    pub(crate) fn new(output: &'w mut dyn Write) -> Self {
        Self {
            output: GzEncoder::new(output, Compression::fast()),
            position: 0,
            names: HashSet::new(),
            hasher: RandomState::new(),
            crc: 0,
            size: 0,
            base64: String::new(),
            line: Vec::new(),
        }
    }

    /// Raw bytes of the archive.
    pub(crate) fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.base64);
        payload.clear();
        STANDARD.encode_string(bytes, &mut payload);
        let position = self.position;
        let line =
            Line { kind: SEGMENT, name: None, name_raw: None, size: None, payload: Some(&payload), position };
        let result = self.write(&line);
        self.base64 = payload;
        result
    }

    /// Whether a member with the cleaned name `path` may have a line of type 1: only the first one of that name.
    pub(crate) fn claim(&mut self, path: &[u8]) -> bool {
        self.names.insert(self.hasher.hash_one(path))
    }

    /// Content that [`file`](Self::file) will stand for.
    pub(crate) fn content(&mut self, bytes: &[u8]) {
        self.crc = crc64(self.crc, bytes);
        self.size += bytes.len() as u64;
    }

    /// The member `name` (as the archive has it) with the content given since the last call.
    pub(crate) fn file(&mut self, name: &[u8]) -> io::Result<()> {
        let (crc, size) = (std::mem::take(&mut self.crc), std::mem::take(&mut self.size));
        let checksum = STANDARD.encode(crc.to_be_bytes());
        let text = std::str::from_utf8(name).ok();
        let line = Line {
            kind: FILE,
            name: text,
            name_raw: text.is_none().then(|| STANDARD.encode(name)),
            size: (size > 0).then_some(size),
            payload: (size > 0).then_some(&checksum),
            position: self.position,
        };
        self.write(&line)
    }

    /// Ends the gzip stream.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.output.finish()?.flush()
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.output.write_all(&self.line)?;
        self.position += 1;
        Ok(())
    }
}

/// CRC-64/ISO (ISO 3309, reflected), eight bytes a step; the form of Go's `hash/crc64` with its ISO table.
fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut crc = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = word
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
    }
    for byte in rest {
        crc = TABLES[0][usize::from(byte ^ crc.to_le_bytes()[0])] ^ (crc >> 8);
    }
    !crc
}

static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xd800_0000_0000_0000 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut step = 1;
    while step < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[step - 1][byte];
            tables[step][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        step += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_podman_computes() {
        // Check values of CRC-64/ISO as published with Go's hash/crc64.
        for (text, expected) in [
            ("", 0),
            ("a", 0x3420_0000_0000_0000),
            ("ab", 0x36c4_2000_0000_0000),
            ("abc", 0x3776_c420_0000_0000),
        ] {
            assert_eq!(crc64(0, text.as_bytes()), expected, "{text}");
        }
        let long: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
        let bytewise = long.iter().fold(0, |crc, byte| crc64(crc, &[*byte]));
        assert_eq!(crc64(0, &long), bytewise);
        assert_eq!(crc64(crc64(0, &long[..333]), &long[333..]), bytewise);
    }

    #[test]
    fn lines_have_the_stored_form() {
        let mut packed = Vec::new();
        let mut split = TarSplit::new(&mut packed);
        split.segment(b"head").unwrap();
        split.content(b"abc");
        split.file(b"./a<b").unwrap();
        split.file(b"\xff").unwrap();
        split.finish().unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
        let expected = concat!(
            "{\"type\":2,\"payload\":\"aGVhZA==\",\"position\":0}\n",
            "{\"type\":1,\"name\":\"./a<b\",\"size\":3,\"payload\":\"N3bEIAAAAAA=\",\"position\":1}\n",
            "{\"type\":1,\"name_raw\":\"/w==\",\"payload\":null,\"position\":2}\n",
        );
        assert_eq!(text, expected);
    }
}
