//! The bridge of the built-in network, made when the first pod needs it.

use parking_lot::Mutex;

use super::{NativeError, hardware_address, masquerade};
use crate::config::NativeConfig;
use crate::netlink::route::Route;
use crate::netlink::{NetlinkError, Protocol, Socket};
use crate::sysctl;

/// The bridge device and what belongs to it.
#[derive(Debug)]
pub(crate) struct Bridge {
    config: NativeConfig,
    /// Index of the device this process has set up; another index means that somebody removed ours.
    /// The lock makes the first pods wait for one setup instead of racing through it.
    ready: Mutex<Option<u32>>,
}

impl Bridge {
    pub(crate) fn new(config: NativeConfig) -> Self {
        Self { config, ready: Mutex::new(None) }
    }

    /// The index of the bridge, which is up, has its address and is masqueraded.
    pub(crate) fn ensure(&self, route: &mut Route) -> Result<u32, NativeError> {
        let mut ready = self.ready.lock();
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let link = route.link(&self.config.bridge)?;
        if let Some(link) = link.filter(|link| link.up && *ready == Some(link.index))
            && masquerade::exists(&mut socket)?
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
        masquerade::remove(self.config.subnet)?;
        Ok(true)
    }

    /// Every step is fine with being repeated.
    fn set_up(&self, route: &mut Route, socket: &mut Socket) -> Result<u32, NativeError> {
        let NativeConfig { bridge, subnet, mtu, .. } = &self.config;
        if route.link(bridge)?.is_none() {
            match route.add_bridge(bridge, hardware_address(subnet.gateway()), *mtu) {
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                result => result?,
            }
        }
        let link = route.link(bridge)?.ok_or_else(|| NativeError::DeviceGone { name: bridge.clone() })?;
        if link.kind != "bridge" {
            return Err(NativeError::NotABridge { name: bridge.clone() });
        }
        // The network is IPv4 only: a pod must not become the node's IPv6 router either (CVE-2020-10749).
        sysctl::set_if_present(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "1")?;
        sysctl::set("net/ipv4/ip_forward", "1")?;
        route.add_address(link.index, subnet.gateway(), subnet.prefix())?;
        if !link.up {
            route.raise(&[bridge])?;
        }
        masquerade::install(socket, *subnet).map_err(|source: NetlinkError| NativeError::Masquerade {
            subnet: subnet.to_string(),
            source: Box::new(source.into()),
        })?;
        Ok(link.index)
    }
}
