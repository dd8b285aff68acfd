//! What can go wrong with pods and containers.

use std::path::PathBuf;
use std::sync::Arc;

use ochre_types::{ContainerId, ErrorKind, SandboxId};

/// A failure that several callers of one operation share.
pub type Shared = Arc<Error>;

/// One failure of a pod or container operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No sandbox has this id, and no sandbox id starts with it.
    #[error("pod {id:?} does not exist")]
    NoSuchSandbox {
        /// The id as asked for.
        id: String,
    },
    /// No container has this id, and no container id starts with it.
    #[error("container {id:?} does not exist")]
    NoSuchContainer {
        /// The id as asked for.
        id: String,
    },
    /// Several ids start with this prefix.
    #[error("id {prefix:?} is ambiguous: {count} {object}s start with it; give more characters")]
    Ambiguous {
        /// `pod` or `container`.
        object: &'static str,
        /// The prefix as asked for.
        prefix: String,
        /// How many match.
        count: usize,
    },
    /// The pod's name is taken by a pod that differs or is not ready.
    #[error(
        "pod {namespace}/{name} (uid {uid}, attempt {attempt}) exists already as {id} and is {state}: {hint}"
    )]
    SandboxNameTaken {
        /// Pod name.
        name: String,
        /// Namespace.
        namespace: String,
        /// Uid.
        uid: String,
        /// Attempt.
        attempt: u32,
        /// Who has it.
        id: SandboxId,
        /// The owner's state.
        state: &'static str,
        /// What to try.
        hint: &'static str,
    },
    /// The container's name is taken in its pod.
    #[error("container {name} (attempt {attempt}) exists already in pod {sandbox} as {id}: {hint}")]
    ContainerNameTaken {
        /// Container name.
        name: String,
        /// Attempt.
        attempt: u32,
        /// The pod.
        sandbox: SandboxId,
        /// Who has it.
        id: ContainerId,
        /// What to try.
        hint: &'static str,
    },
    /// A required field is missing.
    #[error("{object}: {field} is missing")]
    Missing {
        /// Which object of the request.
        object: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that can never work.
    #[error("{field} {value:?} is invalid: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Its value, shortened.
        value: String,
        /// What would be right.
        reason: &'static str,
    },
    /// The pod's state does not allow it.
    #[error("pod {id}: {source}")]
    SandboxRefused {
        /// The pod.
        id: SandboxId,
        /// State and event.
        source: crate::sandbox::state::Refused,
    },
    /// The pod is not ready for containers.
    #[error("pod {id} is {state}: containers can be made only in a ready pod")]
    SandboxNotReady {
        /// The pod.
        id: SandboxId,
        /// Its state.
        state: &'static str,
    },
    /// The container's state does not allow it.
    #[error("container {id}: {source}")]
    ContainerRefused {
        /// The container.
        id: ContainerId,
        /// State and event.
        source: crate::container::state::Refused,
    },
    /// The container must run for this.
    #[error("container {id} is {state}, it must be running")]
    ContainerNotRunning {
        /// The container.
        id: ContainerId,
        /// Its state.
        state: &'static str,
    },
    /// The container's processes are being killed; a new one would only be killed as well.
    #[error("container {id}: cannot start exec: container is being killed")]
    BeingKilled {
        /// The container.
        id: ContainerId,
    },
    /// The client of an exec takes no more output.
    #[error("the client has closed its end")]
    ClientGone,
    /// An attached client gets no more output, although the container runs.
    #[error("container {id} has closed its output, or the client was too far behind it and was detached")]
    Detached {
        /// The container.
        id: ContainerId,
    },
    /// Ports can be reached in a ready pod only.
    #[error("pod {id} is {state}: only the ports of a ready pod can be reached")]
    PortsClosed {
        /// The pod.
        id: SandboxId,
        /// Its state.
        state: &'static str,
    },
    /// Nobody answers at a pod's port.
    #[error("connecting to port {port} at localhost of pod {id}")]
    Forward {
        /// The pod.
        id: SandboxId,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A memory limit would be below what is in use.
    #[error("container {id}: cannot decrease memory limit to {limit}: {used} bytes are in use")]
    MemoryInUse {
        /// The container.
        id: ContainerId,
        /// The limit as asked for, bytes.
        limit: i64,
        /// What is in use, bytes.
        used: u64,
    },
    /// The container cannot be checkpointed on this node or now.
    #[error("container {id} cannot be checkpointed: {reason}")]
    NoCheckpoint {
        /// The container.
        id: ContainerId,
        /// What is missing.
        reason: String,
    },
    /// The OCI runtime or CRIU could not make a checkpoint.
    #[error("checkpoint of container {id}: {verb} by {program} {outcome}: {text}")]
    CheckpointFailed {
        /// The container.
        id: ContainerId,
        /// What the runtime was asked.
        verb: &'static str,
        /// The runtime.
        program: PathBuf,
        /// How its run ended.
        outcome: String,
        /// Its words.
        text: String,
    },
    /// The runtime ran over the deadline of a checkpoint and was killed.
    #[error("checkpoint of container {id}: {verb} was not done after {seconds} s")]
    CheckpointTimedOut {
        /// The container.
        id: ContainerId,
        /// What the runtime was asked.
        verb: &'static str,
        /// The time it had.
        seconds: u64,
    },
    /// What a container is to be made from is a checkpoint.
    #[error(
        "image {image} is a checkpoint: restoring is not supported, crio.runtime.enable_criu_support is for making \
         checkpoints only"
    )]
    RestoreOff {
        /// The image or archive as asked for.
        image: String,
    },
    /// The target of a shared PID namespace is not usable.
    #[error(
        "PID namespace target {target:?} of container {name} is not a running container of pod {sandbox}"
    )]
    BadTarget {
        /// The target as asked for.
        target: String,
        /// The container asked for.
        name: String,
        /// The pod.
        sandbox: SandboxId,
    },
    /// A process did not die.
    #[error("container {id}: process {pid} is still alive {seconds} s after SIGKILL")]
    Unkillable {
        /// The container.
        id: ContainerId,
        /// The process.
        pid: i32,
        /// How long ago the signal was sent.
        seconds: u64,
    },
    /// A command ran over its deadline and was killed with everything it started.
    #[error("command {command:?} in container {id} timed out after {seconds} s and was killed")]
    ExecTimedOut {
        /// The container.
        id: ContainerId,
        /// The command's first word.
        command: String,
        /// The deadline.
        seconds: u64,
    },
    /// A file of the engine could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A record on disk cannot be read.
    #[error("record {path} cannot be used: {reason}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A pod could not be taken down completely; the rest was.
    #[error("pod {id} could not be taken down completely: {}", list(.causes))]
    TeardownIncomplete {
        /// The pod.
        id: SandboxId,
        /// Everything that failed.
        causes: Vec<String>,
    },
    /// The operation's task ended without an answer: it panicked or the daemon is stopping.
    #[error("the operation on {object} was interrupted; ask again")]
    Interrupted {
        /// Which object.
        object: String,
    },
    /// A volume's image or artifact cannot be found or used.
    #[error("mount {path:?} of image {image:?}: {source}")]
    VolumeImage {
        /// Path in the container.
        path: String,
        /// The image as asked for.
        image: String,
        /// Why.
        source: ochre_image::Error,
    },
    /// A volume's image cannot be mounted.
    #[error("mount {path:?} of image {image:?}: {source}")]
    VolumeMount {
        /// Path in the container.
        path: String,
        /// The image as asked for.
        image: String,
        /// Why.
        source: ochre_storage::Error,
    },
    /// The image service failed.
    #[error(transparent)]
    Image(#[from] ochre_image::Error),
    /// The image store failed.
    #[error(transparent)]
    Storage(#[from] ochre_storage::Error),
    /// The network failed.
    #[error("network of pod {id}: {source}")]
    Network {
        /// The pod.
        id: SandboxId,
        /// Why.
        source: ochre_network::Error,
    },
    /// The network is not ready for new pods.
    #[error("the network is not ready: {reason}")]
    NetworkNotReady {
        /// Why.
        reason: String,
    },
    /// The specification cannot be made.
    #[error(transparent)]
    Spec(#[from] ochre_runtime::spec::Error),
    /// The handler's runtime cannot do user namespaces.
    #[error(
        "runtime handler {handler} ({version}) cannot run pods with user namespaces: it has no id-mapped mounts \
         (runc 1.2, crun 1.9 and the handler ochre have)"
    )]
    HandlerWithoutUserNamespaces {
        /// The handler.
        handler: String,
        /// What its runtime calls itself.
        version: String,
    },
    /// The root of a pod with a user namespace cannot get to its files.
    #[error(
        "directory {path} keeps a pod with a user namespace from its root file system: others need the right to \
         search it (chmod o+x), or use the handler ochre"
    )]
    NoPassage {
        /// The directory.
        path: PathBuf,
    },
    /// The node cannot do user namespaces.
    #[error("this node cannot run pods with user namespaces: {reason}")]
    NodeWithoutUserNamespaces {
        /// What was missing when it was tried at start.
        reason: String,
    },
    /// The handler is unknown or unusable.
    #[error(transparent)]
    Handler(#[from] ochre_runtime::handler::HandlerError),
    /// A cgroup path is invalid or a cgroup cannot be used.
    #[error(transparent)]
    Cgroup(#[from] ochre_runtime::cgroup::CgroupError),
    /// Namespaces cannot be made.
    #[error(transparent)]
    Namespaces(#[from] ochre_runtime::namespaces::NamespaceError),
    /// A pod's generated files cannot be made.
    #[error(transparent)]
    Files(#[from] ochre_runtime::files::Error),
    /// A kernel parameter is refused.
    #[error(transparent)]
    Sysctl(#[from] ochre_runtime::namespaces::SysctlError),
    /// The monitor or the OCI runtime it ran failed.
    #[error(transparent)]
    Monitor(#[from] ochre_monitor_api::client::Error),
}

fn list(causes: &[String]) -> String {
    causes.join("; ")
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchSandbox { .. } | Self::NoSuchContainer { .. } => ErrorKind::NotFound,
            Self::SandboxNameTaken { .. } | Self::ContainerNameTaken { .. } => ErrorKind::AlreadyExists,
            Self::Ambiguous { .. } | Self::Missing { .. } | Self::Invalid { .. } | Self::BadTarget { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::HandlerWithoutUserNamespaces { .. }
            | Self::NodeWithoutUserNamespaces { .. }
            | Self::NoPassage { .. }
            | Self::SandboxRefused { .. }
            | Self::SandboxNotReady { .. }
            | Self::ContainerRefused { .. }
            | Self::MemoryInUse { .. }
            | Self::NoCheckpoint { .. }
            | Self::RestoreOff { .. }
            | Self::ContainerNotRunning { .. }
            | Self::BeingKilled { .. }
            | Self::PortsClosed { .. } => ErrorKind::FailedPrecondition,
            Self::ClientGone | Self::Detached { .. } | Self::Forward { .. } => ErrorKind::Unavailable,
            Self::Unkillable { .. } | Self::ExecTimedOut { .. } | Self::CheckpointTimedOut { .. } => {
                ErrorKind::Timeout
            }
            Self::CheckpointFailed { .. } => ErrorKind::Internal,
            Self::Io { source, .. } => io_kind(source),
            Self::BadRecord { .. } | Self::TeardownIncomplete { .. } => ErrorKind::Internal,
            Self::Interrupted { .. } | Self::NetworkNotReady { .. } => ErrorKind::Unavailable,
            Self::VolumeImage { source, .. } | Self::Image(source) => source.kind(),
            Self::VolumeMount { source, .. } => source.kind(),
            Self::Storage(source) => source.kind(),
            Self::Network { source, .. } => source.kind(),
            Self::Spec(source) => source.kind(),
            Self::Handler(source) => source.kind(),
            Self::Cgroup(source) => source.kind(),
            Self::Namespaces(source) => source.kind(),
            Self::Files(source) => source.kind(),
            Self::Sysctl(source) => source.kind(),
            Self::Monitor(source) => source.kind(),
        }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    }
}
