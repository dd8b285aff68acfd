//! PAX extended header records: `length key=value\n`, strictly.
//!
//! Values are bytes. `path`, `linkpath`, `size` and `GNU.sparse.*` decide what is read from where, so a repeated or
//! empty one is refused (readers differ whether the first, the last or none counts). Other unknown keys are ignored,
//! as POSIX asks. `LIBARCHIVE.xattr.*` repeats what bsdtar also writes as `SCHILY.xattr.*` and is ignored, as in Go.

use super::ModificationTime;
use super::error::Fault;

type Bytes = Vec<u8>;

/// The records that mean something here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Bytes>,
    pub(super) link: Option<Bytes>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<ModificationTime>,
    pub(super) xattrs: Vec<(Bytes, Bytes)>,
    pub(super) sparse: SparseRecords,
}

/// `GNU.sparse.*` as written; `super::sparse` makes sense of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Bytes>,
    pub(super) size: Option<u64>,
    pub(super) real_size: Option<u64>,
    pub(super) blocks: Option<u64>,
    /// Format 0.1: all numbers in one record.
    pub(super) map: Option<Vec<u64>>,
    /// Format 0.0: repeated `offset`, `numbytes` records in turn.
    pub(super) pairs: Vec<u64>,
}

/// Parses the content of an `x` header.
pub(super) fn parse(content: &[u8]) -> Result<Records, Fault> {
    let mut records = Records::default();
    for_each(content, |key, value, at| records.take(key, value, at))?;
    Ok(records)
}

/// Checks the form of a `g` header. Its values are ignored, as in Go: git writes only a comment.
pub(super) fn check(content: &[u8]) -> Result<(), Fault> {
    for_each(content, |_, _, _| Ok(()))
}

fn for_each<'a>(
    content: &'a [u8],
    mut take: impl FnMut(&'a [u8], &'a [u8], usize) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut at = 0;
    while let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty()) {
        let fault = Fault::PaxRecord { at };
        let (key, value, length) = record(rest).ok_or(fault)?;
        take(key, value, at)?;
        at += length;
    }
    Ok(())
}

fn record(rest: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let space = rest.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(rest.get(..space)?)?).ok()?;
    let body = rest.get(space + 1..length)?;
    let (newline, body) = body.split_last()?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    (*newline == b'\n' && !key.is_empty() && !key.contains(&0)).then_some((key, value, length))
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8], at: usize) -> Result<(), Fault> {
        let fault = || Fault::PaxRecord { at };
        match key {
            b"path" => set(&mut self.path, Some(name(value).ok_or_else(fault)?), key),
            b"linkpath" => set(&mut self.link, Some(name(value).ok_or_else(fault)?), key),
            b"size" => set(&mut self.size, Some(decimal(value).ok_or_else(fault)?), key),
            b"uid" if !value.is_empty() => set(&mut self.uid, Some(id(value).ok_or_else(fault)?), key),
            b"gid" if !value.is_empty() => set(&mut self.gid, Some(id(value).ok_or_else(fault)?), key),
            b"mtime" if !value.is_empty() => set(&mut self.mtime, Some(time(value).ok_or_else(fault)?), key),
            // Not used, but a reader that does use them must not be the only one to refuse.
            b"atime" | b"ctime" if !value.is_empty() => time(value).map(drop).ok_or_else(fault),
            b"uname" | b"gname" if value.contains(&0) => Err(fault()),
            b"hdrcharset" if value != b"BINARY" && value != b"ISO-IR 10646 2000 UTF-8" => {
                Err(unsupported(key))
            }
            _ => match (key.strip_prefix(b"SCHILY.xattr."), key.strip_prefix(b"GNU.")) {
                (Some(b""), _) => Err(fault()),
                (Some(xattr), _) => {
                    self.xattrs.push((xattr.to_vec(), value.to_vec()));
                    Ok(())
                }
                (None, Some(gnu)) => self.sparse.take(gnu, value, key, at),
                (None, None) => Ok(()),
            },
        }
    }
}

