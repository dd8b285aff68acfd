//! One epoll instance whose events name what they belong to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// One of the two output streams of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What a descriptor in the epoll set is. Numbers are serials, which are never used twice, so that an event of a
/// descriptor that was closed a moment ago finds nothing instead of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Listener,
    Signals,
    Connection(u32),
    /// A container's output pipe, or its terminal (as stdout).
    Output(u32, Stream),
    /// The writing end of a container's stdin pipe.
    Stdin(u32),
    /// A container's OOM notifications.
    Oom(u32),
    /// The pidfd of an adopted container.
    Process(u32),
    /// Somebody typing into a container.
    Input(u32),
    /// Somebody reading a container's output.
    Sink(u32),
}

impl Source {
    fn token(self) -> u64 {
        let (tag, serial) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Connection(serial) => (2, serial),
            Self::Output(serial, Stream::Stdout) => (3, serial),
            Self::Output(serial, Stream::Stderr) => (4, serial),
            Self::Stdin(serial) => (5, serial),
            Self::Oom(serial) => (6, serial),
            Self::Process(serial) => (7, serial),
            Self::Input(serial) => (8, serial),
            Self::Sink(serial) => (9, serial),
        };
        (tag << 32) | u64::from(serial)
    }

    fn from_token(token: u64) -> Option<Self> {
        let serial = (token & 0xffff_ffff) as u32;
        Some(match token >> 32 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(serial),
            3 => Self::Output(serial, Stream::Stdout),
            4 => Self::Output(serial, Stream::Stderr),
            5 => Self::Stdin(serial),
            6 => Self::Oom(serial),
            7 => Self::Process(serial),
            8 => Self::Input(serial),
            9 => Self::Sink(serial),
            _ => return None,
        })
    }
}

pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(crate) fn add(&self, fd: impl AsFd, source: Source, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(source.token()), interest)?)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, source: Source, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(source.token()), interest)?)
    }

    /// Takes a descriptor out. Needed before closing it, since other processes or spare ends may share its open file,
    /// which would keep it in the set.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It may not be in the set; then there is nothing to do.
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Waits at most `timeout` (for ever without one) and puts what happened into `events`.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What an event belongs to.
pub(crate) fn source(event: &Event) -> Option<Source> {
    Source::from_token(event.data.u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_survives_the_kernel() {
        let serial = u32::MAX;
        for source in [
            Source::Listener,
            Source::Signals,
            Source::Connection(serial),
            Source::Output(1, Stream::Stdout),
            Source::Output(serial, Stream::Stderr),
            Source::Stdin(2),
            Source::Oom(3),
            Source::Process(4),
            Source::Input(5),
            Source::Sink(serial),
        ] {
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
    }
}
