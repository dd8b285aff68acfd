//! The built-in network: a bridge on the node, a veth pair per pod, an address from one subnet of IPv4, of IPv6 or both.
//!
//! ```text
//!  pod's namespace            node
//!  eth0 10.85.0.7/16 ──veth── vethXXXXXXXXXXX ─┐
//!  default via 10.85.0.1                       ├─ ochre0 10.85.0.1/16 ── forwarding ── masquerade ── world
//!  eth0 10.85.0.8/16 ──veth── vethYYYYYYYYYYY ─┘
//! ```
//!
//! It is used where no CNI network is configured, so that a node without any plugin can run pods.
//!
//! A pod may send and be sent to from its first packet on. Three things happen in the kernel's background after the
//! calls that ask for them, and each would cost the first packet and with it a second; [`Native::plug`] waits for them:
//! the bridge opens the pod's port; the bridge itself, which has no carrier without pods, begins to send; and a new
//! IPv6 address becomes one the namespace takes packets for. Duplicate address detection is off: the leases are the
//! detection.

mod bridge;
mod error;
mod lease;
mod masquerade;
mod sweep;

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ochre_sys::namespace::{Kind, in_namespace};
use ochre_types::SandboxId;
use serde_json::{Value, json};

use crate::config::NativeConfig;
use crate::error::NotReady;
use crate::netlink::NetlinkError;
use crate::netlink::route::{Address, Route, Veth, format_mac};
use crate::sysctl;
use bridge::Bridge;
pub use error::NativeError;
use lease::Leases;
use sweep::Sweep;

/// The name under which the network is reported.
pub(crate) const NAME: &str = "ochre-bridge";
/// The pod's device.
const POD_DEVICE: &str = "eth0";
/// How long the kernel's background work may be waited for; it takes less than a millisecond on an idle node.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The built-in network of this node.
#[derive(Debug)]
pub(crate) struct Native {
    config: NativeConfig,
    bridge: Bridge,
    leases: Leases,
    sweep: Sweep,
}

/// What a pod got.
#[derive(Debug)]
pub(crate) struct Plugged {
    /// With prefix lengths, in the order of the subnets.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) mac: String,
    pub(crate) result: Value,
}

impl Native {
    pub(crate) fn open(config: NativeConfig, state_dir: &Path) -> Result<Self, NativeError> {
        let leases = Leases::open(state_dir, &config.subnets)?;
        Ok(Self { bridge: Bridge::new(config.clone(), state_dir), leases, sweep: Sweep::default(), config })
    }

    /// The device that leads to every pod.
    pub(crate) fn device(&self) -> &str {
        &self.config.bridge
    }

    /// The node's addresses in the subnets, with prefix lengths.
    pub(crate) fn gateways(&self) -> Vec<(IpAddr, u8)> {
        self.config.subnets.iter().map(|subnet| (subnet.gateway(), subnet.prefix())).collect()
    }

    /// Connects a pod. On failure the caller unplugs it.
    pub(crate) fn plug(
        &self,
        sandbox: &SandboxId,
        netns: BorrowedFd<'_>,
        netns_path: &Path,
    ) -> Result<Plugged, NativeError> {
        let mut route = Route::open()?;
        let bridge = self.bridge.ensure(&mut route)?;
        let ips = self.leases.take(sandbox)?;
        let addresses: Vec<Address> = self
            .config
            .subnets
            .iter()
            .zip(&ips)
            .map(|(subnet, ip)| Address { ip: *ip, prefix: subnet.prefix(), gateway: subnet.gateway() })
            .collect();
        let mac = hardware_address(&ips);
        let host = host_device(sandbox);
        let mtu = self.config.mtu;
        let veth = Veth { host: &host, bridge, pod: POD_DEVICE, pod_mac: mac, netns, mtu };
        match route.add_veth(&veth) {
            // The cable of an earlier try may wait for its removal.
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                sweep::now(&mut route)?;
                route.add_veth(&veth)?;
            }
            result => result?,
        }
        route.allow_hairpin(&host)?;
        in_namespace(netns, Kind::Net, || configure(&addresses))
            .map_err(|source| NativeError::Namespace { path: netns_path.to_owned(), source })??;
        // A bridge that an operator made to take its time is not waited for longer than this.
        settled(|| route.forwards(&host))?;
        settled(|| Ok(route.link(&self.config.bridge)?.is_none_or(|link| link.running)))?;
        let mac = format_mac(&mac);
        let result = self.result(&addresses, &mac, &host, netns_path);
        Ok(Plugged { addresses: addresses.iter().map(|a| (a.ip, a.prefix)).collect(), mac, result })
    }

    /// Disconnects a pod; what is gone already is fine. Both steps are always tried. The pod's device is cut off on
    /// return and vanishes soon after.
    pub(crate) fn unplug(&self, sandbox: &SandboxId) -> Result<(), NativeError> {
        let device = Route::open().and_then(|mut route| self.sweep.cut(&mut route, &host_device(sandbox)));
        let lease = self.leases.release(sandbox);
        device?;
        lease
    }

    /// Whether the pod is still connected as it was.
    pub(crate) fn check(
        &self,
        netns: BorrowedFd<'_>,
        netns_path: &Path,
        addresses: &[IpAddr],
    ) -> Result<(), NativeError> {
        in_namespace(netns, Kind::Net, || -> Result<(), NativeError> {
            let mut route = Route::open()?;
            let link = route.link(POD_DEVICE)?.filter(|link| link.up);
            for address in addresses {
                let found = match &link {
                    Some(link) => route.has_address(link.index, *address)?,
                    None => false,
                };
                if !found {
                    return Err(NativeError::Disconnected { path: netns_path.to_owned(), address: *address });
                }
            }
            Ok(())
        })
        .map_err(|source| NativeError::Namespace { path: netns_path.to_owned(), source })?
    }

    /// The pods that hold addresses.
    pub(crate) fn owners(&self) -> Vec<SandboxId> {
        self.leases.owners()
    }

    /// Whether the pod holds an address. A pod is connected only after it got one.
    pub(crate) fn holds(&self, sandbox: &SandboxId) -> bool {
        self.leases.holds(sandbox)
    }

    /// Removes what was cut off, and waits for it.
    pub(crate) fn sweep(&self) -> Result<(), NativeError> {
        Ok(sweep::now(&mut Route::open()?)?)
    }

    /// Removes the bridge and the masquerade table, unless pods are still connected; says whether it did.
    pub(crate) fn teardown(&self) -> Result<bool, NativeError> {
        self.sweep()?;
        self.bridge.remove()
    }

    /// In the shape of a CNI 1.0 result, so that whoever reads results need not know the difference.
    fn result(&self, addresses: &[Address], mac: &str, host: &str, netns: &Path) -> Value {
        let ips: Vec<Value> = addresses
            .iter()
            .map(|Address { ip, prefix, gateway }| {
                json!({"interface": 2, "address": format!("{ip}/{prefix}"), "gateway": gateway.to_string()})
            })
            .collect();
        let routes: Vec<Value> = addresses
            .iter()
            .map(|Address { gateway, .. }| {
                let everywhere = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                json!({"dst": everywhere, "gw": gateway.to_string()})
            })
            .collect();
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": self.config.bridge, "mac": format_mac(&self.bridge.hardware_address())},
                {"name": host},
                {"name": POD_DEVICE, "mac": mac, "sandbox": netns.to_string_lossy()},
            ],
            "ips": ips,
            "routes": routes,
            "dns": {},
        })
    }
}

