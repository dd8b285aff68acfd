//! Failures of the built-in network.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ochre_types::ErrorKind;

use crate::hostport::HostPortError;
use crate::netlink::NetlinkError;
use crate::sysctl::SysctlError;

/// Why the built-in network could not connect or disconnect a pod.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NativeError {
    /// Every address is in use.
    #[error("all {capacity} addresses of {subnet} are in use")]
    NoAddressLeft {
        /// The subnet.
        subnet: String,
        /// How many pods it can hold.
        capacity: u32,
    },
    /// A lease could not be read or written.
    #[error("address lease {}", .path.display())]
    Lease {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configured name belongs to another kind of device.
    #[error("device {name} exists and is no bridge")]
    NotABridge {
        /// The configured name.
        name: String,
    },
    /// Another engine's pods are connected to the bridge.
    #[error(
        "bridge {name} has pods of the engine with its state in {owner}: give this one a bridge and subnets of its own"
    )]
    BridgeTaken {
        /// The bridge.
        name: String,
        /// The other engine's state directory.
        owner: String,
    },
    /// IPv6 subnets are configured, and the kernel has no IPv6 or has it switched off.
    #[error("the kernel has no IPv6, which the configured subnets need")]
    NoIpv6,
    /// A device vanished while it was being used.
    #[error("device {name} vanished")]
    DeviceGone {
        /// Its name.
        name: String,
    },
    /// The pod's namespace could not be entered.
    #[error("network namespace {}", .path.display())]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pod's device is down or lost its address.
    #[error("network namespace {}: no device is up with address {address}", .path.display())]
    Disconnected {
        /// The namespace's file.
        path: PathBuf,
        /// The address the pod should have.
        address: IpAddr,
    },
    /// The kernel refused a request.
    #[error("built-in network")]
    Kernel {
        /// Its answer.
        #[from]
        source: NetlinkError,
    },
    /// A kernel setting could not be made.
    #[error("built-in network")]
    Setting {
        /// Which one and why.
        #[from]
        source: SysctlError,
    },
    /// The tables of the firewall could not be changed.
    #[error("masquerading of {subnets}")]
    Masquerade {
        /// The pods' subnets.
        subnets: String,
        /// Why.
        #[source]
        source: Box<HostPortError>,
    },
}

impl NativeError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAddressLeft { .. } => ErrorKind::Exhausted,
            Self::Lease { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::NotABridge { .. } | Self::BridgeTaken { .. } | Self::NoIpv6 | Self::Disconnected { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::DeviceGone { .. } => ErrorKind::Unavailable,
            Self::Namespace { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Internal,
            },
            Self::Kernel { source } => source.kind(),
            Self::Setting { source } => source.kind(),
            Self::Masquerade { source, .. } => source.kind(),
        }
    }
}
