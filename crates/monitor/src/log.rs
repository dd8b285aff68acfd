//! The log file of a container, in the kubelet's format, which never makes the container wait.
//!
//! Lines are completed here: what a process wrote without a newline waits in memory for the rest, up to 16 KiB; a longer
//! line is cut into partial records (`P`). A full or broken disk costs lines, never progress: what cannot be written is
//! counted and dropped, and when space returns one record says how much is missing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::poll::Stream;

mod line;

use line::{Tag, push_record};

/// The longest content of one record; the same cut as the other engines make.
const LONGEST: usize = 16 * 1024;
/// Records are collected up to this size before they are written.
const BATCH: usize = 32 * 1024;

/// See the module's text.
pub(crate) struct Log {
    path: Option<PathBuf>,
    file: Option<OwnedFd>,
    partial: [Vec<u8>; 2],
    lost: Option<Lost>,
}

struct Lost {
    bytes: u64,
    error: io::Error,
}

impl Log {
    /// Opens (or makes) the file; without a path everything is dropped silently.
    pub(crate) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.as_deref().map(open).transpose()?;
        Ok(Self { path, file, partial: [Vec::new(), Vec::new()], lost: None })
    }

    /// A log that could not be opened and starts with a loss: output must flow all the same.
    pub(crate) fn broken(path: Option<PathBuf>, error: io::Error) -> Self {
        Self { path, file: None, partial: [Vec::new(), Vec::new()], lost: Some(Lost { bytes: 0, error }) }
    }

    /// Opens the path again after a rotation. On failure the old file stays in use.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = Some(open(path)?);
        }
        Ok(())
    }

    /// Takes output of the container.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.path.is_none() {
            return;
        }
        let now = line::now();
        let mut out = Vec::new();
        let mut partial = std::mem::take(&mut self.partial[index(stream)]);
        while !bytes.is_empty() {
            let room = LONGEST - partial.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            let (tag, content, used) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (Tag::Full, &window[..end], end + 1),
                None if window.len() == room && bytes.get(room) == Some(&b'\n') => {
                    (Tag::Full, window, room + 1)
                }
                None if window.len() == room => (Tag::Partial, window, room),
                None => {
                    partial.extend_from_slice(window);
                    break;
                }
            };
            push_record(&mut out, &now, stream, tag, &[&partial, content]);
            partial.clear();
            bytes = &bytes[used..];
            if out.len() >= BATCH {
                self.store(&out);
                out.clear();
            }
        }
        if !out.is_empty() {
            self.store(&out);
        }
        if !partial.is_empty() {
            partial.shrink_to_fit();
            self.partial[index(stream)] = partial;
        }
    }

    /// Writes out an unfinished line: its stream has ended.
    pub(crate) fn end(&mut self, stream: Stream) {
        let partial = std::mem::take(&mut self.partial[index(stream)]);
        if !partial.is_empty() {
            let mut out = Vec::new();
            push_record(&mut out, &line::now(), stream, Tag::Partial, &[&partial]);
            self.store(&out);
        }
    }

    fn store(&mut self, records: &[u8]) {
        if let Some(lost) = &mut self.lost {
            let text = format!("ochre: {} bytes of log were lost: {}", lost.bytes, lost.error);
            let mut marker = Vec::new();
            push_record(&mut marker, &line::now(), Stream::Stderr, Tag::Full, &[text.as_bytes()]);
            let file = match &self.file {
                Some(file) => Some(file),
                // A log that never opened: the path may work by now.
                None => {
                    self.file = self.path.as_deref().and_then(|path| open(path).ok());
                    self.file.as_ref()
                }
            };
            if file.is_none_or(|file| append(file, &marker).is_err()) {
                lost.bytes += records.len() as u64;
                return;
            }
            self.lost = None;
        }
        let Some(file) = &self.file else { return };
        if let Err(Torn { kept, error }) = append(file, records) {
            self.lost = Some(Lost { bytes: (records.len() - kept) as u64, error });
        }
    }
}

const fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// A regular file and nothing else: a FIFO or device planted there would block or lie.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::from_raw_mode(0o640))?;
    if !FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log path is not a regular file"));
    }
    Ok(file)
}

/// A write stopped; `kept` bytes of whole records are in the file.
struct Torn {
    kept: usize,
    error: io::Error,
}

fn append(file: &OwnedFd, records: &[u8]) -> Result<(), Torn> {
    let mut written = 0;
    while let Some(rest) = records.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(file, rest) {
            Ok(count) => written += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let done = &records[..written];
                let kept = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                if kept < written {
                    cut(file, (written - kept) as u64);
                }
                return Err(Torn { kept, error: error.into() });
            }
        }
    }
    Ok(())
}

/// Takes half a record off the end again: readers of the log must never meet one. This process is the only writer.
fn cut(file: &OwnedFd, excess: u64) {
    if let Ok(stat) = rustix::fs::fstat(file)
        && let Some(size) = u64::try_from(stat.st_size).ok().and_then(|size| size.checked_sub(excess))
    {
        // When even this fails the disk is beyond help and the torn line stays.
        rustix::fs::ftruncate(file, size).ok();
    }
}

#[cfg(test)]
mod tests;
