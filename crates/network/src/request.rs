//! What callers ask for and what they get.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::record::AttachmentRecord;

/// A pod that wants a network.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// Its id.
    pub sandbox: SandboxId,
    /// Its name in Kubernetes.
    pub name: String,
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its uid in Kubernetes.
    pub uid: String,
    /// The file its network namespace is pinned to.
    pub netns: PathBuf,
    /// Ports of the node; entries with host port 0 are ignored.
    pub port_mappings: Vec<PortMapping>,
    /// The pod's annotations: bandwidth is read from them, and plugins may ask for all.
    pub annotations: BTreeMap<String, String>,
    /// For plugins with the capability `cgroupPath`.
    pub cgroup_path: Option<String>,
    /// For plugins with the capability `dns`.
    pub dns: Option<Dns>,
}

/// A pod whose network ends.
#[derive(Debug, Clone)]
pub struct DetachRequest {
    /// Its id.
    pub sandbox: SandboxId,
    /// The file of its network namespace; may be missing or gone.
    pub netns: Option<PathBuf>,
    /// What [`Attachment::record`] was, if the caller still has it. This crate's own copy comes first.
    pub record: Option<AttachmentRecord>,
}

/// Resolver settings of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// One port of the node that leads into a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The transport protocol.
    pub protocol: PortProtocol,
    /// The port in the pod.
    pub container_port: u16,
    /// The port of the node; 0 asks for nothing.
    pub host_port: u16,
    /// One address of the node; `None`, `0.0.0.0` and `::` are all of them.
    pub host_ip: Option<IpAddr>,
}

/// Transport protocols with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// IANA's protocol number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// In lower case, as CNI writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pod's network.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The pod's addresses in the order of the result.
    pub ips: Vec<IpAddr>,
    /// The pod's device.
    pub interface: String,
    /// The device's hardware address, if the result names it.
    pub mac: Option<String>,
    /// The CNI result; the built-in network makes one of the same shape.
    pub result: Value,
    /// Enough to detach after a restart or when the configuration has changed.
    pub record: AttachmentRecord,
}
