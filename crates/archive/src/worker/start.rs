//! The engine's side: start a worker, feed it, hear its answer, never wait for ever.
//!
//! ```text
//!   start ──▶ feed … feed ──▶ finish ──▶ what was applied, or why not
//!     └─ dropped at any point: killed and reaped
//! ```

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ochre_sys::spawn::{Child, Program};
use ochre_types::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitIdOptions};

use super::answer::{Answer, LONGEST, chain};
use super::{PROGRAM, STALL};
use crate::apply::{Applied, ApplyOptions};

/// Room of the pipe for the blob; the kernel's default of 64 KiB switches between the two sides too often.
const PIPE: usize = 1 << 20;

/// Why a worker gave no layer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The layer cannot be applied.
    #[error("{message}")]
    Refused {
        /// What kind of failure it is.
        kind: ErrorKind,
        /// The worker's words, causes included.
        message: String,
    },
    /// It could not be started.
    #[error("starting the unpack worker {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended without an answer.
    #[error("the unpack worker ended without an answer: {how}")]
    Died {
        /// How it ended.
        how: String,
    },
    /// It took no bytes or gave no answer for too long and was killed.
    #[error("the unpack worker did not get on for {} s and was killed", after.as_secs())]
    Stalled {
        /// How long it had.
        after: Duration,
    },
    /// The blob could not be read, or the pipe to the worker failed.
    #[error("feeding the unpack worker")]
    Feed {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl WorkerError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Start { .. } | Self::Died { .. } | Self::Feed { .. } => ErrorKind::Internal,
            Self::Stalled { .. } => ErrorKind::Timeout,
        }
    }
}

impl From<crate::apply::Error> for WorkerError {
    /// What a worker would have said.
    fn from(error: crate::apply::Error) -> Self {
        Self::Refused { kind: error.kind(), message: chain(&error) }
    }
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    blob: Option<OwnedFd>,
    answer: OwnedFd,
    reaped: bool,
}

impl Worker {
    /// Starts `program` (an engine's binary, see [`super::main`]) on the layer directory `root`. Blocking.
    ///
    /// # Errors
    /// [`WorkerError::Start`].
    pub fn start(
        program: &Path,
        root: BorrowedFd<'_>,
        tar_split: BorrowedFd<'_>,
        options: &ApplyOptions,
    ) -> Result<Self, WorkerError> {
        let failed = |source: io::Error| WorkerError::Start { program: program.to_owned(), source };
        Self::spawn(program, root, tar_split, options).map_err(failed)
    }

    fn spawn(
        program: &Path,
        root: BorrowedFd<'_>,
        tar_split: BorrowedFd<'_>,
        options: &ApplyOptions,
    ) -> io::Result<Self> {
        let (their_blob, blob) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // A user may have used up what the kernel gives all users; the default works as well.
        rustix::pipe::fcntl_setpipe_size(&blob, PIPE).ok();
        rustix::io::ioctl_fionbio(&blob, true)?;
        let (answer, their_answer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&answer, true)?;
        let text = |text: &str| CString::new(text).map_err(io::Error::from);
        let path = CString::new(program.as_os_str().as_encoded_bytes())?;
        let mut args = vec![text(PROGRAM)?];
        for argument in super::program::arguments(options) {
            args.push(text(&argument)?);
        }
        let log = io::stderr();
        let descriptors = [their_blob.as_fd(), their_answer.as_fd(), log.as_fd(), root, tar_split];
        let child = Program { path: &path, args: &args, env: &[], descriptors: &descriptors }.spawn()?;
        Ok(Self { child, blob: Some(blob), answer, reaped: false })
    }

    /// Hands over the blob and waits for the answer. Blocking; reading `input` has deadlines of its own. After an error
    /// `input` may not be at its end.
    ///
    /// # Errors
    /// See [`WorkerError`]. A layer that was not applied to the end is garbage.
    pub fn run(mut self, input: &mut impl Read) -> Result<Applied, WorkerError> {
        let fed = self.feed(input);
        // Closed: the end of the blob.
        self.blob = None;
        match fed {
            Ok(()) => {}
            // It has ended already, and says why.
            Err(WorkerError::Feed { source }) if source.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
        self.hear()
    }

    fn feed(&self, input: &mut impl Read) -> Result<(), WorkerError> {
        let failed = |source| WorkerError::Feed { source };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let mut left = buffer.get(..count).unwrap_or_default();
            while !left.is_empty() {
                left = left.get(self.write(left)?..).unwrap_or_default();
            }
        }
    }

    /// Writes some of `bytes` as soon as there is room.
    fn write(&self, bytes: &[u8]) -> Result<usize, WorkerError> {
        let failed = |error: Errno| WorkerError::Feed { source: error.into() };
        let Some(blob) = &self.blob else { return Err(failed(Errno::PIPE)) };
        loop {
            match rustix::io::write(blob, bytes) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(blob.as_fd(), PollFlags::OUT, Instant::now() + STALL)?,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn hear(&mut self) -> Result<Applied, WorkerError> {
        let deadline = Instant::now() + STALL;
        let mut text = Vec::new();
        let mut chunk = [0; 16 << 10];
        while text.len() <= LONGEST {
            match rustix::io::read(&self.answer, &mut chunk) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(self.answer.as_fd(), PollFlags::IN, deadline)?,
                Err(error) => return Err(WorkerError::Feed { source: error.into() }),
            }
        }
        let answer = serde_json::from_slice(&text).ok().and_then(Answer::understood);
        match answer {
            Some(answer) => answer.map_err(|(kind, message)| WorkerError::Refused { kind, message }),
            None => Err(WorkerError::Died { how: self.reap() }),
        }
    }

    /// Kills what is left of it and waits; it has nothing that would keep it from dying. How it ended.
    fn reap(&mut self) -> String {
        self.reaped = true;
        // It may have ended already; either way it is waited for.
        drop(rustix::process::pidfd_send_signal(&self.child.pidfd, Signal::KILL).map_err(io::Error::from));
        loop {
            match rustix::process::waitid(
                rustix::process::WaitId::PidFd(self.child.pidfd.as_fd()),
                WaitIdOptions::EXITED,
            ) {
                Ok(Some(status)) => {
                    return match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => format!("exit code {code}"),
                        (None, Some(signal)) => format!("signal {signal}"),
                        (None, None) => "unknown".into(),
                    };
                }
                Err(Errno::INTR) | Ok(None) => {}
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.reaped {
            self.reap();
        }
    }
}

fn wait_for(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> Result<(), WorkerError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).unwrap_or_default();
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)) {
        Ok(0) => Err(WorkerError::Stalled { after: STALL }),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(WorkerError::Feed { source: error.into() }),
    }
}
