//! What this daemon may hand out: capabilities, OOM scores and resource limits.
//!
//! In nested containers, micro-VMs and CI the daemon itself lacks privileges that a normal node has. A spec that asks
//! for more than the daemon holds fails in the OCI runtime, every time, with an obscure message. So the engine looks
//! once at start what it holds, lowers every wish to that, and says so once.

use std::io;

use oci_spec::runtime::{Capability, PosixRlimitType};
use rustix::process::Resource;

use crate::spec::capabilities::CapabilitySet;

/// The kernel's bounds of `oom_score_adj` (proc(5)).
pub const OOM_SCORE_ADJ_MIN: i32 = -1000;
/// The kernel's bounds of `oom_score_adj` (proc(5)).
pub const OOM_SCORE_ADJ_MAX: i32 = 1000;

/// What the daemon holds and can therefore give to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    capabilities: CapabilitySet,
    oom_score_adj_floor: i32,
    hard_limits: Vec<(PosixRlimitType, u64)>,
}

/// One thing that was lowered or left out. Shown once at start for the node, with each container for its own wishes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Capabilities the daemon does not hold.
    #[error("capabilities {} are not held by the engine and cannot be given to containers", names.join(", "))]
    CapabilitiesNotHeld {
        /// Their names.
        names: Vec<String>,
    },
    /// An OOM score below what the daemon may set.
    #[error("oom_score_adj {wanted} cannot be set here; {given} is used")]
    OomScoreAdj {
        /// What was asked for.
        wanted: i32,
        /// What is used.
        given: i32,
    },
    /// A resource limit above what the daemon may set.
    #[error("{limit} of {wanted} cannot be set here; {given} is used")]
    ResourceLimit {
        /// Name of the limit, such as `RLIMIT_NOFILE`.
        limit: String,
        /// What was asked for.
        wanted: u64,
        /// What is used.
        given: u64,
    },
    /// The image names a stop signal that does not exist.
    #[error("stop signal {signal:?} of the image is unknown; SIGTERM is used")]
    StopSignal {
        /// What the image says.
        signal: String,
    },
}

/// `/proc/self` could not be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not look as proc(5) says.
    #[error("{path} has no readable {field}")]
    Format {
        /// Which file.
        path: &'static str,
        /// Which part of it.
        field: &'static str,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ochre_types::ErrorKind {
        match self {
            Self::Read { .. } | Self::Format { .. } => ochre_types::ErrorKind::Internal,
        }
    }
}

impl Held {
    /// Looks at this process.
    ///
    /// # Errors
    /// [`Error`] when procfs cannot be read.
    pub fn detect() -> Result<Self, Error> {
        let status = read("/proc/self/status")?;
        let bounding = field(&status, "CapBnd")?;
        let effective = field(&status, "CapEff")?;
        let capabilities = bounding.intersection(effective);
        let score = read("/proc/self/oom_score_adj")?;
        let own_score = score
            .trim()
            .parse()
            .map_err(|_| Error::Format { path: "/proc/self/oom_score_adj", field: "number" })?;
        let uid_map = read("/proc/self/uid_map")?;
        let limits_bound =
            !(capabilities.contains(Capability::SysResource) && is_initial_user_namespace(&uid_map));
        Ok(Self {
            capabilities,
            // The kernel keeps a lower bound per process that it does not show; the present score is never below it.
            oom_score_adj_floor: if limits_bound { own_score } else { OOM_SCORE_ADJ_MIN },
            hard_limits: if limits_bound { own_hard_limits() } else { Vec::new() },
        })
    }

    /// A daemon that lacks nothing: the usual node.
    pub fn everything() -> Self {
        Self {
            capabilities: CapabilitySet::ALL,
            oom_score_adj_floor: OOM_SCORE_ADJ_MIN,
            hard_limits: Vec::new(),
        }
    }

    /// The same, with other capabilities.
    #[must_use]
    pub fn with_capabilities(self, capabilities: CapabilitySet) -> Self {
        Self { capabilities, ..self }
    }

    /// The same, with another lowest OOM score.
    #[must_use]
    pub fn with_oom_score_adj_floor(self, floor: i32) -> Self {
        Self { oom_score_adj_floor: floor, ..self }
    }

    /// Capabilities it can pass on.
    pub fn capabilities(&self) -> CapabilitySet {
        self.capabilities
    }

    /// The nearest OOM score that can be set.
    pub fn oom_score_adj(&self, wanted: i32) -> i32 {
        wanted.max(self.oom_score_adj_floor)
    }

    /// The nearest hard limit that can be set.
    pub fn hard_limit(&self, limit: PosixRlimitType, wanted: u64) -> u64 {
        let bound = self.hard_limits.iter().find(|(known, _)| *known == limit);
        bound.map_or(wanted, |(_, own)| wanted.min(*own))
    }

