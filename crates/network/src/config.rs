//! What the rest of the engine tells this crate.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Configuration of the pod network.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of CNI configurations (`/etc/cni/net.d`).
    pub network_dir: PathBuf,
    /// Directories of CNI plugins, searched in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Name of the network to use; otherwise the first that loads.
    pub default_network: Option<String>,
    /// libcni's cache directory (`/var/lib/cni`); results lie in `results` below it.
    pub cache_dir: PathBuf,
    /// This crate's own records: attachments, leases of the built-in network, host ports.
    pub state_dir: PathBuf,
    /// The built-in network.
    pub native: NativeConfig,
    /// Whether host ports are ours to publish when no plugin does.
    pub host_ports: bool,
    /// Deadlines of plugins.
    pub timeouts: Timeouts,
}

/// How long plugins may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a whole ADD or CHECK of a pod.
    pub add: Duration,
    /// For a whole DEL of a pod, and for GC.
    pub delete: Duration,
}

impl Default for Timeouts {
    /// Five minutes and one minute, as CRI-O allows.
    fn default() -> Self {
        Self { add: Duration::from_secs(300), delete: Duration::from_secs(60) }
    }
}

/// The built-in bridge network.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// Use it when the configuration directory has no configuration at all.
    pub enabled: bool,
    /// Name of the bridge device; at most 15 characters.
    pub bridge: String,
    /// Where pod addresses come from; the first is the bridge's.
    pub subnet: Subnet,
    /// Bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
}

impl Default for NativeConfig {
    fn default() -> Self {
        let subnet = Subnet { network: Ipv4Addr::new(10, 85, 0, 0), prefix: 16 };
        Self { enabled: true, bridge: "ochre0".into(), subnet, mtu: None }
    }
}

/// An IPv4 subnet with room for at least one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// The text is no usable subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IPv4 subnet such as 10.85.0.0/16 (prefix 8 to 29, no bits set behind it)")]
pub struct InvalidSubnet {
    text: String,
}

impl Subnet {
    /// The length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address: the bridge's.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | 1)
    }

    /// How many pods fit: all addresses but the network's, the gateway's and the broadcast's.
    pub(crate) fn capacity(self) -> u32 {
        self.size() - 3
    }

    /// The pod address that follows `address`, round and round.
    pub(crate) fn after(self, address: Ipv4Addr) -> Ipv4Addr {
        let first = u32::from(self.network) + 2;
        let next = u32::from(address).wrapping_add(1);
        let inside = next >= first && next < first + self.capacity();
        Ipv4Addr::from(if inside { next } else { first })
    }

    fn size(self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let refused = || InvalidSubnet { text: text.chars().take(80).collect() };
        let (network, prefix) = text.split_once('/').ok_or_else(refused)?;
        let network: Ipv4Addr = network.parse().map_err(|_| refused())?;
        let prefix: u8 = prefix.parse().map_err(|_| refused())?;
        if !(8..=29).contains(&prefix) || u32::from(network).trailing_zeros() < 32 - u32::from(prefix) {
            return Err(refused());
        }
        Ok(Self { network, prefix })
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidSubnet;

    fn try_from(text: String) -> Result<Self, InvalidSubnet> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_checked_and_walked_in_a_circle() {
        let subnet: Subnet = "10.1.2.8/29".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 1, 2, 9));
        let mut address = subnet.gateway();
        let walked: Vec<u8> = (0..6)
            .map(|_| {
                address = subnet.after(address);
                address.octets()[3]
            })
            .collect();
        assert_eq!(walked, [10, 11, 12, 13, 14, 10]);
        assert_eq!(subnet.after(Ipv4Addr::new(255, 255, 255, 255)).octets()[3], 10);
        for bad in ["", "10.0.0.0", "10.0.0.1/24", "10.0.0.0/30", "10.0.0.0/33", "0.0.0.0/0", "::/64", "a/b"]
        {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}
