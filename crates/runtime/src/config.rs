//! What a caller asks for: pods and containers in the engine's own words.
//!
//! `cri/translate` fills these from protobuf; `pod` keeps them and writes them into its versioned records, which is
//! why they derive serde (a field that is added later carries `#[serde(default)]`). Nothing here has been checked
//! against the machine yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names a pod (CRI `PodSandboxMetadata`). The four together are unique among live pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SandboxMetadata {
    /// Pod name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod uid.
    pub uid: String,
    /// How often the kubelet has made this pod before.
    pub attempt: u32,
}

/// Names a container in its pod (CRI `ContainerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Container name.
    pub name: String,
    /// How often the kubelet has made this container before.
    pub attempt: u32,
}

/// Where a namespace comes from (CRI `NamespaceMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Shared by the containers of the pod.
    #[default]
    Pod,
    /// Of the container alone.
    Container,
    /// The node's own.
    Node,
    /// That of another container (`target_id`).
    Target,
}

/// The namespace options of a pod or container (CRI `NamespaceOption`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceOptions {
    /// Network: `Pod` or `Node`.
    pub network: NamespaceMode,
    /// PID: any mode.
    pub pid: NamespaceMode,
    /// IPC: `Pod` or `Node`.
    pub ipc: NamespaceMode,
    /// The container whose PID namespace is joined in mode `Target`.
    pub target_id: String,
    /// User namespace; `None` where the caller said nothing, which means the node's.
    pub user: Option<UserNamespace>,
}

/// A pod's user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// `Pod` or `Node`.
    pub mode: NamespaceMode,
    /// User id mappings.
    pub uids: Vec<IdMapping>,
    /// Group id mappings.
    pub gids: Vec<IdMapping>,
}

/// One line of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id on the host.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}

/// DNS settings for `resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// Transport protocol of a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A host port that leads to a port of the pod. `host_port` is never 0 here: CRI's "none" is dropped in translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the node.
    pub host_port: u16,
    /// Address on the node; `None` for all.
    pub host_ip: Option<std::net::IpAddr>,
}

/// How supplemental groups of the image count (CRI `SupplementalGroupsPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GroupsPolicy {
    /// The image's groups of the user, plus those asked for.
    #[default]
    Merge,
    /// Only those asked for.
    Strict,
}

/// A seccomp or AppArmor profile choice (CRI `SecurityProfile`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProfile {
    /// The engine's default.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file (seccomp) or the name of a loaded profile (AppArmor).
    Localhost(String),
}

/// SELinux label parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelinuxLabel {
    /// user
    pub user: String,
    /// role
    pub role: String,
    /// type
    pub kind: String,
    /// level
    pub level: String,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunAs {
    /// Numeric user; excludes `username`.
    pub user: Option<i64>,
    /// Numeric group; needs `user` or `username`.
    pub group: Option<i64>,
    /// A user of the image's passwd file.
    pub username: String,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// How the image's own groups count.
    pub groups_policy: GroupsPolicy,
}

/// A pod as asked for (CRI `PodSandboxConfig` plus the handler).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Name, namespace, uid, attempt.
    pub metadata: SandboxMetadata,
    /// Handler name; empty for the default.
    pub handler: String,
    /// Hostname of the pod; empty for the default.
    pub hostname: String,
    /// Where container logs go; empty for the engine's `log_dir`.
    pub log_directory: String,
    /// `None` copies the host's resolv.conf.
    pub dns: Option<DnsConfig>,
    /// Host ports.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, returned unchanged.
    pub labels: BTreeMap<String, String>,
    /// Annotations, returned unchanged.
    pub annotations: BTreeMap<String, String>,
    /// Parent cgroup of everything in the pod, as the cgroup driver writes it; may be empty.
    pub cgroup_parent: String,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Namespace modes.
    pub namespaces: NamespaceOptions,
    /// Whether privileged containers are allowed in it.
    pub privileged: bool,
    /// Identity of the pod's own process, where it has one.
    pub run_as: RunAs,
    /// SELinux label, if given.
    pub selinux: Option<SelinuxLabel>,
    /// Seccomp of the pod's own process.
    pub seccomp: Option<SecurityProfile>,
    /// Overhead of the pod, for record.
    pub overhead: Option<Resources>,
    /// Sum of the containers' resources, for record.
    pub resources: Option<Resources>,
}

