//! A container on disk.
//!
//! ```text
//! <root>/<id>/            0700
//!   state.json            what is known, replaced as a whole
//!   config.json           the configuration as it was at create
//!   exec.fifo             exists until `start` claims it by removing it
//! ```
//!
//! ```text
//!  (directory only)  creating ──► created ──► running ⇄ paused ──► stopped ──► (gone)
//! ```
//! The status is not stored: whether the first process lives is asked from the kernel, by id and start time.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cgroup::Groups;
use crate::cli::Id;
use crate::spec::Spec;

/// Version of the runtime specification that the state document declares.
const OCI_VERSION: &str = "1.2.0";
const STATE_FILE: &str = "state.json";
const CONFIG_FILE: &str = "config.json";
const FIFO: &str = "exec.fifo";
const MAX_STATE_SIZE: u64 = 4 << 20;

/// Why the state of a container cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// No such container.
    #[error("container {id} does not exist")]
    NotFound {
        /// The container.
        id: String,
    },
    /// The id is taken.
    #[error("container {id} already exists")]
    Exists {
        /// The container.
        id: String,
    },
    /// Its files cannot be read or written.
    #[error("cannot {action} the state of container {id} in {path}")]
    Access {
        /// What was tried.
        action: &'static str,
        /// The container.
        id: String,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its files are damaged.
    #[error("the state of container {id} is damaged")]
    Damaged {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The verb does not fit its status.
    #[error("container {id} is {status}, it must be {wanted} to {verb}")]
    WrongStatus {
        /// The container.
        id: String,
        /// What it is.
        status: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What was asked for.
        verb: &'static str,
    },
}

impl StateError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::AlreadyExists,
            Self::Access { .. } | Self::Damaged { .. } => ErrorKind::Internal,
            Self::WrongStatus { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being made, or what a `create` that was killed left.
    Creating,
    /// Made; its program waits.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process ended.
    Stopped,
}

impl Status {
    /// As the specification names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The container.
    pub id: String,
    /// Bundle, absolute.
    pub bundle: PathBuf,
    /// Root file system, absolute.
    pub rootfs: PathBuf,
    /// First process, 0 until it exists.
    pub pid: i32,
    /// Its start time in clock ticks since boot, which tells it from a later process with its number.
    pub start_time: u64,
    /// When it was made.
    pub created: String,
    /// Its control groups.
    pub groups: Groups,
    /// Annotations of the configuration.
    pub annotations: BTreeMap<String, String>,
}

/// The state document of the specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciState<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'a str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    annotations: &'a BTreeMap<String, String>,
}

/// An open container.
#[derive(Debug)]
pub struct Container {
    /// What is known.
    pub record: Record,
    directory: OwnedFd,
    path: PathBuf,
}

impl Container {
    /// Makes the directory of a new container and the waiting place of its program.
    ///
    /// # Errors
    /// [`StateError::Exists`], or when it cannot be made.
    pub fn create(root: &Path, record: Record, config: &[u8]) -> Result<Self, StateError> {
        let path = root.join(&record.id);
        let id = record.id.clone();
        let access = |source: io::Error| StateError::Access {
            action: "make",
            id: id.clone(),
            path: path.clone(),
            source,
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(access)?;
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => return Err(StateError::Exists { id }),
            result => result.map_err(|error| access(error.into()))?,
        }
        let directory = open_directory(&path).map_err(access)?;
        let container = Self { record, directory, path };
        let filled = rustix::fs::mkfifoat(&container.directory, FIFO, Mode::from_raw_mode(0o600))
            .map_err(io::Error::from)
            .and_then(|()| {
                atomic::write(&container.directory, CONFIG_FILE, config, 0o600, Durability::Volatile)
            });
        if let Err(source) = filled {
            container.remove()?;
            return Err(container.access("make", source));
        }
        container.save()?;
        Ok(container)
    }

