//! Members as this crate writes them: ustar (POSIX.1-1988), and PAX records (POSIX.1-2001) for what does not fit.

use std::io;

use super::BLOCK;

const NAME_LENGTH: usize = 100;
/// Largest values of the octal fields: 7 digits for ids, 11 for sizes and times.
const LARGEST_ID: u32 = 0o777_7777;
const LARGEST_LONG: u64 = 0o777_7777_7777;

/// What a member's header says. Names are bytes, as on the file system.
#[derive(Debug, Clone, Default)]
pub struct Heading<'a> {
    /// Type flag: `0` file, `1` hard link, `2` symbolic link, `3` and `4` devices, `5` directory, `6` FIFO.
    pub flag: u8,
    /// Path without a leading `/`.
    pub name: &'a [u8],
    /// Where a link leads.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes of content.
    pub size: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, in the order they are to be written.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Heading<'_> {
    /// The header block, with a PAX header before it where one is needed.
    pub fn blocks(&self) -> Vec<u8> {
        let records = self.records();
        let mut blocks = Vec::new();
        if !records.is_empty() {
            let pax = Heading {
                flag: b'x',
                name: b"PaxHeaders.0/member",
                mode: 0o644,
                size: records.len() as u64,
                ..Heading::default()
            };
            blocks.extend(pax.block());
            blocks.extend(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        blocks.extend(self.block());
        blocks
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |key: &[u8], value: &[u8]| record(&mut records, key, value);
        if self.name.len() > NAME_LENGTH {
            add(b"path", self.name);
        }
        if self.link.len() > NAME_LENGTH {
            add(b"linkpath", self.link);
        }
        for (key, id) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if id > LARGEST_ID {
                add(key.as_bytes(), id.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = self.mtime;
        if nanoseconds != 0 || u64::try_from(seconds).is_ok_and(|seconds| seconds > LARGEST_LONG) {
            // Times before 1970 count their fraction backwards; they are given in whole seconds (`block`).
            if seconds >= 0 {
                add(b"mtime", format!("{seconds}.{nanoseconds:09}").trim_end_matches('0').as_bytes());
            }
        }
        for (name, value) in self.xattrs {
            add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        records
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(NAME_LENGTH)]);
        let id = |id: u32| format!("{:07o}\0", if id > LARGEST_ID { 0 } else { id });
        let long = |long: u64| format!("{:011o}\0", if long > LARGEST_LONG { 0 } else { long });
        put(100, format!("{:07o}\0", self.mode & 0o7777).as_bytes());
        put(108, id(self.owner.0).as_bytes());
        put(116, id(self.owner.1).as_bytes());
        put(124, &size_field(self.size));
        put(136, long(u64::try_from(self.mtime.0).unwrap_or_default()).as_bytes());
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(NAME_LENGTH)]);
        put(257, b"ustar\x0000");
        if matches!(self.flag, b'3' | b'4') {
            put(329, id(self.device.0).as_bytes());
            put(337, id(self.device.1).as_bytes());
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Octal, and GNU's base-256 for what eleven digits cannot hold: so the header of a member has one length whatever the
/// size, and can be put in once the size is known.
fn size_field(size: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if size > LARGEST_LONG {
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
    } else {
        field.copy_from_slice(format!("{size:011o}\0").as_bytes());
    }
    field
}

/// `length key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").as_bytes());
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// The zeros between the end of `size` bytes of content and the next block.
pub fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { &[] } else { &ZEROS[over..] }
}

/// Writes the end of an archive: two blocks of zeros.
///
/// # Errors
/// An error of writing.
pub fn write_end(output: &mut dyn io::Write) -> io::Result<()> {
    output.write_all(&[0; 2 * BLOCK])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Entry, Kind, Reader};

    #[test]
    fn what_a_heading_says_is_what_the_strict_reader_sees() {
        let long = [b'n'; 150];
        let xattrs = [(b"user.a".to_vec(), b"v\n=".to_vec())];
        for (name, size, owner, mtime) in [
            (&b"f"[..], 0, (0, 0), (0, 0)),
            (&long[..], 9 << 30, (3_000_000, 4_000_000_000), (1_700_000_000, 1_500)),
            (&long[..100], LARGEST_LONG, (LARGEST_ID, 1), (LARGEST_LONG as i64 + 1, 0)),
            (&long[..101], LARGEST_LONG + 1, (1, LARGEST_ID + 1), (1, 999_999_999)),
        ] {
            let heading = Heading {
                flag: b'0',
                name,
                mode: 0o4755,
                owner,
                size,
                mtime,
                xattrs: &xattrs,
                ..Heading::default()
            };
            let blocks = heading.blocks();
            let mut reader = Reader::new(&blocks[..]);
            let mut entry = Entry::default();
            assert!(reader.next(&mut entry).unwrap());
            assert_eq!((entry.name.as_slice(), entry.kind, entry.size), (name, Kind::File, size));
            assert_eq!((entry.uid, entry.gid, entry.mode), (owner.0, owner.1, 0o4755));
            assert_eq!((entry.mtime.seconds, entry.mtime.nanoseconds), mtime);
            assert_eq!(entry.xattrs.len(), 1);
        }
        assert!(padding(512).is_empty() && padding(0).is_empty());
        assert_eq!((padding(1).len(), padding(511).len()), (511, 1));
    }
}
