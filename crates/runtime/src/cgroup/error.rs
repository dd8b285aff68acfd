//! What can go wrong with control groups.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// A failed operation on control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// `/proc/self/mountinfo` could not be read.
    #[error("cannot read /proc/self/mountinfo")]
    Mountinfo {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No control group hierarchy is mounted below `/sys/fs/cgroup`.
    #[error("no control groups are mounted below /sys/fs/cgroup")]
    NotMounted,
    /// The path is not one of a group.
    #[error(
        "cgroup path {path:?} must not contain `.` or `..` parts, control characters or more than 4096 bytes"
    )]
    InvalidPath {
        /// The path.
        path: String,
    },
    /// The systemd driver was given a parent that is no slice.
    #[error("cgroup parent {parent:?} does not end in .slice, which the systemd cgroup driver needs")]
    NotASlice {
        /// The parent.
        parent: String,
    },
    /// The cgroupfs driver was given a systemd slice, so kubelet and engine use different drivers.
    #[error("cgroup parent {parent:?} is a systemd slice, but the engine uses the cgroupfs driver")]
    UnexpectedSlice {
        /// The parent.
        parent: String,
    },
    /// The slice's name cannot be expanded to a path.
    #[error("{slice:?} is not a valid slice name")]
    InvalidSlice {
        /// The slice.
        slice: String,
    },
    /// The systemd driver is configured where systemd does not run.
    #[error(
        "the systemd cgroup driver is configured, but systemd is not running; set cgroup_manager = \"cgroupfs\""
    )]
    NoSystemd,
    /// A file of a group could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of a group could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The group could not be removed for another reason than being in use.
    #[error("cannot remove cgroup {path}")]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The group was still in use when the time for its removal was over.
    #[error("cgroup {path} is still in use")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Processes were left in the group when the time for their end was over.
    #[error("{} processes in cgroup {path} survive SIGKILL, the first is {:?}", pids.len(), pids.first())]
    Survivors {
        /// The group.
        path: String,
        /// Their ids, 0 for those of another PID namespace.
        pids: Vec<i32>,
    },
    /// A process could not be signalled.
    #[error("cannot kill process {pid} of cgroup {path}")]
    Kill {
        /// The process.
        pid: i32,
        /// The group.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// systemd refused or failed.
    #[error("systemd could not act on {unit}")]
    Systemd {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: ochre_systemd::Error,
    },
}

impl CgroupError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Mountinfo { .. } | Self::Read { .. } | Self::Write { .. } => ErrorKind::Internal,
            Self::Remove { .. } | Self::Kill { .. } => ErrorKind::Internal,
            Self::NotMounted | Self::NoSystemd => ErrorKind::FailedPrecondition,
            Self::InvalidPath { .. }
            | Self::NotASlice { .. }
            | Self::UnexpectedSlice { .. }
            | Self::InvalidSlice { .. } => ErrorKind::InvalidArgument,
            Self::Busy { .. } | Self::Survivors { .. } => ErrorKind::Unavailable,
            Self::Systemd { source, .. } => source.kind(),
        }
    }
}