/// Why the network cannot work on this node, as far as that can be told before the first pod.
pub(crate) fn unusable(config: &NativeConfig) -> Option<NotReady> {
    let missing = config.subnets.has_v6() && !Path::new("/proc/sys/net/ipv6").exists();
    missing.then(|| NotReady { reason: NativeError::NoIpv6.to_string() })
}

/// Brings the loopback of the calling thread's network namespace up.
///
/// # Errors
/// The kernel's refusal.
pub fn raise_loopback() -> Result<(), crate::NetlinkError> {
    Route::open()?.raise(&["lo"])
}

/// [`raise_loopback`] in another namespace.
pub(crate) fn raise_loopback_of(netns: impl AsFd, path: &Path) -> Result<(), NativeError> {
    in_namespace(netns, Kind::Net, raise_loopback)
        .map_err(|source| NativeError::Namespace { path: path.to_owned(), source })?
        .map_err(NativeError::from)
}

/// Runs in the pod's namespace.
fn configure(addresses: &[Address]) -> Result<(), NativeError> {
    let mut route = Route::open()?;
    let device = route.link(POD_DEVICE)?.ok_or(NativeError::DeviceGone { name: POD_DEVICE.to_owned() })?;
    // A neighbour must not become this pod's router by claiming to be one (CVE-2020-10749).
    sysctl::set_if_present("net/ipv6/conf/eth0/accept_ra", "0")?;
    let v6 = || addresses.iter().map(|address| address.ip).filter(IpAddr::is_ipv6);
    if v6().next().is_some() {
        enable_v6(POD_DEVICE)?;
    }
    route.raise(&["lo", POD_DEVICE])?;
    route.configure(device.index, addresses)?;
    v6().try_for_each(|ip| settled(|| route.is_local(ip)))
}

/// Prepares a device for IPv6 addresses. They are ours to give out: nobody is asked whether they are taken, which would
/// take up to two seconds.
fn enable_v6(device: &str) -> Result<(), NativeError> {
    match sysctl::set(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0") {
        Err(error) if error.is_missing() => return Err(NativeError::NoIpv6),
        result => result?,
    }
    Ok(sysctl::set(&format!("net/ipv6/conf/{device}/accept_dad"), "0")?)
}

/// Waits a while for something that the kernel does in the background.
fn settled(mut done: impl FnMut() -> Result<bool, NetlinkError>) -> Result<(), NativeError> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !done()? && started.elapsed() < SETTLE_TIMEOUT {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    Ok(())
}

/// Locally administered and made from the IPv4 address, or the end of the IPv6 one: when an address is given out again,
/// no neighbour remembers a hardware address that is gone.
fn hardware_address(addresses: &[IpAddr]) -> [u8; 6] {
    match addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        Some(IpAddr::V6(ip)) => {
            let [.., a, b, c, d] = ip.octets();
            [0x0a, 0x66, a, b, c, d]
        }
        None => [0x0a, 0x58, 0, 0, 0, 0],
    }
}

/// Device names have at most 15 characters; 11 of an id are 44 random bits.
fn host_device(sandbox: &SandboxId) -> String {
    format!("veth{}", &sandbox.as_str()[..11])
}
