//! The client's side of an exec or an attach, and the copying between it and a process.
//!
//! ```text
//!  client ── stdin ──▶ copy_in ──▶ End (pipe, terminal) ──▶ process
//!  client ◀── stdout, stderr ── copy_out ◀── End ◀── process
//! ```
//!
//! A copy holds one buffer and waits for whoever is slower. The end of the process ends its output, although a child may
//! keep the pipe open: what is on the way by then is delivered however slowly the client takes it, what others still
//! write counts for one second.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::SpecialCodeIndex;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long output may still come once the process has ended.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// One read of output.
const CHUNK: usize = 32 << 10;
/// One read of input, of which there is little.
const TYPED: usize = 8 << 10;

/// What a client sends.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What a client gets.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// Asks for the next size of the client's window, as `poll` functions do; `None` when there will be no more.
pub type Sizes = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Size>> + Send>;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The streams of one client; absent ones were not asked for.
pub struct Session {
    /// Its end is the client's half-close.
    pub stdin: Option<Reader>,
    /// Output; that of a terminal is all here.
    pub stdout: Option<Writer>,
    /// The other output of a process without a terminal.
    pub stderr: Option<Writer>,
    /// Whether the client wants a terminal.
    pub terminal: bool,
    /// Sizes of the client's window, for a terminal.
    pub sizes: Sizes,
}

/// The next size of the client's window.
pub(super) async fn next(sizes: &mut Sizes) -> Option<Size> {
    poll_fn(|context| sizes(context)).await
}

/// Our end of a pipe, or the master of a terminal.
pub(super) struct End(AsyncFd<OwnedFd>);

impl End {
    /// Takes a descriptor over.
    #[expect(
        deprecated,
        reason = "what its successor demands (one open file for good) is what an OwnedFd is"
    )]
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(AsyncFd::new(fd)?))
    }

    /// A pipe to read from, and the end of whoever writes.
    pub(super) fn reader() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self::new(read)?, write))
    }

    /// A pipe to write to, and the end of whoever reads.
    pub(super) fn writer() -> io::Result<(Self, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self::new(write)?, read))
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Reads what is there. The buffer is memory only while something comes: most sessions are silent most of the time.
    async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            buffer.resize(CHUNK, 0);
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer[..])?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // How a terminal says that nobody is on the other side any more.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => *buffer = Vec::new(),
            }
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

/// What ends a copy of output.
pub(super) struct Until {
    /// Turns true when the process has ended.
    pub(super) ended: watch::Receiver<bool>,
    /// Bytes that may be on the way by then, beside those in the pipe.
    pub(super) behind: usize,
}

/// What is still copied after the process has ended.
struct Last {
    owed: usize,
    until: Instant,
}

/// How a copy of output has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// Nothing more comes.
    End,
    /// The client takes no more.
    Refused,
}

/// Copies output to the client, then ends the client's stream.
pub(super) async fn copy_out(from: &End, mut to: Writer, mut until: Until) -> Copied {
    let mut buffer = Vec::new();
    let mut last: Option<Last> = None;
    loop {
        if last.is_none() && *until.ended.borrow() {
            let there = rustix::io::ioctl_fionread(from.fd()).unwrap_or(0);
            let owed = usize::try_from(there).unwrap_or(0).saturating_add(until.behind);
            last = Some(Last { owed, until: Instant::now() + DRAIN });
        }
        let read = match &last {
            None => tokio::select! {
                read = from.read(&mut buffer) => read,
                // An error means that whoever would say so is gone, which is the end as well.
                _ = until.ended.wait_for(|ended| *ended) => continue,
            },
            Some(Last { owed: 0, until }) if Instant::now() >= *until => break,
            Some(Last { owed, until }) => {
                let limit = if *owed > 0 { Instant::now() + DRAIN } else { *until };
                match tokio::time::timeout_at(limit, from.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_) => break,
                }
            }
        };
        let Ok(count @ 1..) = read else { break };
        if let Some(last) = &mut last {
            last.owed = last.owed.saturating_sub(count);
        }
        if write(&mut to, buffer.get(..count).unwrap_or_default()).await.is_err() {
            return Copied::Refused;
        }
    }
    // A client that is gone has no use for it.
    drop(to.shutdown().await);
    Copied::End
}

async fn write(to: &mut Writer, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// What ended the copying of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// The client has ended its stream.
    Ended,
    /// The process reads no more.
    Refused,
}

/// Copies the client's input into a pipe, and closes the pipe behind it.
pub(super) async fn copy_in(mut from: Reader, to: End) -> Typed {
    let mut buffer = vec![0; TYPED];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
            return Typed::Refused;
        }
    }
    Typed::Ended
}

/// Copies the client's input to a terminal. A terminal cannot be half-closed: the end is told the way a person at the
/// keyboard tells it, by the end-of-file character.
pub(super) async fn type_in(mut from: Reader, terminal: &End) -> Typed {
    let mut buffer = vec![0; TYPED];
    let mut line_open = false;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        if terminal.write_all(bytes).await.is_err() {
            return Typed::Refused;
        }
        line_open = !matches!(bytes.last(), Some(b'\n' | b'\r'));
    }
    let end =
        rustix::termios::tcgetattr(terminal.fd()).map(|modes| modes.special_codes[SpecialCodeIndex::VEOF]);
    if let Ok(end @ 1..) = end {
        // Behind an unfinished line the first one hands over the line.
        let keys = if line_open { &[end, end][..] } else { &[end][..] };
        drop(terminal.write_all(keys).await);
    }
    Typed::Ended
}

#[cfg(test)]
mod tests;