    /// Opens a container.
    ///
    /// # Errors
    /// [`StateError::NotFound`], or when its record cannot be read.
    pub fn open(root: &Path, id: &Id) -> Result<Self, StateError> {
        let path = root.join(id.as_str());
        let id = id.as_str().to_owned();
        let directory = match open_directory(&path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StateError::NotFound { id }),
            Err(source) => return Err(StateError::Access { action: "open", id, path, source }),
        };
        let bytes = read(&directory, STATE_FILE).map_err(|source| StateError::Access {
            action: "read",
            id: id.clone(),
            path: path.clone(),
            source,
        })?;
        let record = serde_json::from_slice(&bytes).map_err(|source| StateError::Damaged { id, source })?;
        Ok(Self { record, directory, path })
    }

    /// Ids of all containers below a state directory.
    ///
    /// # Errors
    /// When the directory cannot be read. One that does not exist has none.
    pub fn ids(root: &Path) -> io::Result<Vec<Id>> {
        let entries = match std::fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| Id::parse(name).ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    fn access(&self, action: &'static str, source: io::Error) -> StateError {
        StateError::Access { action, id: self.record.id.clone(), path: self.path.clone(), source }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(&self.record)
            .map_err(|source| StateError::Damaged { id: self.record.id.clone(), source })?;
        // A reboot ends every container, so the record need not survive one.
        atomic::write(&self.directory, STATE_FILE, &bytes, 0o600, Durability::Volatile)
            .map_err(|source| self.access("write", source))
    }

    /// The configuration it was made from.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self) -> Result<Spec, StateError> {
        let bytes = read(&self.directory, CONFIG_FILE).map_err(|source| self.access("read", source))?;
        serde_json::from_slice(&bytes)
            .map_err(|source| StateError::Damaged { id: self.record.id.clone(), source })
    }

    /// The waiting place, for the first process: it reads from it until `start` writes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_fifo(&self) -> Result<OwnedFd, StateError> {
        // For reading and writing, so that opening does not block and the reader never sees an end.
        rustix::fs::openat(&self.directory, FIFO, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| self.access("open", error.into()))
    }

    /// Lets the program run. Of several callers one succeeds.
    ///
    /// # Errors
    /// [`StateError::WrongStatus`] when it was started before or is dead.
    pub fn release(&self) -> Result<(), StateError> {
        let wrong = |status| StateError::WrongStatus {
            id: self.record.id.clone(),
            status,
            wanted: Status::Created.name(),
            verb: "start",
        };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = match rustix::fs::openat(&self.directory, FIFO, flags, Mode::empty()) {
            Ok(fifo) => fifo,
            Err(Errno::NOENT) => return Err(wrong(Status::Running.name())),
            // Nobody reads: the process that waited there is dead.
            Err(Errno::NXIO) => return Err(wrong(Status::Stopped.name())),
            Err(error) => return Err(self.access("open", error.into())),
        };
        match rustix::fs::unlinkat(&self.directory, FIFO, AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(wrong(Status::Running.name())),
            result => result.map_err(|error| self.access("claim", error.into()))?,
        }
        rustix::io::write(&fifo, b"s").map_err(|error| self.access("start", error.into()))?;
        Ok(())
    }

    /// The first process, if it lives.
    pub fn process(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(self.record.pid)?, PidfdFlags::empty()).ok()?;
        // The descriptor is taken first: what is read after that is about the same process or a dead one.
        let (state, start_time) = process_stat(self.record.pid).ok()?;
        (start_time == self.record.start_time && state != 'Z' && state != 'X').then_some(pidfd)
    }

    /// Where it is in its life.
    pub fn status(&self) -> Status {
        if self.record.pid == 0 {
            return Status::Creating;
        }
        if self.process().is_none() {
            return Status::Stopped;
        }
        if rustix::fs::statat(&self.directory, FIFO, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Status::Created;
        }
        if self.record.groups.is_frozen() { Status::Paused } else { Status::Running }
    }

    /// Fails unless the status is one of those given.
    ///
    /// # Errors
    /// [`StateError::WrongStatus`].
    pub fn require(
        &self,
        allowed: &[Status],
        wanted: &'static str,
        verb: &'static str,
    ) -> Result<Status, StateError> {
        let status = self.status();
        if allowed.contains(&status) {
            return Ok(status);
        }
        Err(StateError::WrongStatus { id: self.record.id.clone(), status: status.name(), wanted, verb })
    }

    /// The state document, with a status of the caller's choice for hooks.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when a path is no text.
    pub fn oci_state(&self, status: Status) -> Result<String, StateError> {
        let pid = if status == Status::Stopped { 0 } else { self.record.pid };
        let state = OciState {
            oci_version: OCI_VERSION,
            id: &self.record.id,
            pid,
            status: status.name(),
            bundle: &self.record.bundle,
            rootfs: &self.record.rootfs,
            created: &self.record.created,
            annotations: &self.record.annotations,
        };
        serde_json::to_string_pretty(&state)
            .map_err(|source| StateError::Damaged { id: self.record.id.clone(), source })
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// When something of it cannot be removed. What is gone already is no error.
    pub fn remove(&self) -> Result<(), StateError> {
        remove_directory(&self.path).map_err(|source| self.access("remove", source))
    }
}

