//! Failures of host ports.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ochre_types::{ErrorKind, SandboxId};

use crate::netlink::NetlinkError;
use crate::request::PortProtocol;
use crate::sysctl::SysctlError;

/// Why host ports could not be published or withdrawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostPortError {
    /// Another pod has the port.
    #[error("host port {port}/{protocol} is taken by pod {owner}")]
    Taken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
        /// Who has it.
        owner: SandboxId,
    },
    /// A process of the node listens on the port.
    #[error("host port {port}/{protocol} is taken by a process of the node that listens on {address}")]
    InUse {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
        /// Where the process listens.
        address: IpAddr,
    },
    /// The request maps one host port twice.
    #[error("host port {port}/{protocol} is requested twice with different targets")]
    Twice {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
    },
    /// Port 0 in the container means nothing.
    #[error("host port {port}/{protocol} has no container port")]
    NoContainerPort {
        /// The host port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
    },
    /// The host address is of a family the pod has no address of.
    #[error("host port {port}/{protocol}: the pod has no address of the family of the host address")]
    NoAddress {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
    },
    /// The kernel cannot lead `::1` to another device.
    #[error(
        "host port {port}/{protocol}: the kernel cannot publish a port on ::1; use 127.0.0.1 or another address"
    )]
    LoopbackV6 {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: PortProtocol,
    },
    /// The kernel has no nf_tables, or one older than Linux 5.6.
    #[error("this kernel has no nf_tables, or one that is too old")]
    Unsupported {
        /// The kernel's answer.
        #[source]
        source: NetlinkError,
    },
    /// The kernel refused a change.
    #[error("cannot change the tables of the firewall")]
    Kernel {
        /// The kernel's answer.
        #[source]
        source: NetlinkError,
    },
    /// A setting of the pod's device could not be made.
    #[error("cannot prepare the pod's device for 127.0.0.1")]
    Setting {
        /// Which one and why.
        #[from]
        source: SysctlError,
    },
    /// A record file could not be read or written.
    #[error("host port record {}", .path.display())]
    Record {
        /// The file or its directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HostPortError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // Not `AlreadyExists`: that would be said of the pod.
            Self::Taken { .. }
            | Self::InUse { .. }
            | Self::Twice { .. }
            | Self::NoContainerPort { .. }
            | Self::LoopbackV6 { .. }
            | Self::NoAddress { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported { .. } => ErrorKind::FailedPrecondition,
            Self::Kernel { source } => source.kind(),
            Self::Setting { source } => source.kind(),
            Self::Record { .. } => ErrorKind::Internal,
        }
    }
}

impl From<NetlinkError> for HostPortError {
    /// Recognises the kernel's ways of saying that it has no nf_tables: no such socket, no such subsystem, no such
    /// attribute.
    fn from(source: NetlinkError) -> Self {
        match source.os_error() {
            Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EINVAL) => {
                Self::Unsupported { source }
            }
            _ => Self::Kernel { source },
        }
    }
}