    /// What an operator should know once at start; empty on a usual node.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let lost = CapabilitySet::ALL.difference(self.capabilities);
        if !lost.is_empty() {
            warnings.push(Warning::CapabilitiesNotHeld { names: lost.names() });
        }
        if self.oom_score_adj_floor > OOM_SCORE_ADJ_MIN {
            warnings
                .push(Warning::OomScoreAdj { wanted: OOM_SCORE_ADJ_MIN, given: self.oom_score_adj_floor });
        }
        warnings
    }
}

fn read(path: &'static str) -> Result<String, Error> {
    // procfs files of our own process: small and never blocking.
    std::fs::read_to_string(path).map_err(|source| Error::Read { path, source })
}

fn field(status: &str, name: &'static str) -> Result<CapabilitySet, Error> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .map(CapabilitySet::from_bits)
        .ok_or(Error::Format { path: "/proc/self/status", field: name })
}

/// The initial user namespace maps every id onto itself (user_namespaces(7)); privileges over OOM scores and limits
/// count only there.
fn is_initial_user_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn own_hard_limits() -> Vec<(PosixRlimitType, u64)> {
    LIMITS
        .iter()
        .filter_map(|(oci, resource)| Some((*oci, rustix::process::getrlimit(*resource).maximum?)))
        .collect()
}

const LIMITS: [(PosixRlimitType, Resource); 16] = [
    (PosixRlimitType::RlimitCpu, Resource::Cpu),
    (PosixRlimitType::RlimitFsize, Resource::Fsize),
    (PosixRlimitType::RlimitData, Resource::Data),
    (PosixRlimitType::RlimitStack, Resource::Stack),
    (PosixRlimitType::RlimitCore, Resource::Core),
    (PosixRlimitType::RlimitRss, Resource::Rss),
    (PosixRlimitType::RlimitNproc, Resource::Nproc),
    (PosixRlimitType::RlimitNofile, Resource::Nofile),
    (PosixRlimitType::RlimitMemlock, Resource::Memlock),
    (PosixRlimitType::RlimitAs, Resource::As),
    (PosixRlimitType::RlimitLocks, Resource::Locks),
    (PosixRlimitType::RlimitSigpending, Resource::Sigpending),
    (PosixRlimitType::RlimitMsgqueue, Resource::Msgqueue),
    (PosixRlimitType::RlimitNice, Resource::Nice),
    (PosixRlimitType::RlimitRtprio, Resource::Rtprio),
    (PosixRlimitType::RlimitRttime, Resource::Rttime),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_node_changes_nothing_and_warns_of_nothing() {
        let held = Held::everything();
        assert_eq!(held.oom_score_adj(-998), -998);
        assert_eq!(held.hard_limit(PosixRlimitType::RlimitNofile, u64::MAX), u64::MAX);
        assert!(held.warnings().is_empty());
    }

    #[test]
    fn a_restricted_daemon_lowers_wishes_and_says_so_once() {
        let mut capabilities = CapabilitySet::ALL;
        capabilities.remove(Capability::SysResource);
        let mut held = Held::everything().with_capabilities(capabilities).with_oom_score_adj_floor(100);
        held.hard_limits = vec![(PosixRlimitType::RlimitNofile, 4096)];
        assert_eq!(held.oom_score_adj(-998), 100);
        assert_eq!(held.oom_score_adj(500), 500);
        assert_eq!(held.hard_limit(PosixRlimitType::RlimitNofile, 1 << 20), 4096);
        assert_eq!(held.hard_limit(PosixRlimitType::RlimitNproc, 1 << 20), 1 << 20);
        assert_eq!(
            held.warnings(),
            [
                Warning::CapabilitiesNotHeld { names: vec!["CAP_SYS_RESOURCE".into()] },
                Warning::OomScoreAdj { wanted: -1000, given: 100 },
            ]
        );
    }

    #[test]
    fn detection_agrees_with_the_kernel_about_oom_scores() {
        let held = Held::detect().unwrap();
        // A child tries what detection says is the lowest possible; the child alone is affected.
        let score = held.oom_score_adj(OOM_SCORE_ADJ_MIN);
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("echo {score} > /proc/self/oom_score_adj")])
            .status()
            .unwrap();
        assert!(status.success(), "{score}");
    }

    #[test]
    fn only_the_whole_identity_map_is_the_initial_user_namespace() {
        assert!(is_initial_user_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace("0 100000 65536\n"));
        assert!(!is_initial_user_namespace("0 0 1\n1 1 4294967294\n"));
    }
}