/// Removes the directory of a container whose record cannot be read.
///
/// # Errors
/// When something of it cannot be removed.
pub fn remove_remains(root: &Path, id: &Id) -> Result<(), StateError> {
    let path = root.join(id.as_str());
    remove_directory(&path).map_err(|source| StateError::Access {
        action: "remove",
        id: id.as_str().to_owned(),
        path,
        source,
    })
}

/// Only files that this runtime makes are in it, so there is nothing to descend into.
fn remove_directory(path: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        std::fs::remove_file(entry?.path())?;
    }
    std::fs::remove_dir(path)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn read(directory: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    let copy = rustix::io::fcntl_dupfd_cloexec(directory.as_fd(), 3)?;
    Root::from_fd(copy).read_limited(Path::new(name), MAX_STATE_SIZE)
}

/// State letter and start time of a process (proc_pid_stat(5)).
///
/// # Errors
/// When there is no such process.
pub fn process_stat(pid: i32) -> io::Result<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The command's name, in parentheses, may contain anything; the fields after it are counted from its end.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        let groups = Groups { paths: BTreeMap::new(), scope: None };
        let (bundle, rootfs, annotations) = ("/b".into(), "/r".into(), BTreeMap::new());
        Record {
            id: id.into(),
            bundle,
            rootfs,
            pid: 0,
            start_time: 0,
            created: String::new(),
            groups,
            annotations,
        }
    }

    #[test]
    fn a_command_name_cannot_forge_fields() {
        let stat = "7 (a) R 1 2) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(stat), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn an_id_is_taken_once_and_free_after_removal() {
        let root = tempfile::tempdir().unwrap();
        let id = Id::parse("one").unwrap();
        let container = Container::create(root.path(), record("one"), b"{}").unwrap();
        assert_eq!(container.status(), Status::Creating);
        assert!(matches!(
            Container::create(root.path(), record("one"), b"{}"),
            Err(StateError::Exists { .. })
        ));
        assert_eq!(Container::ids(root.path()).unwrap(), std::slice::from_ref(&id));
        container.remove().unwrap();
        assert!(matches!(Container::open(root.path(), &id), Err(StateError::NotFound { .. })));
    }

    #[test]
    fn a_container_is_started_once_and_only_while_someone_waits() {
        let root = tempfile::tempdir().unwrap();
        let container = Container::create(root.path(), record("one"), b"{}").unwrap();
        assert!(matches!(container.release(), Err(StateError::WrongStatus { status: "stopped", .. })));
        let waiting = container.open_fifo().unwrap();
        container.release().unwrap();
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&waiting, &mut byte).unwrap(), 1);
        assert!(matches!(container.release(), Err(StateError::WrongStatus { status: "running", .. })));
    }

    #[test]
    fn a_process_with_the_same_number_but_another_start_is_not_ours() {
        let root = tempfile::tempdir().unwrap();
        let mut container = Container::create(root.path(), record("one"), b"{}").unwrap();
        container.record.pid = i32::try_from(std::process::id()).unwrap();
        container.record.start_time = process_stat(container.record.pid).unwrap().1;
        assert_eq!(container.status(), Status::Created);
        container.record.start_time += 1;
        assert_eq!(container.status(), Status::Stopped);
    }
}
