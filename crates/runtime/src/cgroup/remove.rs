//! Removing groups: `rmdir` from the deepest up, in every hierarchy.
//!
//! The kernel answers EBUSY for a short time after the last process of a group died, so every `rmdir` is tried again
//! until a deadline; beyond it the group is reported as busy and a later call tries again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::path::is_default_parent;
use super::{CgroupError, Cgroups, Driver, OwnedGroup, parent_group};

/// Deepest nesting below a container that is walked; the kernel allows more, containers do not use it.
const MAX_DEPTH: usize = 64;
/// Most groups below one container that are walked.
const MAX_GROUPS: usize = 65_536;

impl Cgroups {
    /// Removes the group and every group below it from all hierarchies. A group that does not exist is fine.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] when one is still in use after `limit`; the others are removed all the same.
    pub fn remove(&self, group: &OwnedGroup, limit: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + limit;
        let mut first_failure = Ok(());
        for directory in self.directories(group.path()) {
            let removed = tree(&directory)
                .and_then(|groups| groups.iter().rev().try_for_each(|group| remove_one(group, deadline)));
            if first_failure.is_ok() {
                first_failure = removed;
            }
        }
        first_failure
    }
}

impl Cgroups {
    /// Removes the engine's own default parent from all hierarchies where it is empty, for a node without pods. One that
    /// is in use stays, and so does everybody else's group: only an empty directory can be removed.
    pub fn remove_default_parent(&self, driver: Driver) {
        let Ok(parent) = parent_group(driver, "") else { return };
        if is_default_parent(driver, "") {
            for directory in self.directories(&parent) {
                std::fs::remove_dir(directory).ok();
            }
        }
    }
}

/// `root` and all groups below it, every group before those inside it. Empty when `root` does not exist.
pub(super) fn tree(root: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_path_buf(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        if depth > MAX_DEPTH || found.len() > MAX_GROUPS {
            return Err(CgroupError::Busy { path: root.to_path_buf() });
        }
        match subgroups(&directory) {
            Ok(children) => waiting.extend(children.into_iter().map(|child| (child, depth + 1))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(CgroupError::Read { path: directory, source }),
        }
        found.push(directory);
    }
    Ok(found)
}

pub(super) fn subgroups(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}

pub(super) fn remove_one(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let mut pause = Duration::from_millis(1);
    loop {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if is_busy(&error) => {
                if Instant::now() + pause > deadline {
                    return Err(CgroupError::Busy { path: directory.to_path_buf() });
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(source) => return Err(CgroupError::Remove { path: directory.to_path_buf(), source }),
        }
    }
}

pub(super) fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty)
}
