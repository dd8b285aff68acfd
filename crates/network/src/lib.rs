//! CNI plugins, the built-in bridge network and host ports.
//!
//! ```text
//! network ── attach ─┬─ cni       conflists through plugin programs
//!    │       detach  ├─ native    the built-in bridge, where nothing is configured
//!    │       check   └─ hostport  where no plugin publishes ports
//!  watch     garbage        └──────── nft, netlink
//! ```
//!
//! Everything blocks; callers use a pool for blocking work. The engine calls from the node's network namespace; all of
//! a pod's operations come one after the other.

mod attach;
mod check;
mod cni;
mod config;
mod detach;
mod error;
mod garbage;
mod hostport;
mod native;
mod netlink;
mod network;
mod nft;
mod record;
mod request;
mod state_dir;
mod sysctl;
mod watch;

pub use cni::{CniError, ConfigFault, NetworkName, Verb};
pub use config::{Config, InvalidSubnet, NativeConfig, Subnet, Subnets, Timeouts};
pub use error::{Error, NotReady};
pub use hostport::HostPortError;
pub use native::{NativeError, raise_loopback};
pub use netlink::NetlinkError;
pub use network::Network;
pub use request::{
    AttachRequest, Attachment, AttachmentRecord, DetachRequest, Dns, PortMapping, PortProtocol,
};
pub use sysctl::SysctlError;
