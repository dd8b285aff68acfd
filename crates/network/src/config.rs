//! What the rest of the engine tells this crate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

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
    /// Name of the bridge device; at most 15 characters. It also tells this engine's firewall tables from those of
    /// another engine on the node.
    pub bridge: String,
    /// Where pod addresses come from.
    pub subnets: Subnets,
    /// Bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
}

/// The bridge when nothing else is configured.
const DEFAULT_BRIDGE: &str = "ochre0";

impl Default for NativeConfig {
    /// IPv4 only, in the range of CRI-O's example network.
    fn default() -> Self {
        let subnet = Subnet { network: IpAddr::V4(Ipv4Addr::new(10, 85, 0, 0)), prefix: 16 };
        Self { enabled: true, bridge: DEFAULT_BRIDGE.into(), subnets: Subnets(vec![subnet]), mtu: None }
    }
}

impl NativeConfig {
    /// The name of one of this engine's firewall tables.
    pub(crate) fn table(&self, name: &str) -> String {
        if self.bridge == DEFAULT_BRIDGE { name.to_owned() } else { format!("{name}-{}", self.bridge) }
    }
}

/// One subnet, or one of each address family. A pod gets an address of each; that of the first is its primary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnets(Vec<Subnet>);

/// A subnet with room for at least one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

/// The texts are no usable subnets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubnet {
    /// One is none.
    #[error(
        "{text:?} is not a subnet such as 10.85.0.0/16 (prefix 8 to 29) or fd85::/64 (prefix 16 to 125), with no bits \
         set behind the prefix"
    )]
    Form {
        /// The beginning of it.
        text: String,
    },
    /// None at all, or two of one family.
    #[error("[{texts}]: one subnet is needed, or one of IPv4 and one of IPv6")]
    Families {
        /// All of them.
        texts: String,
    },
}

/// More addresses than any node has pods, and still few enough to look through.
const MOST: u128 = 1 << 24;

impl Subnets {
    /// Reads subnets; their order is that of a pod's addresses.
    ///
    /// # Errors
    /// [`InvalidSubnet`].
    pub fn parse(texts: &[String]) -> Result<Self, InvalidSubnet> {
        let subnets = texts.iter().map(|text| text.parse()).collect::<Result<Vec<Subnet>, _>>()?;
        let families = subnets.iter().map(|subnet| subnet.network.is_ipv4());
        match families.collect::<Vec<_>>()[..] {
            [_] | [true, false] | [false, true] => Ok(Self(subnets)),
            _ => Err(InvalidSubnet::Families { texts: texts.join(", ").chars().take(200).collect() }),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Subnet> {
        self.0.iter().copied()
    }

    /// Whether pods get IPv4 addresses.
    pub(crate) fn has_v4(&self) -> bool {
        self.iter().any(|subnet| subnet.network.is_ipv4())
    }

    /// Whether pods get IPv6 addresses.
    pub(crate) fn has_v6(&self) -> bool {
        self.iter().any(|subnet| subnet.network.is_ipv6())
    }
}

impl fmt::Display for Subnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.iter().map(|subnet| subnet.to_string()).collect();
        f.write_str(&texts.join(", "))
    }
}

impl Subnet {
    /// The length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address: the bridge's.
    pub fn gateway(self) -> IpAddr {
        self.at(1)
    }

    /// How many pods fit: all addresses but the network's, the gateway's and, in IPv4, the broadcast's.
    pub(crate) fn capacity(self) -> u32 {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        let size = 1u128.checked_shl(bits - u32::from(self.prefix)).unwrap_or(MOST).min(MOST);
        // At most `MOST`, which fits.
        size as u32 - 3
    }

    /// The pod address that follows `address`, round and round.
    pub(crate) fn after(self, address: IpAddr) -> IpAddr {
        let next = number(address).wrapping_sub(number(self.network)).wrapping_add(1);
        let inside = address.is_ipv4() == self.network.is_ipv4()
            && (2..2 + u128::from(self.capacity())).contains(&next);
        self.at(if inside { next } else { 2 })
    }

    /// The address with this number in the subnet.
    fn at(self, position: u128) -> IpAddr {
        match self.network {
            // Positions are smaller than the subnet.
            IpAddr::V4(network) => IpAddr::V4((u32::from(network) + position as u32).into()),
            IpAddr::V6(network) => IpAddr::V6((u128::from(network) + position).into()),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let refused = || InvalidSubnet::Form { text: text.chars().take(80).collect() };
        let (network, prefix) = text.split_once('/').ok_or_else(refused)?;
        let network: IpAddr = network.parse().map_err(|_| refused())?;
        let prefix: u8 = prefix.parse().map_err(|_| refused())?;
        let (allowed, bits) = if network.is_ipv4() { (8..=29, 32) } else { (16..=125, 128) };
        if !allowed.contains(&prefix)
            || network.is_unspecified()
            || number(network).trailing_zeros() < bits - u32::from(prefix)
        {
            return Err(refused());
        }
        Ok(Self { network, prefix })
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

    fn walked(subnet: &str, steps: usize) -> Vec<String> {
        let subnet: Subnet = subnet.parse().unwrap();
        let next = |address: &IpAddr| Some(subnet.after(*address));
        std::iter::successors(next(&subnet.gateway()), next).take(steps).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn subnets_are_walked_in_a_circle() {
        assert_eq!(
            walked("10.1.2.8/29", 6),
            ["10.1.2.10", "10.1.2.11", "10.1.2.12", "10.1.2.13", "10.1.2.14", "10.1.2.10"]
        );
        assert_eq!(
            walked("fd85::8/125", 6),
            ["fd85::a", "fd85::b", "fd85::c", "fd85::d", "fd85::e", "fd85::a"]
        );
        let subnet: Subnet = "fd85::/64".parse().unwrap();
        assert_eq!((subnet.gateway().to_string(), subnet.capacity()), ("fd85::1".into(), (1 << 24) - 3));
        for elsewhere in ["255.255.255.255", "::", "ffff::", "fd85::100:0", "10.1.2.9"] {
            assert_eq!(subnet.after(elsewhere.parse().unwrap()).to_string(), "fd85::2", "{elsewhere}");
        }
    }

    #[test]
    fn texts_that_are_no_subnets_are_refused() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.1/24",
            "10.0.0.0/30",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "::/64",
            "a/b",
            "fd85::1/64",
            "fd85::/126",
            "fd85::/8",
            "fd85::/-1",
            "fd85::%eth0/64",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pod_gets_one_address_of_a_family() {
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Subnets::parse(&texts)
        };
        let (v4, v6) = ("10.85.0.0/16", "fd85::/64");
        for good in [&[v4][..], &[v6], &[v4, v6], &[v6, v4]] {
            let subnets = parse(good).unwrap();
            assert_eq!(subnets.to_string(), good.join(", "));
            assert_eq!((subnets.has_v4(), subnets.has_v6()), (good.contains(&v4), good.contains(&v6)));
        }
        for bad in [&[][..], &[v4, "10.86.0.0/16"], &[v6, "fd86::/64"], &[v4, v6, "10.86.0.0/16"]] {
            assert!(matches!(parse(bad), Err(InvalidSubnet::Families { .. })), "{bad:?}");
        }
        assert!(
            matches!(parse(&[v4, "fd85::1/64"]), Err(InvalidSubnet::Form { text }) if text == "fd85::1/64")
        );
    }
}
