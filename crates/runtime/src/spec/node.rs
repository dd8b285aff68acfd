//! What the node contributes to every spec: the configuration's defaults and the facts that were detected once at start.

use std::path::{Path, PathBuf};

use oci_spec::runtime::PosixRlimitType;

use crate::apparmor::AppArmor;
use crate::cgroup::Version;
use crate::clamp::Held;
use crate::config::Device;

use super::capabilities::CapabilitySet;
use super::seccomp::SeccompProfile;
use super::selinux::SelinuxPolicy;

/// Defaults and facts of the node. The names follow CRI-O's options in `[crio.runtime]`.
#[derive(Debug, Clone)]
pub struct NodeDefaults {
    /// `default_capabilities`, parsed with [`super::capabilities::parse`].
    pub capabilities: CapabilitySet,
    /// `add_inheritable_capabilities`: the inheritable set equals the permitted one.
    pub add_inheritable: bool,
    /// `default_env`, `NAME=value` each; the lowest priority of all.
    pub env: Vec<String>,
    /// `default_ulimits`.
    pub ulimits: Vec<Ulimit>,
    /// Devices of all containers, and what requests may ask for.
    pub devices: DeviceRules,
    /// `image_volumes`.
    pub image_volumes: ImageVolumes,
    /// `pids_limit`; 0 or less sets none.
    pub pids_limit: i64,
    /// `read_only`: every root file system is read-only, with a tmpfs on `/run`, `/tmp` and `/var/tmp`.
    pub read_only: bool,
    /// Bind mounts and their sources.
    pub sources: SourceRules,
    /// Security modules and profiles.
    pub security: SecurityDefaults,
    /// cgroup version, driver and controllers.
    pub cgroup: CgroupFacts,
    /// What the daemon can pass on.
    pub held: Held,
    /// Annotation prefixes of pods that may reach the OCI runtime (`allowed_annotations`); empty passes nothing.
    pub passed_annotations: Vec<String>,
}

/// What the configuration says about devices.
#[derive(Debug, Clone, Default)]
pub struct DeviceRules {
    /// `additional_devices`: in every container.
    pub additional: Vec<Device>,
    /// `allowed_devices`: paths on the node that an annotation may ask for.
    pub allowed: Vec<PathBuf>,
    /// `device_ownership_from_security_context`.
    pub ownership: DeviceOwnership,
    /// `cdi_spec_dirs`, lowest priority first.
    pub cdi_dirs: Vec<PathBuf>,
}

/// Whom the device nodes of a request belong to in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceOwnership {
    /// Those that own them on the node.
    #[default]
    Node,
    /// The user and group of the security context, where it names some that are not root.
    SecurityContext,
}

/// What becomes of volumes that an image declares (CRI-O's `image_volumes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageVolumes {
    /// Directories in the container's own layer.
    #[default]
    Mkdir,
    /// Fresh directories of the node, mounted there, gone with the container.
    Bind,
    /// Nothing.
    Ignore,
}

/// One of `default_ulimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// Which limit.
    pub limit: PosixRlimitType,
    /// Soft value.
    pub soft: u64,
    /// Hard value.
    pub hard: u64,
}

impl Ulimit {
    /// Reads `name=soft:hard` or `name=both`, as in `nofile=1024:4096`; -1 is no limit. `None` for any other form.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, values) = text.split_once('=')?;
        let name = name.to_ascii_lowercase();
        let limit = match name.strip_prefix("rlimit_").unwrap_or(&name) {
            "as" => PosixRlimitType::RlimitAs,
            "core" => PosixRlimitType::RlimitCore,
            "cpu" => PosixRlimitType::RlimitCpu,
            "data" => PosixRlimitType::RlimitData,
            "fsize" => PosixRlimitType::RlimitFsize,
            "locks" => PosixRlimitType::RlimitLocks,
            "memlock" => PosixRlimitType::RlimitMemlock,
            "msgqueue" => PosixRlimitType::RlimitMsgqueue,
            "nice" => PosixRlimitType::RlimitNice,
            "nofile" => PosixRlimitType::RlimitNofile,
            "nproc" => PosixRlimitType::RlimitNproc,
            "rss" => PosixRlimitType::RlimitRss,
            "rtprio" => PosixRlimitType::RlimitRtprio,
            "rttime" => PosixRlimitType::RlimitRttime,
            "sigpending" => PosixRlimitType::RlimitSigpending,
            "stack" => PosixRlimitType::RlimitStack,
            _ => return None,
        };
        let number = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        Some(Self { limit, soft: number(soft)?, hard: number(hard)? })
    }
}