/// How mounts made later on one side show on the other (CRI `MountPropagation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way (`rprivate`).
    #[default]
    Private,
    /// Host to container (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`).
    Bidirectional,
}

/// A volume of a container (CRI `Mount`).
// The booleans are CRI's, one for one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub container_path: String,
    /// Absolute path on the node; empty with `image`.
    pub host_path: String,
    /// An image or artifact to mount read-only instead of a host path.
    pub image: Option<VolumeImage>,
    /// Path inside that image.
    pub image_sub_path: String,
    /// Read-only.
    pub readonly: bool,
    /// Read-only for mounts below it as well.
    pub recursive_readonly: bool,
    /// Relabel the source for the container.
    pub selinux_relabel: bool,
    /// Propagation.
    pub propagation: Propagation,
    /// User id mappings of this mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Group id mappings of this mount.
    pub gid_mappings: Vec<IdMapping>,
    /// Further options of the bind mount, such as `noexec`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// The image behind a volume (CRI `ImageSpec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeImage {
    /// The reference or id to mount.
    pub reference: String,
    /// What the user wrote, for the status.
    pub user_specified: String,
}

/// A device of the node in a container (CRI `Device`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node; a directory stands for its nodes.
    pub host_path: String,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// Capability changes (CRI `Capability`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Added to bounding, permitted and effective; `ALL` is special.
    pub add: Vec<String>,
    /// Dropped from every set; `ALL` is special.
    pub drop: Vec<String>,
    /// Added to all five sets.
    pub add_ambient: Vec<String>,
}

/// Limits (CRI `LinuxContainerResources`). 0 and `None` mean "not set".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CFS period, microseconds.
    pub cpu_period: i64,
    /// CFS quota, microseconds.
    pub cpu_quota: i64,
    /// Relative weight, cgroup v1 scale.
    pub cpu_shares: i64,
    /// Memory limit, bytes.
    pub memory_limit: i64,
    /// `oom_score_adj` of the container.
    pub oom_score_adj: i64,
    /// CPU list.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Huge page limits, (page size, bytes).
    pub hugepages: Vec<(String, u64)>,
    /// cgroup v2 files to write as they are.
    pub unified: BTreeMap<String, String>,
    /// Memory plus swap, bytes.
    pub memory_swap_limit: i64,
}

/// Security settings of a container (CRI `LinuxContainerSecurityContext`).
// The booleans are CRI's, one for one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerSecurity {
    /// Everything allowed.
    pub privileged: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Capability changes.
    pub capabilities: Capabilities,
    /// Namespace modes.
    pub namespaces: NamespaceOptions,
    /// Identity.
    pub run_as: RunAs,
    /// SELinux label, if given.
    pub selinux: Option<SelinuxLabel>,
    /// Seccomp; `None` is unconfined, as CRI says.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor; `None` is the engine's default where AppArmor runs.
    pub apparmor: Option<SecurityProfile>,
    /// Paths covered by an empty file or directory.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
}

/// A container as asked for (CRI `ContainerConfig`).
// The booleans are CRI's, one for one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// The image reference or id to run.
    pub image: String,
    /// What the user wrote, for the status.
    pub user_specified_image: String,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's cmd.
    pub args: Vec<String>,
    /// Working directory; empty for the image's.
    pub working_dir: String,
    /// Environment; values are bytes, since CRI allows any.
    pub envs: Vec<(String, Vec<u8>)>,
    /// Volumes.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Qualified CDI device names.
    #[serde(default)]
    pub cdi_devices: Vec<String>,
    /// Labels, returned unchanged.
    pub labels: BTreeMap<String, String>,
    /// Annotations, returned unchanged.
    pub annotations: BTreeMap<String, String>,
    /// Log file, relative to the pod's log directory; empty for none.
    pub log_path: String,
    /// Keep stdin open for attach.
    pub stdin: bool,
    /// Close stdin after the first attach.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Signal that stops it, such as `SIGTERM`; `None` for the image's.
    pub stop_signal: Option<i32>,
    /// Limits.
    pub resources: Resources,
    /// Security settings.
    pub security: ContainerSecurity,
}

/// What the image says about running it (OCI image configuration, `config`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`, as written; entries without `=` are dropped.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: String,
    /// `User`.
    pub user: String,
    /// Keys of `Volumes`.
    pub volumes: Vec<String>,
    /// `StopSignal`.
    pub stop_signal: String,
}
