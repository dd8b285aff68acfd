//! Why a spec could not be built. Each variant is one refusal; the engine adds which pod and container it was.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

use crate::namespaces::id_map::IdMapError;
use crate::user;

/// A spec could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the request nor the image names a command.
    #[error("no command specified: neither the request nor image {image} has one")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A privileged container in a pod that was not made for any. The text is CRI-O's.
    #[error("no privileged container allowed in sandbox")]
    PrivilegedInPlainPod,
    /// An exec without a command.
    #[error("no command specified for the exec")]
    NoExecCommand,
    /// Text that cannot stand in a spec: not UTF-8, NUL inside, a line break in `HOME`, an empty name.
    #[error("{field} {name:?}: {reason}")]
    Text {
        /// `environment variable`, `argument`, `annotation`, …
        field: &'static str,
        /// Which one, shortened.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A path of the request or image that must be absolute, without `..`, and outside of special places.
    #[error("{field} {path:?} {reason}")]
    Path {
        /// `working directory`, `container path`, `volume of the image`, …
        field: &'static str,
        /// As given, shortened.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// No identity.
    #[error(transparent)]
    User(#[from] user::Error),
    /// A user name or home directory that no passwd record can hold.
    #[error(transparent)]
    UserRecord(#[from] user::UnsafeField),
    /// A capability name that is none.
    #[error("unknown capability {name:?}")]
    UnknownCapability {
        /// As given.
        name: String,
    },
    /// A number out of range.
    #[error("{field} {value} is out of range")]
    Number {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A memory limit that no process can live with. The text is CRI-O's, which the kubelet's users search for.
    #[error("set memory limit {limit} too low; should be at least {minimum} bytes")]
    MemoryLimit {
        /// What was asked, bytes.
        limit: i64,
        /// The handler's minimum, bytes.
        minimum: u64,
    },
    /// Memory plus swap below memory.
    #[error("memory and swap limit {swap} is lower than the memory limit {memory}")]
    SwapLimit {
        /// Memory plus swap, bytes.
        swap: i64,
        /// Memory, bytes.
        memory: i64,
    },
    /// Something this node cannot do.
    #[error("{what} needs {needs}")]
    Unavailable {
        /// What was asked for.
        what: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// Recursive read-only with the wrong companions.
    #[error("recursive read-only mount {path:?} must also be read-only and have private propagation")]
    RroConflict {
        /// Path in the container.
        path: String,
    },
    /// Recursive read-only with a handler that cannot do it.
    #[error("recursive read-only mount {path:?} is not supported by this runtime handler")]
    RroUnsupported {
        /// Path in the container.
        path: String,
    },
    /// A mount with id mappings and a handler that cannot do it.
    #[error("mount {path:?} with id mappings is not supported by this runtime handler")]
    IdmapUnsupported {
        /// Path in the container.
        path: String,
    },
    /// A volume from an image whose fields do not fit together.
    #[error("mount {path:?}: {reason}")]
    ImageVolume {
        /// Path in the container.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A part of an image that cannot be mounted.
    #[error("mount {path:?}: image_sub_path {sub_path:?} of the image cannot be used")]
    ImageSubPath {
        /// Path in the container.
        path: String,
        /// Path in the image.
        sub_path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount option that is unknown or does not fit the others.
    #[error("mount {path:?}: mount option {option:?} {reason}")]
    MountOption {
        /// Path in the container.
        path: String,
        /// The option.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A device of an annotation that the configuration does not allow.
    #[error("device {path:?} of the annotation is not among allowed_devices")]
    DeviceNotAllowed {
        /// Path on the node, as written.
        path: String,
    },
    /// A CDI device that cannot be given.
    #[error(transparent)]
    Cdi(#[from] crate::cdi::CdiError),
    /// Nothing to mount.
    #[error("mount {path:?} has neither a host path nor an image")]
    NoSource {
        /// Path in the container.
        path: String,
    },
    /// A missing source that may not be made.
    #[error("source {source_path:?} of mount {path:?} does not exist and must not be created")]
    SourceRejected {
        /// Path on the node.
        source_path: PathBuf,
        /// Path in the container.
        path: String,
    },
    /// The source cannot be reached.
    #[error("source {source_path:?} of mount {path:?} cannot be used")]
    Source {
        /// Path on the node.
        source_path: PathBuf,
        /// Path in the container.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Bidirectional propagation from a mount that is not shared.
    #[error("source {source_path:?} of mount {path:?} is on {mount_point:?}, which is not a shared mount")]
    NotShared {
        /// Path on the node.
        source_path: PathBuf,
        /// Path in the container.
        path: String,
        /// The mount it lies on.
        mount_point: PathBuf,
    },
    /// A volume where the kernel's own files must be.
    #[error("container path {path:?} may only be covered by the kernel's own file system")]
    KernelPath {
        /// Path in the container.
        path: String,
    },
    /// A device that cannot be used.
    #[error("device {path:?} cannot be used")]
    Device {
        /// Path on the node.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path that is no device, or permissions other than `r`, `w`, `m`.
    #[error("device {path:?}: {reason}")]
    NotADevice {
        /// Path on the node.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A volume that cannot be given the container's SELinux label.
    #[error("mount {path:?} cannot be relabelled")]
    Relabel {
        /// Path in the container.
        path: String,
        /// Why.
        #[source]
        source: super::selinux::RelabelError,
    },
    /// Id mappings, or what goes with them, cannot be used.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// The container's user or one of its groups is not one of the pod's.
    #[error("{ids} id {id} of the container is not mapped in its pod's user namespace")]
    Unmapped {
        /// `user` or `group`.
        ids: &'static str,
        /// The id.
        id: u32,
    },
    /// A namespace to join that nobody made.
    #[error("the {kind} namespace to join does not exist")]
    MissingNamespace {
        /// `pid`, `network`, …
        kind: &'static str,
    },
    /// A seccomp profile file that cannot be used.
    #[error("seccomp profile {path:?} cannot be read")]
    SeccompRead {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A seccomp profile that is no profile.
    #[error("seccomp profile {path:?} is not valid")]
    SeccompFormat {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A seccomp profile with a word that does not exist.
    #[error("seccomp profile {path:?}: unknown {what} {word:?}")]
    SeccompWord {
        /// The file.
        path: PathBuf,
        /// `action`, `operator`, …
        what: &'static str,
        /// As written.
        word: String,
    },
    /// An AppArmor profile that the kernel does not have.
    #[error("AppArmor profile {name:?} is not loaded")]
    AppArmorProfile {
        /// Its name.
        name: String,
    },
    /// The kernel's list of AppArmor profiles.
    #[error(transparent)]
    AppArmor(#[from] crate::apparmor::Error),
    /// The root file system cannot be prepared.
    #[error("cannot {action} {path:?} in the container's root")]
    Rootfs {
        /// `create`, `read`, …
        action: &'static str,
        /// Path in the container.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the engine's own cannot be read or written.
    #[error("cannot {action} {path:?}")]
    Own {
        /// `write`, `open`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The spec to copy a process from has none.
    #[error("the container's spec has no process")]
    NoProcess,
    /// A value could not be written as JSON.
    #[error("cannot write {what} as JSON")]
    Json {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::User(error) => error.kind(),
            Self::Cdi(error) => error.kind(),
            Self::Relabel { source, .. } => source.kind(),
            Self::AppArmor(error) => error.kind(),
            Self::Rootfs { source, .. } | Self::Own { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                ErrorKind::Exhausted
            }
            Self::NoCommand { .. }
            | Self::NoExecCommand
            | Self::PrivilegedInPlainPod
            | Self::Text { .. }
            | Self::Path { .. }
            | Self::UserRecord(_)
            | Self::UnknownCapability { .. }
            | Self::Number { .. }
            | Self::MemoryLimit { .. }
            | Self::IdMap(_)
            | Self::Unmapped { .. }
            | Self::SwapLimit { .. }
            | Self::Unavailable { .. }
            | Self::RroConflict { .. }
            | Self::RroUnsupported { .. }
            | Self::IdmapUnsupported { .. }
            | Self::ImageVolume { .. }
            | Self::ImageSubPath { .. }
            | Self::MountOption { .. }
            | Self::DeviceNotAllowed { .. }
            | Self::NoSource { .. }
            | Self::SourceRejected { .. }
            | Self::NotShared { .. }
            | Self::KernelPath { .. }
            | Self::Device { .. }
            | Self::NotADevice { .. }
            | Self::SeccompRead { .. }
            | Self::SeccompFormat { .. }
            | Self::SeccompWord { .. }
            | Self::AppArmorProfile { .. }
            | Self::Rootfs { .. } => ErrorKind::InvalidArgument,
            Self::MissingNamespace { .. } | Self::Source { .. } => ErrorKind::FailedPrecondition,
            Self::Own { .. } | Self::NoProcess | Self::Json { .. } => ErrorKind::Internal,
        }
    }
}

/// The first characters of foreign text, so that a hostile value cannot fill a log line.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}
