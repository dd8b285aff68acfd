//! The processes of a group, and their end.
//!
//! On v2 one write to `cgroup.kill` (Linux 5.14) ends the whole tree at once, forks included. On v1 there is only the
//! loop: read the ids, kill them, until none is left. A process id read from `cgroup.procs` may belong to somebody else
//! a moment later, so a pidfd is opened first and the id must still be in the group after that.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::remove::tree;
use super::{CgroupError, Cgroups, GroupPath, OwnedGroup};
use crate::bounded::read_bounded;

/// Version 1 hierarchies in which a container's processes are looked for; any one of them lists all.
const LISTING: [&str; 5] = ["pids", "freezer", "memory", "cpu", "name=systemd"];
/// 4 million ids, the kernel's `PID_MAX_LIMIT`, of up to 8 bytes.
const MAX_PROCS: u64 = 32 << 20;

impl Cgroups {
    /// The processes of `group` and of all groups below it; empty when it does not exist. 0 stands for a process of
    /// another PID namespace.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn pids(&self, group: &GroupPath) -> Result<Vec<i32>, CgroupError> {
        let Some(directory) = self.listing(group) else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        for directory in tree(&directory)? {
            pids.extend(direct_pids(&directory)?);
        }
        Ok(pids)
    }

    /// Ends every process of the group with SIGKILL and waits until none is left; returns at once for a group that
    /// does not exist.
    ///
    /// # Errors
    /// [`CgroupError::Survivors`] when processes are left after `limit` (uninterruptible sleep), and the errors of
    /// reading and signalling.
    pub fn kill_all(&self, group: &OwnedGroup, limit: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_micros(200);
        let mut killed_at_once = false;
        loop {
            let Some(directory) = self.listing(group.path()) else { return Ok(()) };
            let pids = self.pids(group.path())?;
            if pids.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(CgroupError::Survivors { path: group.path().to_string(), pids });
            }
            if !killed_at_once {
                killed_at_once = self.is_v2() && kill_file(&directory)?;
            }
            if !killed_at_once {
                self.kill_each(group.path(), &pids)?;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn listing(&self, group: &GroupPath) -> Option<PathBuf> {
        LISTING.iter().filter_map(|controller| self.directory(controller, group)).find(|path| path.is_dir())
    }

    fn kill_each(&self, group: &GroupPath, pids: &[i32]) -> Result<(), CgroupError> {
        let held: Vec<(Pid, OwnedFd)> = pids.iter().filter_map(|pid| hold(*pid)).collect();
        let still_there = self.pids(group)?;
        for (pid, pidfd) in held {
            let pid = pid.as_raw_nonzero().get();
            if !still_there.contains(&pid) {
                continue;
            }
            match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => {
                    return Err(CgroupError::Kill { pid, path: group.to_string(), source: error.into() });
                }
            }
        }
        self.thaw(group)
    }

    /// A frozen process does not die: its SIGKILL waits until the group is thawed (version 1 freezer).
    fn thaw(&self, group: &GroupPath) -> Result<(), CgroupError> {
        if self.is_v2() {
            return Ok(());
        }
        let Some(directory) = self.directory("freezer", group) else { return Ok(()) };
        let path = directory.join("freezer.state");
        match std::fs::write(&path, "THAWED") {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CgroupError::Write { path, source })
            }
            _ => Ok(()),
        }
    }
}

fn hold(pid: i32) -> Option<(Pid, OwnedFd)> {
    // Process 1 and this process are in no group of a container unless something is very wrong.
    let pid = Pid::from_raw(pid).filter(|pid| !pid.is_init() && *pid != rustix::process::getpid())?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    Some((pid, pidfd))
}

/// Returns whether the kernel has `cgroup.kill`.
fn kill_file(directory: &Path) -> Result<bool, CgroupError> {
    let path = directory.join("cgroup.kill");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, b"1"));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // Removed meanwhile: nothing is left to kill, the next look will say so.
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(true),
        Err(source) => Err(CgroupError::Write { path, source }),
    }
}

fn direct_pids(directory: &Path) -> Result<Vec<i32>, CgroupError> {
    let path = directory.join("cgroup.procs");
    match read_bounded(&path, MAX_PROCS) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect()),
        // Removed between listing and reading (ENODEV on an open file). EOPNOTSUPP is a threaded v2 group: the
        // processes stand in the domain group above it.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || [Errno::NODEV, Errno::OPNOTSUPP]
                    .iter()
                    .any(|e| error.raw_os_error() == Some(e.raw_os_error())) =>
        {
            Ok(Vec::new())
        }
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}
