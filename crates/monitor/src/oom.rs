//! Hearing of the kernel's OOM killer, live and at exit.
//!
//! v2: `memory.events` is readable and signals changes as `EPOLLPRI`. v1: an eventfd registered for `memory.oom_control`
//! is signalled when the killer starts, before its counter moves, so the counter is looked at again a little later.
//!
//! systemd removes the group of a scope as soon as its last process is gone, which may be before anybody has read the
//! counter. The slice above counts the kills of all groups in it, so where a scope's counter is gone, the slice's decides.

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
    /// The counter of the slice that holds the group.
    slice: Option<SliceCounter>,
    /// When to look again.
    pub(crate) recheck: Option<Instant>,
}

impl OomWatch {
    /// Starts watching a group; kills from before count as seen.
    pub(crate) fn start(memory: &Memory, poll: &Poll, container: u32) -> io::Result<Self> {
        let (counter, event, slice) = match memory {
            Memory::V2(group) => {
                (open(&group.join("memory.events"), OFlags::RDONLY)?, None, SliceCounter::above(group))
            }
            Memory::V1(group) => {
                let control = open(&group.join("memory.oom_control"), OFlags::RDONLY)?;
                let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let register = open(&group.join("cgroup.event_control"), OFlags::WRONLY)?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                rustix::io::write(&register, line.as_bytes())?;
                (control, Some(event), None)
            }
        };
        let mut watch = Self { counter, event, seen: 0, slice, recheck: None };
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

    /// Whether the group is gone and its slice has counted a kill that nobody has claimed.
    pub(crate) fn killed_unseen(&self) -> bool {
        self.count().is_none() && self.slice.as_ref().is_some_and(SliceCounter::grew)
    }

    /// Another container of the pod has claimed what its slice has counted.
    pub(crate) fn claimed(&mut self) {
        if let Some(slice) = &mut self.slice {
            slice.seen = count(&slice.counter).unwrap_or(slice.seen);
        }
    }

    fn count(&self) -> Option<u64> {
        count(&self.counter)
    }
}

/// `memory.events` of a slice.
struct SliceCounter {
    counter: OwnedFd,
    seen: u64,
}

impl SliceCounter {
    /// That of the innermost slice around a group.
    fn above(group: &Path) -> Option<Self> {
        let slice = group.ancestors().skip(1).find(|path| path.extension().is_some_and(|e| e == "slice"))?;
        // The outermost slice of a container in a container may have none.
        let counter = open(&slice.join("memory.events"), OFlags::RDONLY).ok()?;
        let seen = count(&counter)?;
        Some(Self { counter, seen })
    }

    fn grew(&self) -> bool {
        count(&self.counter).is_some_and(|now| now > self.seen)
    }
}

fn count(counter: &OwnedFd) -> Option<u64> {
    let mut text = [0u8; 1024];
    let read = rustix::io::pread(counter, &mut text, 0).ok()?;
    parse(std::str::from_utf8(text.get(..read)?).ok()?)
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

    #[test]
    fn a_slice_tells_of_a_kill_in_a_group_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let slice = directory.path().join("kubepods-pod1.slice");
        let group = slice.join("crio-1.scope/container");
        std::fs::create_dir_all(&group).unwrap();
        assert!(SliceCounter::above(&group).is_none(), "without the memory controller");
        let write = |kills: u32| {
            std::fs::write(slice.join("memory.events"), format!("max 9\noom 9\noom_kill {kills}\n")).unwrap();
        };
        write(3);
        let counter = SliceCounter::above(&group).unwrap();
        assert!(!counter.grew());
        write(4);
        assert!(counter.grew());
        assert!(SliceCounter::above(Path::new("/crio/crio-1")).is_none());
    }
}
