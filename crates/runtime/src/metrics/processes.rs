//! Open files of a container's processes, from `/proc`.

use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};

use crate::bounded::read_bounded;

/// Descriptors that are looked at per container; a process may open a million of them.
const MAX_DESCRIPTORS: u64 = 50_000;
/// `/proc/<pid>/limits` has 1.3 KiB.
const MAX_LIMITS: u64 = 64 * 1024;

/// What the processes of a container have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processes {
    /// Descriptors; `None` beyond what is looked at, since a number that stops growing would be a lie.
    pub descriptors: Option<u64>,
    /// Of these, sockets.
    pub sockets: Option<u64>,
    /// Soft limit of open files of the first process; `None` is unlimited or unknown.
    pub open_files_limit: Option<u64>,
}

impl Processes {
    /// Counts for these processes; those that end meanwhile count nothing.
    pub fn read(processes: &[i32], first: i32) -> Self {
        let mut count = Some((0u64, 0u64));
        for pid in processes {
            count = count.and_then(|count| add(*pid, count));
        }
        let limits =
            read_bounded(Path::new(&format!("/proc/{first}/limits")), MAX_LIMITS).unwrap_or_default();
        Self {
            descriptors: count.map(|(all, _)| all),
            sockets: count.map(|(_, sockets)| sockets),
            open_files_limit: open_files(&String::from_utf8_lossy(&limits)),
        }
    }
}

/// Adds a process to (descriptors, sockets); `None` when there are too many.
fn add(pid: i32, (mut all, mut sockets): (u64, u64)) -> Option<(u64, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(format!("/proc/{pid}/fd"), flags, Mode::empty()) else {
        return Some((all, sockets));
    };
    let mut target = Vec::with_capacity(64);
    for entry in Dir::read_from(&directory).into_iter().flatten().flatten() {
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if all == MAX_DESCRIPTORS {
            return None;
        }
        all += 1;
        target.clear();
        if let Ok(link) = rustix::fs::readlinkat(&directory, entry.file_name(), target) {
            sockets += u64::from(link.to_bytes().starts_with(b"socket:["));
            target = link.into_bytes();
        } else {
            target = Vec::with_capacity(64);
        }
    }
    Some((all, sockets))
}

/// `Max open files            1024                 524288               files` (proc_pid_limits(5)).
pub(super) fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