impl SparseRecords {
    fn take(&mut self, gnu: &[u8], value: &[u8], key: &[u8], at: usize) -> Result<(), Fault> {
        let number = || decimal(value).ok_or(Fault::PaxRecord { at });
        match gnu {
            b"sparse.major" => set(&mut self.major, Some(number()?), key),
            b"sparse.minor" => set(&mut self.minor, Some(number()?), key),
            b"sparse.size" => set(&mut self.size, Some(number()?), key),
            b"sparse.realsize" => set(&mut self.real_size, Some(number()?), key),
            b"sparse.numblocks" => set(&mut self.blocks, Some(number()?), key),
            b"sparse.name" => set(&mut self.name, Some(name(value).ok_or(Fault::PaxRecord { at })?), key),
            b"sparse.map" => {
                let map: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
                set(&mut self.map, Some(map.ok_or(Fault::PaxRecord { at })?), key)
            }
            b"sparse.offset" if self.pairs.len().is_multiple_of(2) => {
                self.pairs.push(number()?);
                Ok(())
            }
            b"sparse.numbytes" if !self.pairs.len().is_multiple_of(2) => {
                self.pairs.push(number()?);
                Ok(())
            }
            _ => Err(unsupported(key)),
        }
    }

    /// Whether any record was there.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>, key: &[u8]) -> Result<(), Fault> {
    if place.is_some() {
        return Err(unsupported(key));
    }
    *place = value;
    Ok(())
}

fn unsupported(key: &[u8]) -> Fault {
    Fault::PaxKey {
        key: String::from_utf8_lossy(key.get(..key.len().min(80)).unwrap_or_default()).into_owned(),
    }
}

fn name(value: &[u8]) -> Option<Bytes> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

/// Decimal digits only: no sign, no blanks, not empty, within 63 bits.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    u64::try_from(value).ok()
}

fn id(value: &[u8]) -> Option<u32> {
    u32::try_from(decimal(value)?).ok()
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Option<ModificationTime> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"0");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |sum, digit| sum * 10 + digit);
    Some(match (negative, nanoseconds) {
        (false, _) => ModificationTime { seconds, nanoseconds },
        (true, 0) => ModificationTime { seconds: -seconds, nanoseconds: 0 },
        (true, _) => ModificationTime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_mean_what_they_say() {
        let records = parse(
            b"12 path=a/b\n19 mtime=-1.250000\n29 SCHILY.xattr.user.k=a=\n\0b\n9 uid=70\n13 size=1234\n",
        );
        let records = records.unwrap();
        assert_eq!(records.path.unwrap(), b"a/b");
        assert_eq!(records.mtime.unwrap(), ModificationTime { seconds: -2, nanoseconds: 750_000_000 });
        assert_eq!(records.xattrs, [(b"user.k".to_vec(), b"a=\n\0b".to_vec())]);
        assert_eq!((records.uid, records.size), (Some(70), Some(1234)));
    }

    #[test]
    fn malformed_records_are_refused() {
        assert!(parse(b"12 path=a/b\n").is_ok());
        for bad in [
            &b"12 path=a/b"[..],
            b"11 path=a/b\n",
            b"13 path=a/b\n",
            b"+12 path=a/b\n",
            b" 12 path=a/b\n",
            b"99999999999999999999 path=a/b\n",
            b"0 path=a\n",
            b"3 \n",
            b"5 =a\n",
            b"8 path1\n",
            b"\n",
        ] {
            assert!(matches!(parse(bad), Err(Fault::PaxRecord { .. })), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn values_that_their_keys_do_not_allow_are_refused() {
        // All lengths here have two digits.
        let record = |text: &str| format!("{} {text}\n", text.len() + 4).into_bytes();
        assert!(parse(&record("comment=a")).is_ok() && parse(&record("uid=4294967295")).is_ok());
        for bad in [
            "path=aaa\0aaa",
            "linkpath=",
            "size=-100000",
            "size=+100000",
            "size=99999999999999999999",
            "uid=4294967296",
            "gid=4294967296",
            "hdrcharset=KOI8-R",
            "GNU.sparse.foo=1",
            "GNU.sparse.numbytes=10",
            "GNU.sparse.map=1,",
            "mtime=100000.x",
            "atime=100000.x",
            "uname=aaaa\0aaa",
            "mtime=99999999999999999999",
            "SCHILY.xattr.=",
        ] {
            assert!(parse(&record(bad)).is_err(), "{bad:?}");
        }
        for key in ["path", "linkpath", "size", "GNU.sparse.major", "hdrcharset=KOI8-R"] {
            let twice = [record(&format!("{key}=100000")), record(&format!("{key}=100000"))].concat();
            assert!(matches!(parse(&twice), Err(Fault::PaxKey { .. })), "{key}");
        }
    }
}
