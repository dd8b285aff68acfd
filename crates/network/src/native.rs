//! The built-in network: a bridge on the node, a veth pair per pod, IPv4 addresses from one subnet.
//!
//! ```text
//!  pod's namespace            node
//!  eth0 10.85.0.7/16 ──veth── vethXXXXXXXXXXX ─┐
//!  default via 10.85.0.1                       ├─ ochre0 10.85.0.1/16 ── ip_forward ── masquerade ── world
//!  eth0 10.85.0.8/16 ──veth── vethYYYYYYYYYYY ─┘
//! ```
//!
//! It is used where no CNI network is configured, so that a node without any plugin can run pods.

mod bridge;
mod error;
mod lease;
mod masquerade;
mod sweep;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ochre_sys::namespace::{Kind, in_namespace};
use ochre_types::SandboxId;
use serde_json::{Value, json};

use crate::config::NativeConfig;
use crate::netlink::route::{Route, Veth, format_mac};
use crate::sysctl;
use bridge::Bridge;
pub use error::NativeError;
use lease::Leases;
use sweep::Sweep;

/// The name under which the network is reported.
pub(crate) const NAME: &str = "ochre-bridge";
/// The pod's device.
const POD_DEVICE: &str = "eth0";
/// How long a bridge port may take to open; it takes less than a millisecond on an idle node.
const FORWARDING_TIMEOUT: Duration = Duration::from_secs(1);

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
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) mac: String,
    pub(crate) result: Value,
}

impl Native {
    pub(crate) fn open(config: NativeConfig, state_dir: &Path) -> Result<Self, NativeError> {
        let leases = Leases::open(state_dir, config.subnet)?;
        Ok(Self { bridge: Bridge::new(config.clone()), leases, sweep: Sweep::default(), config })
    }

    /// The device that leads to every pod.
    pub(crate) fn device(&self) -> &str {
        &self.config.bridge
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
        let address = self.leases.take(sandbox)?;
        let mac = hardware_address(address);
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
        let subnet = self.config.subnet;
        in_namespace(netns, Kind::Net, || configure(address, subnet.prefix(), subnet.gateway()))
            .map_err(|source| NativeError::Namespace { path: netns_path.to_owned(), source })??;
        wait_until_forwarding(&mut route, &host)?;
        let mac = format_mac(&mac);
        let result = self.result(address, &mac, &host, netns_path);
        Ok(Plugged { address, prefix: subnet.prefix(), mac, result })
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
        address: Ipv4Addr,
    ) -> Result<(), NativeError> {
        in_namespace(netns, Kind::Net, || -> Result<(), NativeError> {
            let mut route = Route::open()?;
            let missing = || NativeError::Disconnected { path: netns_path.to_owned(), address };
            let link = route.link(POD_DEVICE)?.filter(|link| link.up).ok_or_else(missing)?;
            if route.has_address(link.index, address)? { Ok(()) } else { Err(missing()) }
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
    fn result(&self, address: Ipv4Addr, mac: &str, host: &str, netns: &Path) -> Value {
        let subnet = self.config.subnet;
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": self.config.bridge, "mac": format_mac(&hardware_address(subnet.gateway()))},
                {"name": host},
                {"name": POD_DEVICE, "mac": mac, "sandbox": netns.to_string_lossy()},
            ],
            "ips": [{
                "interface": 2,
                "address": format!("{address}/{}", subnet.prefix()),
                "gateway": subnet.gateway().to_string(),
            }],
            "routes": [{"dst": "0.0.0.0/0", "gw": subnet.gateway().to_string()}],
            "dns": {},
        })
    }
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
fn configure(address: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Result<(), NativeError> {
    let mut route = Route::open()?;
    let device = route.link(POD_DEVICE)?.ok_or(NativeError::DeviceGone { name: POD_DEVICE.to_owned() })?;
    // A neighbour must not become this pod's router by claiming to be one (CVE-2020-10749).
    sysctl::set_if_present("net/ipv6/conf/eth0/accept_ra", "0")?;
    route.raise(&["lo", POD_DEVICE])?;
    route.configure(device.index, address, prefix, gateway)?;
    Ok(())
}

/// The kernel opens a bridge port in the background after its cable is complete. A pod that started to talk before
/// would lose its first packet and with it a second. A bridge that an operator made to take longer is not waited for.
fn wait_until_forwarding(route: &mut Route, port: &str) -> Result<(), NativeError> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !route.forwards(port)? && started.elapsed() < FORWARDING_TIMEOUT {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    Ok(())
}

/// Locally administered and made from the address: when an address is given out again, no neighbour remembers a
/// hardware address that is gone.
fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Device names have at most 15 characters; 11 of an id are 44 random bits.
fn host_device(sandbox: &SandboxId) -> String {
    format!("veth{}", &sandbox.as_str()[..11])
}

impl Plugged {
    pub(crate) fn target(&self) -> (IpAddr, u8) {
        (IpAddr::V4(self.address), self.prefix)
    }
}
