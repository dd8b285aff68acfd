//! The parts of the OCI runtime specification (1.0 to 1.3, Linux) that this runtime reads.
//!
//! Own structures instead of a general library: a verb lives a few milliseconds, of which parsing should be a small
//! part. Fields the runtime does not know are ignored, as the specification asks; fields it knows and cannot honour
//! are refused by [`check`], so that nothing is silently weaker than the caller asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

mod check;
mod resources;

pub use check::check;
pub(crate) use check::process as check_process;
pub use resources::{BlockIo, Cpu, DeviceRule, Memory, Resources};

/// Largest `config.json` or process file that is read, in bytes.
pub const MAX_CONFIG_SIZE: u64 = 4 << 20;

/// `config.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification it declares.
    pub oci_version: String,
    /// The root file system.
    pub root: Option<Root>,
    /// The first process.
    pub process: Option<Process>,
    /// Host name, in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Mounts in order.
    pub mounts: Vec<Mount>,
    /// Hooks by phase.
    pub hooks: Hooks,
    /// Free annotations, handed to hooks in the state.
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    pub linux: Linux,
}

/// `root`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Path, relative to the bundle when not absolute.
    pub path: PathBuf,
    /// Whether the container sees it read-only.
    pub readonly: bool,
}

/// `process`, also the content of the file given to `exec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Initial size of the terminal.
    pub console_size: Option<ConsoleSize>,
    /// Identity.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// The five capability sets; absent means that all are empty.
    pub capabilities: Option<CapabilitySets>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// SELinux label.
    pub selinux_label: Option<String>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy; refused, see [`check`].
    pub scheduler: Option<serde::de::IgnoredAny>,
    /// I/O priority; refused, see [`check`].
    #[serde(rename = "ioPriority")]
    pub io_priority: Option<serde::de::IgnoredAny>,
    /// CPU affinity of execs; refused, see [`check`].
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<serde::de::IgnoredAny>,
}

/// `process.consoleSize`, in characters.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// `process.user`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id in the container's user namespace.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// File mode mask; absent means 0022.
    pub umask: Option<u32>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`: names by set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CapabilitySets {
    /// Bounding set.
    pub bounding: Vec<String>,
    /// Effective set.
    pub effective: Vec<String>,
    /// Inheritable set.
    pub inheritable: Vec<String>,
    /// Permitted set.
    pub permitted: Vec<String>,
    /// Ambient set.
    pub ambient: Vec<String>,
}

/// One entry of `process.rlimits`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Hard limit.
    pub hard: u64,
    /// Soft limit.
    pub soft: u64,
}

/// One entry of `mounts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where, inside the root file system.
    pub destination: PathBuf,
    /// File system type; `bind` or absent with a bind option.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Device, or the host's path of a bind mount.
    pub source: Option<PathBuf>,
    /// Options in fstab words.
    pub options: Vec<String>,
    /// Mapping of an id-mapped mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Mapping of an id-mapped mount.
    pub gid_mappings: Vec<IdMapping>,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// Length.
    pub size: u32,
}

/// `hooks`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated form of `createRuntime`.
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, before the root is entered.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before the root is entered.
    pub create_container: Vec<Hook>,
    /// In the container, before its program.
    pub start_container: Vec<Hook>,
    /// After the start, in the runtime's namespaces.
    pub poststart: Vec<Hook>,
    /// After the removal, in the runtime's namespaces.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Arguments with argv\[0\].
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Seconds after which it is killed.
    pub timeout: Option<u32>,
}

/// `linux`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Namespaces to make or to join.
    pub namespaces: Vec<Namespace>,
    /// Users of a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Groups of a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// Clock offsets of a new time namespace, by clock name.
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// Devices beyond the default ones.
    pub devices: Vec<Device>,
    /// Path of the control group.
    pub cgroups_path: Option<String>,
    /// Limits.
    pub resources: Resources,
    /// Propagation of the root file system.
    pub rootfs_propagation: Option<String>,
    /// System call filter.
    pub seccomp: Option<Seccomp>,
    /// Kernel parameters.
    pub sysctl: BTreeMap<String, String>,
    /// Paths that look empty.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<PathBuf>,
    /// SELinux label of file systems made for the container.
    pub mount_label: Option<String>,
    /// Cache allocation; refused.
    pub intel_rdt: Option<serde::de::IgnoredAny>,
    /// NUMA policy; refused.
    pub memory_policy: Option<serde::de::IgnoredAny>,
    /// Network cards to move; refused.
    pub net_devices: BTreeMap<String, serde::de::IgnoredAny>,
    /// Execution domain.
    pub personality: Option<Personality>,
}

/// `linux.personality`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
}

/// An offset of `linux.timeOffsets`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// One entry of `linux.namespaces`.
#[derive(Debug, Clone, Deserialize)]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// The one to join; a new one when absent.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// The kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// PID.
    Pid,
    /// Network.
    Network,
    /// Mount.
    Mount,
    /// IPC.
    Ipc,
    /// UTS.
    Uts,
    /// User.
    User,
    /// Control group.
    Cgroup,
    /// Clocks.
    Time,
}

/// One entry of `linux.devices`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Path in the container.
    pub path: PathBuf,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Mode; absent means 0666.
    pub file_mode: Option<u32>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `linux.seccomp`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// What happens to calls without a rule.
    pub default_action: String,
    /// Its error number.
    pub default_errno_ret: Option<u32>,
    /// Architectures the rules are for, beyond the native one.
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: Vec<String>,
    /// Socket of an agent for `SCMP_ACT_NOTIFY`.
    pub listener_path: Option<PathBuf>,
    /// Rules.
    pub syscalls: Vec<SyscallRule>,
}

/// One entry of `linux.seccomp.syscalls`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyscallRule {
    /// Names of calls.
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// Error number of `SCMP_ACT_ERRNO`, data of `SCMP_ACT_TRACE`.
    pub errno_ret: Option<u32>,
    /// Conditions that must all hold.
    pub args: Vec<SyscallArgument>,
}

/// One condition of a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyscallArgument {
    /// Number of the argument, from 0.
    pub index: u32,
    /// Value to compare with (the mask, for `SCMP_CMP_MASKED_EQ`).
    pub value: u64,
    /// Second value.
    pub value_two: u64,
    /// `SCMP_CMP_…`.
    pub op: String,
}

impl NamespaceKind {
    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// Its name below `/proc/<pid>/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Mount => "mnt",
            other => other.name(),
        }
    }
}

impl Linux {
    /// The entry for a namespace, if the container does not share the runtime's.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether it gets a new namespace of the kind.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }
}
