//! Processes of a tree of groups, and removing the tree.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::{CgroupError, files};

/// A container may make groups inside its own; deeper or wider trees than this are not walked.
const MAX_DEPTH: usize = 64;
const MAX_GROUPS: usize = 100_000;

/// How long a group may stay busy after its last process died.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The group and all below it, parents first.
fn tree(top: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = Vec::new();
    let mut pending = vec![(top.to_owned(), 0)];
    while let Some((path, depth)) = pending.pop() {
        let directory = match files::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
            Ok(directory) => directory,
            Err(error) if files::is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        let access =
            |source: Errno| CgroupError::Access { action: "read", path: path.clone(), source: source.into() };
        for entry in rustix::fs::Dir::read_from(&directory).map_err(access)? {
            let entry = entry.map_err(access)?;
            let name = entry.file_name().to_bytes();
            let is_group =
                entry.file_type() == rustix::fs::FileType::Directory && name != b"." && name != b"..";
            if is_group && depth < MAX_DEPTH && pending.len() + found.len() < MAX_GROUPS {
                pending.push((path.join(std::ffi::OsStr::new(&*String::from_utf8_lossy(name))), depth + 1));
            }
        }
        found.push(path);
    }
    Ok(found)
}

pub(super) fn list(top: &Path) -> Result<Vec<i32>, CgroupError> {
    let mut pids = Vec::new();
    for group in tree(top)? {
        match files::read(&group.join("cgroup.procs")) {
            Ok(text) => {
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0))
            }
            // A threaded group has no list of processes of its own; its parent's has them.
            Err(CgroupError::Access { source, .. })
                if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
            Err(error) if files::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pids)
}

pub(super) fn signal(pids: &[i32], signal: i32) -> Result<(), CgroupError> {
    let found = Signal::from_named_raw(signal).or_else(|| ochre_sys::exec::realtime_signal(signal));
    let Some(signal) = found else {
        return Err(CgroupError::Invalid { field: "signal", value: signal.to_string() });
    };
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // A process that ended meanwhile needs no signal.
        drop(rustix::process::kill_process(pid, signal).map_err(io::Error::from));
    }
    Ok(())
}

pub(super) fn remove_tree(top: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    let mut pause = Duration::from_micros(500);
    loop {
        let error = match remove_once(top) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.raw_os_error() != Some(Errno::BUSY.raw_os_error()) || Instant::now() >= deadline {
            return Err(CgroupError::Access { action: "remove", path: top.to_owned(), source: error });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the group; only when that fails is it walked for groups below.
fn remove_once(top: &Path) -> io::Result<()> {
    let rmdir = |path: &Path| match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    };
    if rmdir(top).is_ok() {
        return Ok(());
    }
    for group in tree(top).map_err(|_| io::Error::from(Errno::BUSY))?.iter().rev() {
        rmdir(group)?;
    }
    Ok(())
}
