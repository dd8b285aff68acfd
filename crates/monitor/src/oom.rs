//! Hearing of the kernel's OOM killer, live and at exit.
//!
//! v2: `memory.events` is readable and signals changes as `EPOLLPRI`. v1: an eventfd registered for `memory.oom_control`
//! is signalled when the killer starts, before its counter moves, so the counter is looked at again a little later.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};

use crate::cgroup::Memory;
use crate::poll::{Poll, Source};

/// How long the killer may take from its notification to its counter (v1).
const SETTLING: Duration = Duration::from_millis(50);

pub(crate) struct OomWatch {
    /// The file with the `oom_kill` counter.
    counter: OwnedFd,
    /// What epoll watches in v1.
    event: Option<OwnedFd>,
    seen: u64,
    /// When to look again.
    pub(crate) recheck: Option<Instant>,
}

impl OomWatch {
    /// Starts watching a group; kills from before count as seen.
    pub(crate) fn start(memory: &Memory, poll: &Poll, container: u32) -> io::Result<Self> {
        let (counter, event) = match memory {
            Memory::V2(group) => (open(&group.join("memory.events"), OFlags::RDONLY)?, None),
            Memory::V1(group) => {
                let control = open(&group.join("memory.oom_control"), OFlags::RDONLY)?;
                let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let register = open(&group.join("cgroup.event_control"), OFlags::WRONLY)?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                rustix::io::write(&register, line.as_bytes())?;
                (control, Some(event))
            }
        };
        let mut watch = Self { counter, event, seen: 0, recheck: None };
        watch.seen = watch.count().unwrap_or(0);
        match &watch.event {
            Some(event) => poll.add(event, Source::Oom(container), EventFlags::IN)?,
            None => poll.add(&watch.counter, Source::Oom(container), EventFlags::PRI)?,
        }
        Ok(watch)
    }

    /// Something happened in the group.
    pub(crate) fn event(&mut self, poll: &Poll) {
        match &self.event {
            Some(event) => {
                // Only resets the level; the count of notifications has no meaning of its own.
                rustix::io::read(event, &mut [0u8; 8]).ok();
                self.recheck = Some(Instant::now() + SETTLING);
            }
            // Reading re-arms the file. When the group is gone it would signal for ever.
            None if self.count().is_none() => poll.remove(&self.counter),
            None => {}
        }
    }

    /// Whether a process was killed since the last call.
    pub(crate) fn killed(&mut self) -> bool {
        let Some(count) = self.count() else { return false };
        std::mem::replace(&mut self.seen, count) < count
    }

    pub(crate) fn close(self, poll: &Poll) {
        poll.remove(self.event.as_ref().unwrap_or(&self.counter));
    }

    fn count(&self) -> Option<u64> {
        let mut text = [0u8; 1024];
        let read = rustix::io::pread(&self.counter, &mut text, 0).ok()?;
        parse(std::str::from_utf8(text.get(..read)?).ok()?)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_from_both_formats() {
        assert_eq!(parse("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(parse("oom_kill_disable 1\nunder_oom 0\n"), None);
    }
}