/// Rules for the host side of volumes.
#[derive(Debug, Clone, Default)]
pub struct SourceRules {
    /// `bind_mount_prefix`: the directory that host paths are resolved in; `None` is `/`.
    pub prefix: Option<PathBuf>,
    /// `absent_mount_sources_to_reject`: sources that are never made when they are missing.
    pub never_create: Vec<PathBuf>,
    /// The image store. A private mount that contains it is made `rslave`, so that it does not keep layers busy.
    pub storage_root: Option<PathBuf>,
}

/// Security modules and profiles of the node.
#[derive(Debug, Clone, Default)]
pub struct SecurityDefaults {
    /// Replaces the built-in `RuntimeDefault` seccomp profile (`seccomp_profile`).
    pub seccomp: Option<SeccompProfile>,
    /// What privileged containers get instead of no filter (`privileged_seccomp_profile`).
    pub privileged_seccomp: Option<SeccompProfile>,
    /// What AppArmor's `RuntimeDefault` is.
    pub apparmor: AppArmor,
    /// What SELinux labels are made of. Without, every SELinux field is ignored, as CRI-O does.
    pub selinux: Option<SelinuxPolicy>,
    /// Paths masked in every container that masks any. See [`super::security::default_masked_paths`].
    pub masked_paths: Vec<String>,
}

/// cgroup facts that decide what may stand in a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Which interface carries the controllers.
    pub version: Version,
    /// Whether the memory controller accounts swap.
    pub swap: bool,
    /// Whether there is a hugetlb controller.
    pub hugetlb: bool,
}

impl CgroupFacts {
    /// Looks at the controllers of this machine.
    pub fn detect(version: Version) -> Self {
        let top = Path::new("/sys/fs/cgroup");
        match version {
            Version::V1 | Version::Hybrid => Self {
                version,
                swap: top.join("memory/memory.memsw.limit_in_bytes").exists(),
                // A directory without a mount on it has no groups.
                hugetlb: top.join("hugetlb/cgroup.procs").exists(),
            },
            Version::V2 => {
                let controllers = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
                // The topmost group has no limits of its own, so the daemon's group tells, or any below the top.
                let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
                let below = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
                let mut groups = std::iter::once(top.join(own)).chain(below);
                Self {
                    version,
                    swap: groups.any(|group| group.join("memory.swap.max").exists()),
                    hugetlb: controllers.split_whitespace().any(|name| name == "hugetlb"),
                }
            }
        }
    }
}

/// What a handler's configuration and the OCI runtime behind it allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerRules {
    /// Mounts with their own id mappings.
    pub idmap: bool,
    /// Recursive read-only mounts (`rro`).
    pub rro: bool,
    /// Whether privileged containers see the host's devices (`privileged_without_host_devices`).
    pub host_devices: HostDevices,
    /// `container_min_memory`: smallest accepted memory limit, bytes.
    pub min_memory: u64,
}

/// Smallest accepted memory limit where the handler sets none, bytes (CRI-O's 12 MiB).
pub const DEFAULT_MIN_MEMORY: u64 = 12 << 20;

/// Which host devices a privileged container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostDevices {
    /// All of them.
    #[default]
    All,
    /// Only those asked for.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulimit_has_one_value_or_two_and_minus_one_is_none() {
        let nofile = |soft, hard| Some(Ulimit { limit: PosixRlimitType::RlimitNofile, soft, hard });
        assert_eq!(Ulimit::parse("nofile=1024:4096"), nofile(1024, 4096));
        assert_eq!(Ulimit::parse("RLIMIT_NOFILE=7"), nofile(7, 7));
        assert_eq!(Ulimit::parse("nofile=5:-1"), nofile(5, u64::MAX));
        for wrong in ["nofile", "files=1", "nofile=a", "nofile=1:2:3", "nofile=-2"] {
            assert_eq!(Ulimit::parse(wrong), None, "{wrong}");
        }
    }
}
