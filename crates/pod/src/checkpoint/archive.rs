//! Writing tar archives: pax headers where the old ones are too small (POSIX.1-2017, pax).

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Size of a header, and what contents are padded to.
const BLOCK: usize = 512;
const BLOCK64: u64 = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this text.
    Symlink(&'a Path),
    /// A FIFO.
    Fifo,
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
}

/// Who may do what with an entry, and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Seconds since the Unix epoch.
    pub(super) modified: i64,
}

/// An archive being written.
#[derive(Debug)]
pub(super) struct Archive<W> {
    output: W,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output }
    }

    /// Adds an entry without content.
    pub(super) fn add(&mut self, path: &Path, kind: Kind<'_>, meta: Meta) -> io::Result<()> {
        let name = path.as_os_str().as_bytes();
        let link = match kind {
            Kind::Symlink(target) => target.as_os_str().as_bytes(),
            _ => b"",
        };
        let mut records = Vec::new();
        if name.len() > 100 {
            record(&mut records, "path", name);
        }
        if link.len() > 100 {
            record(&mut records, "linkpath", link);
        }
        for (key, number, digits) in [("uid", meta.uid, 7), ("gid", meta.gid, 7)] {
            if octal(number.into(), digits).is_none() {
                record(&mut records, key, number.to_string().as_bytes());
            }
        }
        let size = match kind {
            Kind::File(size) => size,
            _ => 0,
        };
        if octal(size, 11).is_none() {
            record(&mut records, "size", size.to_string().as_bytes());
        }
        if !records.is_empty() {
            let extended = Header { name: b"pax", link: b"", type_flag: b'x', size: records.len() as u64 };
            self.output.write_all(&extended.bytes(Meta { mode: 0o600, ..meta }, (0, 0)))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let (type_flag, device) = match kind {
            Kind::File(_) => (b'0', (0, 0)),
            Kind::Directory => (b'5', (0, 0)),
            Kind::Symlink(_) => (b'2', (0, 0)),
            Kind::Fifo => (b'6', (0, 0)),
            Kind::Character(major, minor) => (b'3', (major, minor)),
            Kind::Block(major, minor) => (b'4', (major, minor)),
        };
        self.output.write_all(&Header { name, link, type_flag, size }.bytes(meta, device))
    }

    /// Adds a file of `size` bytes. One that has shrunk meanwhile is filled with zeros, one that has grown is cut.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        meta: Meta,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.add(path, Kind::File(size), meta)?;
        let copied = io::copy(&mut content.take(size), &mut self.output)?;
        io::copy(&mut io::repeat(0).take(size - copied), &mut self.output)?;
        self.pad(size)
    }

    /// Adds a file from memory.
    pub(super) fn add_text(&mut self, path: &str, meta: Meta, content: &[u8]) -> io::Result<()> {
        self.add_file(Path::new(path), meta, content.len() as u64, content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = size % BLOCK64;
        if over == 0 {
            return Ok(());
        }
        io::copy(&mut io::repeat(0).take(BLOCK64 - over), &mut self.output).map(drop)
    }
}

/// One pax record: its own length in decimal, key and value.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A number in so many octal digits, if it fits.
fn octal(number: u64, digits: usize) -> Option<String> {
    let text = format!("{number:0digits$o}");
    (text.len() == digits).then_some(text)
}

struct Header<'a> {
    name: &'a [u8],
    link: &'a [u8],
    type_flag: u8,
    size: u64,
}

impl Header<'_> {
    /// The block; what does not fit stands in the pax records before it.
    fn bytes(&self, meta: Meta, device: (u32, u32)) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, length: usize, text: &[u8]| {
            for (place, byte) in block.iter_mut().skip(at).take(length).zip(text) {
                *place = *byte;
            }
        };
        let number = |value: u64, digits: usize| octal(value, digits).unwrap_or_else(|| "7".repeat(digits));
        put(0, 100, self.name);
        put(100, 7, number(u64::from(meta.mode & 0o7777), 7).as_bytes());
        put(108, 7, number(meta.uid.into(), 7).as_bytes());
        put(116, 7, number(meta.gid.into(), 7).as_bytes());
        put(124, 11, number(self.size, 11).as_bytes());
        put(136, 11, number(u64::try_from(meta.modified).unwrap_or(0), 11).as_bytes());
        put(148, 8, b"        ");
        put(156, 1, &[self.type_flag]);
        put(157, 100, self.link);
        put(257, 8, b"ustar\x0000");
        put(329, 7, number(device.0.into(), 7).as_bytes());
        put(337, 7, number(device.1.into(), 7).as_bytes());
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let text = format!("{sum:06o}\0 ");
        for (place, byte) in block.iter_mut().skip(148).zip(text.bytes()) {
            *place = byte;
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn tar_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        let mut archive = Archive::new(std::fs::File::create(&file).unwrap());
        let meta = Meta { mode: 0o640, uid: 5_000_000, gid: 7, modified: 1_700_000_000 };
        let long = "d/".repeat(80) + "file";
        archive.add(Path::new("dir"), Kind::Directory, Meta { mode: 0o755, ..meta }).unwrap();
        archive.add_text("dir/short", meta, b"hello").unwrap();
        archive.add_text(&long, meta, &[b'x'; 1024]).unwrap();
        archive.add(Path::new("link"), Kind::Symlink(Path::new(&long)), meta).unwrap();
        archive.add(Path::new("fifo"), Kind::Fifo, meta).unwrap();
        archive.add_file(Path::new("shrunk"), meta, 600, &b"ab"[..]).unwrap();
        archive.add_file(Path::new("grown"), meta, 2, &b"abc"[..]).unwrap();
        archive.finish().unwrap();

        let target = dir.path().join("out");
        std::fs::create_dir(&target).unwrap();
        let output = Command::new("tar").arg("-xpf").arg(&file).arg("-C").arg(&target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| std::fs::read(target.join(name)).unwrap();
        assert_eq!(read("dir/short"), b"hello");
        assert_eq!(read(&long), [b'x'; 1024]);
        assert_eq!(read("shrunk"), [b"ab".as_slice(), &[0; 598]].concat());
        assert_eq!(read("grown"), b"ab");
        assert_eq!(std::fs::read_link(target.join("link")).unwrap(), Path::new(&long));
        let listed = Command::new("tar").arg("--numeric-owner").arg("-tvf").arg(&file).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.lines().any(|line| line.starts_with("-rw-r----- 5000000/7") && line.ends_with("short")),
            "{listed}"
        );
        assert!(listed.lines().any(|line| line.starts_with('p')), "{listed}");
    }

    #[test]
    fn a_records_length_counts_itself() {
        for length in [1, 5, 90, 91, 92, 93, 94, 95, 989, 990, 991, 992, 9990] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; length]);
            let text = String::from_utf8(records.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), records.len());
        }
    }
}
