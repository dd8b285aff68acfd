//! Links, addresses and routes of one network namespace (rtnetlink(7)).
//!
//! Several requests go into one [`Batch`] where they do not depend on each other's answers.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{ACK, CREATE, EXCLUSIVE, Writer, text, u32_at};
use super::{Answer, Batch, NetlinkError, Protocol, Socket, attributes};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const DISABLED: u8 = 0;
const FORWARDING: u8 = 3;
const VETH_INFO_PEER: u16 = 1;
const SKIP_STATISTICS: u32 = 8;
const IFF_UP: u32 = 1;
/// `IFF_RUNNING`: the kernel has taken note of the carrier and sends through the device.
const IFF_RUNNING: u32 = 0x40;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_NODAD`: no look for a second owner, so that the address works at once.
const NO_DUPLICATE_DETECTION: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const MAIN_TABLE: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const SCOPE_UNIVERSE: u8 = 0;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) mac: Option<String>,
    pub(crate) up: bool,
    /// Frames can be sent through it now.
    pub(crate) running: bool,
    /// `bridge`, `veth`, …; empty for plain devices.
    pub(crate) kind: String,
    /// A text for people.
    pub(crate) alias: Option<String>,
}

/// An address of a device with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    /// The way to everywhere else.
    pub(crate) gateway: IpAddr,
}

/// The two ends of a virtual cable.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    /// The host's end.
    pub(crate) host: &'a str,
    /// The bridge the host's end is plugged into.
    pub(crate) bridge: u32,
    /// The pod's end.
    pub(crate) pod: &'a str,
    pub(crate) pod_mac: [u8; 6],
    pub(crate) netns: BorrowedFd<'a>,
    /// Bytes; `None` is the kernel's default.
    pub(crate) mtu: Option<u32>,
}

/// A socket for links, addresses and routes.
#[derive(Debug)]
pub(crate) struct Route {
    socket: Socket,
}

impl Route {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Looks a device up by name; `None` when there is none.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, 0, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, name);
            m.native(IFLA_EXT_MASK, SKIP_STATISTICS);
        });
        match self.ask(&batch, &format!("look up device {name}"), read_link) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of a device.
    pub(crate) fn name(&mut self, index: u32) -> Result<String, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, 0, |m| {
            link_header(m, index, 0, 0);
            m.native(IFLA_EXT_MASK, SKIP_STATISTICS);
        });
        self.ask(&batch, &format!("look up device number {index}"), |payload| {
            attributes(payload.get(16..)?)
                .find(|(kind, _)| *kind == IFLA_IFNAME)
                .map(|(_, value)| text(value))
        })
    }

    /// The device through which packets to `ip` leave.
    pub(crate) fn device_towards(&mut self, ip: IpAddr) -> Result<u32, NetlinkError> {
        self.route_to(ip, |payload| {
            attributes(payload.get(12..)?)
                .find(|(kind, _)| *kind == RTA_OIF)
                .and_then(|(_, value)| u32_at(value, 0))
        })
    }

    /// Whether packets to `ip` are for this namespace by now.
    pub(crate) fn is_local(&mut self, ip: IpAddr) -> Result<bool, NetlinkError> {
        match self.route_to(ip, |payload| Some(*payload.get(7)? == TYPE_LOCAL)) {
            Err(error) if error.errno() == Some(libc::ENETUNREACH) => Ok(false),
            result => result,
        }
    }

    fn route_to<T>(&mut self, ip: IpAddr, read: impl Fn(&[u8]) -> Option<T>) -> Result<T, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETROUTE, 0, |m| {
            m.raw(&[family(ip), bits(ip), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            m.attribute(RTA_DST, &octets(ip));
        });
        self.ask(&batch, &format!("find the route to {ip}"), read)
    }

    /// Whether `address` is configured on the device.
    pub(crate) fn has_address(&mut self, index: u32, address: IpAddr) -> Result<bool, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETADDR, super::message::DUMP, |m| {
            m.raw(&[family(address), 0, 0, 0, 0, 0, 0, 0]);
        });
        // IPv6 names the own address as it names that of a point-to-point peer in IPv4.
        let own = if address.is_ipv4() { IFA_LOCAL } else { IFA_ADDRESS };
        let mut found = false;
        self.socket.exchange(&batch, |answer| {
            if let Answer::Object(object) = answer {
                found |= u32_at(object.payload, 4) == Some(index)
                    && attributes(object.payload.get(8..).unwrap_or_default())
                        .any(|(kind, value)| kind == own && value == octets(address));
            }
        })?;
        Ok(found)
    }

    /// Whether any device is a port of the bridge.
    pub(crate) fn has_ports(&mut self, bridge: u32) -> Result<bool, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, super::message::DUMP, |m| {
            link_header(m, 0, 0, 0);
            m.native(IFLA_EXT_MASK, SKIP_STATISTICS);
        });
        let mut found = false;
        self.socket.exchange(&batch, |answer| {
            if let Answer::Object(object) = answer {
                found |= attributes(object.payload.get(16..).unwrap_or_default())
                    .any(|(kind, value)| kind == IFLA_MASTER && u32_at(value, 0) == Some(bridge));
            }
        })?;
        Ok(found)
    }

    /// Makes a bridge with a fixed hardware address: a bridge without one takes its ports' and changes with them.
    pub(crate) fn add_bridge(
        &mut self,
        name: &str,
        mac: [u8; 6],
        mtu: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, |m| {
            link_header(m, 0, IFF_UP, IFF_UP);
            m.text(IFLA_IFNAME, name);
            m.attribute(IFLA_ADDRESS, &mac);
            if let Some(mtu) = mtu {
                m.native(IFLA_MTU, mtu);
            }
            m.nested(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "bridge");
                // Else a pod that plays the multicast router could keep neighbour discovery from its neighbours.
                m.nested(IFLA_INFO_DATA, |m| m.attribute(IFLA_BR_MCAST_SNOOPING, &[0]));
            });
        });
        self.socket.run(&batch, |_| format!("make bridge {name}"))
    }

    /// Writes a device's text for people.
    pub(crate) fn set_alias(&mut self, name: &str, alias: &str) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, name);
            m.attribute(IFLA_IFALIAS, alias.as_bytes());
        });
        self.socket.run(&batch, |_| format!("label device {name}"))
    }

    /// Makes a veth pair: the host's end up and plugged into the bridge, the pod's end (still down) in its namespace.
    pub(crate) fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, |m| {
            link_header(m, 0, IFF_UP, IFF_UP);
            m.text(IFLA_IFNAME, veth.host);
            m.native(IFLA_MASTER, veth.bridge);
            if let Some(mtu) = veth.mtu {
                m.native(IFLA_MTU, mtu);
            }
            m.nested(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "veth");
                m.nested(IFLA_INFO_DATA, |m| m.nested(VETH_INFO_PEER, |m| write_peer(m, veth)));
            });
        });
        self.socket.run(&batch, |_| format!("make veth pair {} and {}", veth.host, veth.pod))
    }

    /// Lets a bridge port send a frame back where it came from: a pod that reaches itself through a translated
    /// address needs it when bridged frames pass the firewall (`bridge-nf-call-iptables`).
    pub(crate) fn allow_hairpin(&mut self, port: &str) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, port);
            port_setting(m, IFLA_BRPORT_MODE, 1);
        });
        self.socket.run(&batch, |_| format!("set hairpin mode of {port}"))
    }

    /// Whether a bridge port forwards frames by now.
    pub(crate) fn forwards(&mut self, port: &str) -> Result<bool, NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_GETLINK, 0, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, port);
            m.native(IFLA_EXT_MASK, SKIP_STATISTICS);
        });
        self.ask(&batch, &format!("look up bridge port {port}"), |payload| {
            let find =
                |buffer, wanted| attributes(buffer).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let port =
                find(payload.get(16..)?, IFLA_LINKINFO).and_then(|info| find(info, IFLA_INFO_SLAVE_DATA));
            Some(port.and_then(|port| find(port, IFLA_BRPORT_STATE)) == Some(&[FORWARDING]))
        })
    }

    /// Brings devices up.
    pub(crate) fn raise(&mut self, names: &[&str]) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        for name in names {
            batch.message(RTM_NEWLINK, ACK, |m| {
                link_header(m, 0, IFF_UP, IFF_UP);
                m.text(IFLA_IFNAME, name);
            });
        }
        self.socket.run(&batch, |sequence| {
            format!("bring up {}", names.get(sequence.wrapping_sub(1) as usize).unwrap_or(&"a device"))
        })
    }

    /// Adds an address; fine when it is there already.
    pub(crate) fn add_address(&mut self, index: u32, ip: IpAddr, prefix: u8) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        address_message(&mut batch, index, ip, prefix);
        tolerate(self.socket.run(&batch, |_| format!("add address {ip}/{prefix}")), libc::EEXIST)
    }

    /// Gives a pod's device its addresses and makes their gateways its default routes, in one call.
    pub(crate) fn configure(&mut self, index: u32, addresses: &[Address]) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        for Address { ip, prefix, gateway } in addresses {
            address_message(&mut batch, index, *ip, *prefix);
            default_route_message(&mut batch, index, *gateway);
        }
        self.socket.run(&batch, |sequence| {
            let position = sequence.wrapping_sub(1) as usize;
            match addresses.get(position / 2) {
                Some(Address { ip, prefix, .. }) if position.is_multiple_of(2) => {
                    format!("add address {ip}/{prefix}")
                }
                Some(Address { gateway, .. }) => format!("add the default route through {gateway}"),
                None => "configure a device".to_owned(),
            }
        })
    }

    /// Removes a device; fine when there is none.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_DELLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, name);
        });
        tolerate(self.socket.run(&batch, |_| format!("remove device {name}")), libc::ENODEV)
    }

    /// Disables a bridge port and puts it into a group of devices.
    pub(crate) fn doom(&mut self, port: &str, group: u32) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_NEWLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, port);
            port_setting(m, IFLA_BRPORT_STATE, DISABLED);
        });
        // RTM_NEWLINK with a group would change every device of the group if this one did not exist.
        batch.message(RTM_SETLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.text(IFLA_IFNAME, port);
            m.native(IFLA_GROUP, group);
        });
        self.socket.run(&batch, |_| format!("disable bridge port {port}"))
    }

    /// Removes every device of a group; fine when there is none.
    pub(crate) fn delete_group(&mut self, group: u32) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.message(RTM_DELLINK, ACK, |m| {
            link_header(m, 0, 0, 0);
            m.native(IFLA_GROUP, group);
        });
        tolerate(self.socket.run(&batch, |_| "remove the cables of gone pods".to_owned()), libc::ENODEV)
    }

    fn ask<T>(
        &mut self,
        batch: &Batch,
        action: &str,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, NetlinkError> {
        let (mut found, mut refused) = (None, None);
        self.socket.exchange(batch, |answer| match answer {
            Answer::Object(object) => found = found.take().or_else(|| read(object.payload)),
            Answer::Refused(refusal) => refused = Some(refusal),
            Answer::Done => {}
        })?;
        match refused {
            Some(refusal) => Err(refusal.into_error(action)),
            None => found.ok_or_else(|| NetlinkError::Incomplete { action: action.to_owned() }),
        }
    }
}

fn write_peer(m: &mut Writer<'_>, veth: &Veth<'_>) {
    link_header(m, 0, 0, 0);
    m.text(IFLA_IFNAME, veth.pod);
    m.attribute(IFLA_ADDRESS, &veth.pod_mac);
    if let Some(mtu) = veth.mtu {
        m.native(IFLA_MTU, mtu);
    }
    m.native(IFLA_NET_NS_FD, veth.netns.as_raw_fd().cast_unsigned());
}

fn port_setting(m: &mut Writer<'_>, setting: u16, value: u8) {
    m.nested(IFLA_LINKINFO, |m| {
        m.text(IFLA_INFO_SLAVE_KIND, "bridge");
        m.nested(IFLA_INFO_SLAVE_DATA, |m| m.attribute(setting, &[value]));
    });
}

/// `struct ifinfomsg`.
fn link_header(m: &mut Writer<'_>, index: u32, flags: u32, change: u32) {
    m.raw(&[0; 4]);
    m.raw(&index.to_ne_bytes());
    m.raw(&flags.to_ne_bytes());
    m.raw(&change.to_ne_bytes());
}

fn address_message(batch: &mut Batch, index: u32, ip: IpAddr, prefix: u8) {
    batch.message(RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, |m| {
        m.raw(&[family(ip), prefix, 0, SCOPE_UNIVERSE]);
        m.raw(&index.to_ne_bytes());
        m.attribute(IFA_LOCAL, &octets(ip));
        m.attribute(IFA_ADDRESS, &octets(ip));
        match ip {
            IpAddr::V4(ip) => {
                let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                m.attribute(IFA_BROADCAST, &(u32::from(ip) | host_bits).to_be_bytes());
            }
            IpAddr::V6(_) => m.native(IFA_FLAGS, NO_DUPLICATE_DETECTION),
        }
    });
}

fn default_route_message(batch: &mut Batch, index: u32, gateway: IpAddr) {
    batch.message(RTM_NEWROUTE, ACK | CREATE | EXCLUSIVE, |m| {
        let fields =
            [family(gateway), 0, 0, 0, MAIN_TABLE, PROTOCOL_BOOT, SCOPE_UNIVERSE, TYPE_UNICAST, 0, 0, 0, 0];
        m.raw(&fields);
        m.attribute(RTA_GATEWAY, &octets(gateway));
        m.native(RTA_OIF, index);
    });
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let index = u32_at(payload, 4)?;
    let flags = u32_at(payload, 8)?;
    let (up, running) = (flags & IFF_UP != 0, flags & IFF_RUNNING != 0);
    let mut link = Link { index, mac: None, up, running, kind: String::new(), alias: None };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = Some(format_mac(value)),
            IFLA_IFALIAS => link.alias = Some(text(value)),
            IFLA_LINKINFO => {
                let found = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = found.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// The usual notation: pairs of hexadecimal digits with colons.
pub(crate) fn format_mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn tolerate(result: Result<(), NetlinkError>, errno: i32) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.errno() == Some(errno) => Ok(()),
        result => result,
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
