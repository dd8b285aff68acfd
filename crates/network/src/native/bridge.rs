//! The bridge of the built-in network, made when the first pod needs it.
//!
//! It carries the state directory of the engine that uses it as its alias: two engines with one bridge would give the same
//! addresses to their pods, so the second is told to take a bridge and subnets of its own as long as the first has
//! leases and pods.

use std::net::IpAddr;
use std::path::Path;

use parking_lot::Mutex;

use super::lease::Leases;
use super::{NativeError, enable_v6, hardware_address, masquerade, settled, sweep};
use crate::config::NativeConfig;
use crate::netlink::route::Route;
use crate::netlink::{NetlinkError, Protocol, Socket};
use crate::nft::Family;
use crate::sysctl;

/// What an alias begins with; the state directory follows.
const ALIAS: &str = "ochre: ";
/// `IFALIASZ` without its end.
const ALIAS_BYTES: usize = 255;

/// The bridge device and what belongs to it.
#[derive(Debug)]
pub(crate) struct Bridge {
    config: NativeConfig,
    /// Names this engine on the device.
    alias: String,
    table: String,
    /// Index of the device this process has set up; another index means that somebody removed ours.
    /// The lock makes the first pods wait for one setup instead of racing through it.
    ready: Mutex<Option<u32>>,
}

impl Bridge {
    pub(crate) fn new(config: NativeConfig, state_dir: &Path) -> Self {
        let mut alias = format!("{ALIAS}{}", state_dir.display());
        alias.truncate(alias.floor_char_boundary(ALIAS_BYTES));
        Self { table: config.table(masquerade::TABLE), config, alias, ready: Mutex::new(None) }
    }

    pub(crate) fn hardware_address(&self) -> [u8; 6] {
        let gateways: Vec<IpAddr> = self.config.subnets.iter().map(|subnet| subnet.gateway()).collect();
        hardware_address(&gateways)
    }

    /// The index of the bridge, which is up, has its addresses and is masqueraded.
    pub(crate) fn ensure(&self, route: &mut Route) -> Result<u32, NativeError> {
        let mut ready = self.ready.lock();
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let link = route.link(&self.config.bridge)?;
        if let Some(link) = link.filter(|link| link.up && *ready == Some(link.index))
            && self.is_masqueraded(&mut socket)?
        {
            return Ok(link.index);
        }
        let index = self.set_up(route, &mut socket)?;
        *ready = Some(index);
        Ok(index)
    }

    /// Removes the device and the masquerade table.
    pub(crate) fn remove(&self) -> Result<bool, NativeError> {
        *self.ready.lock() = None;
        let mut route = Route::open()?;
        if let Some(link) = route.link(&self.config.bridge)?.filter(|link| link.kind == "bridge") {
            if route.has_ports(link.index)? {
                // Pods of another engine with the same defaults: the bridge and its rules are theirs now.
                return Ok(false);
            }
            route.delete(&self.config.bridge)?;
        }
        masquerade::remove(&self.table, &self.config.subnets)?;
        Ok(true)
    }

    fn is_masqueraded(&self, socket: &mut Socket) -> Result<bool, NetlinkError> {
        let families = self.config.subnets.iter().map(|subnet| Family::of(subnet.gateway()));
        families
            .map(|family| masquerade::exists(socket, family, &self.table))
            .try_fold(true, |all, one| Ok(all && one?))
    }

    /// Every step is fine with being repeated.
    fn set_up(&self, route: &mut Route, socket: &mut Socket) -> Result<u32, NativeError> {
        let NativeConfig { bridge, subnets, mtu, .. } = &self.config;
        if route.link(bridge)?.is_none() {
            match route.add_bridge(bridge, self.hardware_address(), *mtu) {
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                result => result?,
            }
        }
        let link = route.link(bridge)?.ok_or_else(|| NativeError::DeviceGone { name: bridge.clone() })?;
        if link.kind != "bridge" {
            return Err(NativeError::NotABridge { name: bridge.clone() });
        }
        self.claim(route, link.index, link.alias)?;
        if subnets.has_v6() {
            enable_v6(bridge)?;
            sysctl::set(&format!("net/ipv6/conf/{bridge}/accept_ra"), "0")?;
            // Or a bridge that somebody takes down and up again would have lost its IPv6 address (Linux 4.6).
            sysctl::set_if_present(&format!("net/ipv6/conf/{bridge}/keep_addr_on_down"), "1")?;
            forward_v6()?;
        } else {
            // A pod must not become the node's IPv6 router (CVE-2020-10749).
            sysctl::set_if_present(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "1")?;
        }
        if subnets.has_v4() {
            sysctl::set("net/ipv4/ip_forward", "1")?;
        }
        for subnet in subnets.iter() {
            route.add_address(link.index, subnet.gateway(), subnet.prefix())?;
        }
        if !link.up {
            route.raise(&[bridge])?;
        }
        for subnet in subnets.iter() {
            settled(|| route.is_local(subnet.gateway()))?;
            masquerade::install(socket, &self.table, subnet).map_err(|source: NetlinkError| {
                NativeError::Masquerade { subnets: subnet.to_string(), source: Box::new(source.into()) }
            })?;
        }
        Ok(link.index)
    }

    /// Writes this engine's name on the bridge, unless another engine's pods are connected to it.
    fn claim(&self, route: &mut Route, index: u32, alias: Option<String>) -> Result<(), NativeError> {
        if let Some(owner) = alias.as_deref().filter(|alias| *alias != self.alias)
            && let Some(state_dir) = owner.strip_prefix(ALIAS)
            && Leases::are_in(Path::new(state_dir))
        {
            // Cables that the other engine has cut are no pods, nor are those of namespaces that the kernel is taking
            // apart.
            sweep::now(route)?;
            settled(|| Ok(!route.has_ports(index)?))?;
            if route.has_ports(index)? {
                let (name, owner) = (self.config.bridge.clone(), state_dir.to_owned());
                return Err(NativeError::BridgeTaken { name, owner });
            }
        }
        Ok(route.set_alias(&self.config.bridge, &self.alias)?)
    }
}

/// Lets the node forward IPv6. A forwarding node ignores router advertisements unless told otherwise; devices that took
/// them go on to, or the node would lose its own default route.
fn forward_v6() -> Result<(), NativeError> {
    if sysctl::is("net/ipv6/conf/all/forwarding", "1") {
        return Ok(());
    }
    for device in sysctl::names("net/ipv6/conf") {
        let key = format!("net/ipv6/conf/{device}/accept_ra");
        if device != "all" && sysctl::is(&key, "1") {
            // A device may vanish meanwhile.
            sysctl::set_if_present(&key, "2")?;
        }
    }
    Ok(sysctl::set("net/ipv6/conf/all/forwarding", "1")?)
}
