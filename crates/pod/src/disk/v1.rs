//! Version 1 of the records. Frozen once released: a later field is optional, anything else is version 2.

use std::net::IpAddr;
use std::path::PathBuf;

use ochre_runtime::config::{ContainerConfig, SandboxConfig};
use ochre_runtime::namespaces::PodNamespaces;
use ochre_types::{ContainerId, Exit, ImageId, SandboxId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::container::state::ExitReason;
use crate::sandbox::PodResources;

/// The number in the envelope.
pub(crate) const VERSION: u32 = 1;

/// How far a sandbox had come when its record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SandboxPhase {
    /// The intent: its effects may exist or not.
    Creating,
    /// It was ready.
    Ready,
    /// A stop had begun.
    Stopping,
    /// It was stopped.
    Stopped,
    /// A removal had begun.
    Removing,
    /// Its creation failed and could be undone in part only: the rest of its effects may exist.
    Undoing,
}

/// A sandbox and every effect it has on the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    /// Boot during which the volatile effects were made; none of them outlives it.
    pub(crate) boot_id: String,
    pub(crate) created_at: i64,
    pub(crate) phase: SandboxPhase,
    pub(crate) config: SandboxConfig,
    /// Handler after defaulting.
    pub(crate) handler: String,
    /// Pinned namespaces. With one for the network, the network crate keeps what detaching needs.
    pub(crate) namespaces: PodNamespaces,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) pause_pid: Option<i32>,
    pub(crate) log_directory: PathBuf,
    /// What it may use after updates; `None` in records of before.
    #[serde(default)]
    pub(crate) updated: Option<PodResources>,
}

/// How far a container had come when its record was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ContainerPhase {
    /// The intent: its effects may exist or not.
    Creating,
    /// Made; the monitor knows whether it was started since.
    Live { pid: i32, started_at: i64 },
    /// Ended.
    Exited { started_at: i64, exit: ExitRecord, reason: ReasonRecord },
    /// A removal had begun.
    Removing,
}

/// An exit on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub(crate) code: i32,
    pub(crate) finished_at: i64,
    pub(crate) oom_killed: bool,
}

/// Why a container ended, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReasonRecord {
    Process,
    StartFailed(String),
    Lost,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) sandbox: SandboxId,
    pub(crate) created_at: i64,
    pub(crate) phase: ContainerPhase,
    pub(crate) config: ContainerConfig,
    pub(crate) image: ImageRecord,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) stop_signal: i32,
    pub(crate) user: UserRecord,
    /// The runtime's cgroup path argument.
    pub(crate) cgroups_path: String,
    /// Images mounted as volumes.
    #[serde(default)]
    pub(crate) volumes: Vec<VolumeRecord>,
}

/// An image or artifact mounted into a container. Where it is mounted follows from the container's id and the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    /// The volume's number in the request.
    pub(crate) place: usize,
    /// The image or artifact.
    pub(crate) image: ImageId,
}

/// The image a container was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: ImageId,
    /// A name of the image, or its id.
    pub(crate) name: String,
    /// The first repository digest, or the id.
    pub(crate) reference: String,
}

/// The identity the first process got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl From<Exit> for ExitRecord {
    fn from(exit: Exit) -> Self {
        Self { code: exit.code, finished_at: exit.finished_at.nanos(), oom_killed: exit.oom_killed }
    }
}

impl From<ExitRecord> for Exit {
    fn from(exit: ExitRecord) -> Self {
        Self {
            code: exit.code,
            finished_at: Timestamp::from_nanos(exit.finished_at),
            oom_killed: exit.oom_killed,
        }
    }
}

impl From<ExitReason> for ReasonRecord {
    fn from(reason: ExitReason) -> Self {
        match reason {
            ExitReason::Process => Self::Process,
            ExitReason::StartFailed(text) => Self::StartFailed(text),
            ExitReason::Lost => Self::Lost,
        }
    }
}

impl From<ReasonRecord> for ExitReason {
    fn from(reason: ReasonRecord) -> Self {
        match reason {
            ReasonRecord::Process => Self::Process,
            ReasonRecord::StartFailed(text) => Self::StartFailed(text),
            ReasonRecord::Lost => Self::Lost,
        }
    }
}
