//! One 512-byte header block.
//!
//! Layouts: POSIX.1-1988 (ustar), GNU tar manual "Basic Tar Format", star(5). A block is read by the fields its magic
//! announces; the checksum may be the sum of signed bytes, as old Sun tars wrote it.

use super::error::Fault;
use super::{BLOCK, ModificationTime};

/// Longest path accepted (Linux `PATH_MAX`).
pub(super) const LONGEST_PATH: usize = 4096;
const LONGEST_COMPONENT: usize = 255;
/// Largest value the 12-byte octal size field holds (11 digits).
const LARGEST_OCTAL_SIZE: u64 = 0o777_7777_7777;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A block whose checksum is right and whose numbers are numbers.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: u64,
    pub(super) mtime: ModificationTime,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) is_gnu: bool,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        let stated = octal(field(block, 148, 8), "checksum")?;
        let (unsigned, signed) = checksums(block);
        if stated != unsigned && stated != signed {
            return Err(Fault::Checksum);
        }
        let layout = layout(block);
        let device = |at, name| if layout == Layout::V7 { Ok(0) } else { number(field(block, at, 8), name) };
        let mode = number(field(block, 100, 8), "mode")?;
        let size = number(field(block, 124, 12), "size")?;
        if layout == Layout::Gnu {
            times_are_numbers(block)?;
        }
        Ok(Self {
            flag: field(block, 156, 1).first().copied().unwrap_or_default(),
            name: full_name(block, layout),
            link: text(field(block, 157, 100)).to_vec(),
            mode: u32::try_from(mode & 0o7777)
                .ok()
                .filter(|_| mode >= 0)
                .ok_or(Fault::Number { field: "mode" })?,
            uid: number(field(block, 108, 8), "uid")?,
            gid: number(field(block, 116, 8), "gid")?,
            size: u64::try_from(size).map_err(|_| Fault::Number { field: "size" })?,
            mtime: ModificationTime { seconds: number(field(block, 136, 12), "mtime")?, nanoseconds: 0 },
            major: device(329, "devmajor")?,
            minor: device(337, "devminor")?,
            is_gnu: layout == Layout::Gnu,
        })
    }

    /// The size that counts: a PAX record always wins, but only where the header could not have said it or says the
    /// same. (RUSTSEC-2026-0067, CVE-2025-62518: readers that disagree here see different members.)
    pub(super) fn size_with(&self, pax: Option<u64>) -> Result<u64, Fault> {
        match pax {
            None => Ok(self.size),
            Some(pax) if pax == self.size || pax > LARGEST_OCTAL_SIZE => Ok(pax),
            Some(pax) => Err(Fault::SizeConflict { header: self.size, pax }),
        }
    }
}

/// Bytes `at..at + length` of the block, which callers keep inside it.
pub(super) fn field(block: &[u8; BLOCK], at: usize, length: usize) -> &[u8] {
    block.get(at..at + length).unwrap_or_default()
}

/// A field's text: up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number field: octal digits between blanks and NULs, or base-256 (first bit set), two's complement.
pub(super) fn number(field: &[u8], name: &'static str) -> Result<i64, Fault> {
    let fault = Fault::Number { field: name };
    let Some((first, rest)) = field.split_first() else { return Err(fault) };
    if first & 0x80 == 0 {
        return octal(field, name);
    }
    // Bit 6 is the sign; extended over bit 7, which was only the marker.
    let mut value: i64 = if first & 0x40 != 0 { -1 } else { 0 };
    let marked = if first & 0x40 != 0 { *first } else { first & 0x7f };
    for byte in std::iter::once(&marked).chain(rest) {
        let shifted = value.checked_mul(256).ok_or_else(|| fault.clone())?;
        value = shifted | i64::from(*byte);
    }
    Ok(value)
}

/// A name that the file system could take, judged without looking at dots.
pub(super) fn check_path(path: &[u8], field: &'static str) -> Result<(), Fault> {
    if path.is_empty() {
        return Err(Fault::Empty { field });
    }
    let component = path.split(|byte| *byte == b'/').map(<[u8]>::len).max().unwrap_or_default();
    if path.len() > LONGEST_PATH || component > LONGEST_COMPONENT {
        return Err(Fault::TooLong {
            field,
            length: if path.len() > LONGEST_PATH { path.len() } else { component },
        });
    }
    Ok(())
}

fn octal(field: &[u8], name: &'static str) -> Result<i64, Fault> {
    let fault = Fault::Number { field: name };
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let (digits, rest) = digits.split_at(digits.iter().position(blank).unwrap_or(digits.len()));
    if !rest.iter().all(blank) {
        return Err(fault);
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'7' => i64::from(digit - b'0'),
            _ => return Err(fault),
        };
        value =
            value.checked_mul(8).and_then(|value| value.checked_add(digit)).ok_or_else(|| fault.clone())?;
    }
    Ok(value)
}

fn checksums(block: &[u8; BLOCK]) -> (i64, i64) {
    let (mut unsigned, mut signed) = (0, 0);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    (unsigned, signed)
}

fn layout(block: &[u8; BLOCK]) -> Layout {
    match (field(block, 257, 6), field(block, 263, 2)) {
        (b"ustar\0", _) if field(block, 508, 4) == b"tar\0" => Layout::Star,
        (b"ustar\0", _) => Layout::Ustar,
        (b"ustar ", b" \0") => Layout::Gnu,
        _ => Layout::V7,
    }
}

fn full_name(block: &[u8; BLOCK], layout: Layout) -> Vec<u8> {
    let name = text(field(block, 0, 100));
    let prefix = match layout {
        Layout::Ustar => text(field(block, 345, 155)),
        Layout::Star => text(field(block, 345, 131)),
        Layout::V7 | Layout::Gnu => &[],
    };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Go before 1.8 wrote part of the name into GNU's time fields; GNU tar reads another name from such a block.
fn times_are_numbers(block: &[u8; BLOCK]) -> Result<(), Fault> {
    number(field(block, 345, 12), "atime")?;
    number(field(block, 357, 12), "ctime")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_or_refused() {
        for (bytes, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"+000644\0", None),
            (b"0x12    ", None),
            (b"12 34   ", None),
            (b"12\x0034\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(number(bytes, "test").ok(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_pax_size_wins_only_where_the_header_cannot_tell() {
        let mut block = [0; BLOCK];
        block[124..135].copy_from_slice(b"00000000012");
        let sum: i64 = checksums(&block).0;
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let header = Header::parse(&block).unwrap();
        assert_eq!(header.size_with(None), Ok(10));
        assert_eq!(header.size_with(Some(10)), Ok(10));
        assert_eq!(header.size_with(Some(1 << 33)), Ok(1 << 33));
        assert_eq!(header.size_with(Some(11)), Err(Fault::SizeConflict { header: 10, pax: 11 }));
    }
}
