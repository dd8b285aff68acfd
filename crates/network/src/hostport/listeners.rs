//! Processes of the node that listen on a port a pod asks for.
//!
//! A translated port would be taken away from them without a word. A port is not held by a socket of the engine's own
//! afterwards: that would end with the daemon, and a process that starts to listen later is the operator's doing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HostPortError;
use super::claims::{Port, Record};
use crate::netlink::message::DUMP;
use crate::netlink::{Answer, Batch, NetlinkError, Protocol, Socket, attributes};
use crate::nft::Family;
use crate::request::PortProtocol;

/// `SOCK_DIAG_BY_FAMILY` (sock_diag(7)).
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_SKV6ONLY`.
const V6_ONLY: u16 = 11;
/// `TCP_LISTEN`; SCTP uses the same number.
const LISTENING: u32 = 1 << 10;
/// `TCP_CLOSE`: an UDP socket without a peer, which is what servers have and clients do not.
const WITHOUT_PEER: u32 = 1 << 7;

/// A socket that takes what comes to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    /// Of an IPv6 socket: whether IPv4 is not for it.
    v6_only: bool,
}

/// Refuses a record that wants a port some process of the node listens on.
pub(crate) fn check(record: &Record) -> Result<(), HostPortError> {
    let asked: BTreeSet<(PortProtocol, u16)> =
        record.ports.iter().map(|port| (port.protocol, port.host_port)).collect();
    let mut socket = Socket::open(Protocol::SocketDiagnosis)?;
    for (protocol, number) in asked {
        let listeners = listeners(&mut socket, protocol, number)?;
        let same = |port: &&Port| (port.protocol, port.host_port) == (protocol, number);
        for port in record.ports.iter().filter(same) {
            if let Some(listener) = listeners.iter().find(|listener| listener.concerns(port)) {
                return Err(HostPortError::InUse { port: number, protocol, address: listener.address });
            }
        }
    }
    Ok(())
}

impl Listener {
    /// Whether a translation of this port would take something away from the socket.
    fn concerns(&self, port: &Port) -> bool {
        let address = self.address.to_canonical();
        if address.is_unspecified() {
            return Family::of(address) == port.family() || (address.is_ipv6() && !self.v6_only);
        }
        Family::of(address) == port.family() && port.host_ip.is_none_or(|ip| ip == address)
    }
}

fn listeners(socket: &mut Socket, protocol: PortProtocol, port: u16) -> Result<Vec<Listener>, NetlinkError> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let states = if protocol == PortProtocol::Udp { WITHOUT_PEER } else { LISTENING };
        let mut batch = Batch::new();
        batch.message(BY_FAMILY, DUMP, |m| {
            m.raw(&[family as u8, protocol.number(), 0, 0]);
            m.raw(&states.to_ne_bytes());
            // `struct inet_diag_sockid`: source port, destination port, addresses, device, cookie.
            let [high, low] = port.to_be_bytes();
            m.raw(&[high, low, 0, 0]);
            m.raw(&[0; 36]);
            m.raw(&[0xff; 8]);
        });
        let mut refused = None;
        socket.exchange(&batch, |answer| match answer {
            Answer::Object(object) => found.extend(read(object.payload, port)),
            Answer::Refused(refusal) => refused = Some(refusal),
            Answer::Done => {}
        })?;
        match refused
            .map(|refusal| refusal.into_error(format!("list the listeners of port {port}/{protocol}")))
        {
            // The kernel has no such protocol, or no way to ask about it: then nobody can be found.
            Some(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL)) => {}
            Some(error) => return Err(error),
            None => {}
        }
    }
    Ok(found)
}

/// `struct inet_diag_msg`.
fn read(payload: &[u8], port: u16) -> Option<Listener> {
    let family = i32::from(*payload.first()?);
    if payload.get(4..6)? != port.to_be_bytes() {
        return None;
    }
    let address = match family {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(payload.get(8..12)?).ok()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(payload.get(8..24)?).ok()?)),
        _ => return None,
    };
    let v6_only = attributes(payload.get(72..)?).any(|(kind, value)| kind == V6_ONLY && value == [1]);
    Some(Listener { address, v6_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_in_the_way_where_the_translation_would_take_its_packets() {
        let port = |pod_ip: &str, host_ip: Option<&str>| Port {
            protocol: PortProtocol::Tcp,
            host_port: 80,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            pod_ip: pod_ip.parse().unwrap(),
            pod_port: 8080,
        };
        let (v4, v6) = (|ip| port("10.0.0.2", ip), |ip| port("fd00::2", ip));
        for (address, v6_only, port, expected) in [
            ("0.0.0.0", false, v4(None), true),
            ("0.0.0.0", false, v4(Some("127.0.0.1")), true),
            ("0.0.0.0", false, v6(None), false),
            ("127.0.0.1", false, v4(None), true),
            ("127.0.0.1", false, v4(Some("127.0.0.1")), true),
            ("127.0.0.1", false, v4(Some("192.0.2.1")), false),
            ("::", false, v4(None), true),
            ("::", true, v4(None), false),
            ("::", true, v6(Some("2001:db8::1")), true),
            ("::ffff:127.0.0.1", false, v4(Some("127.0.0.1")), true),
            ("::1", false, v6(None), true),
            ("::1", false, v6(Some("2001:db8::1")), false),
            ("::1", false, v4(None), false),
        ] {
            let listener = Listener { address: address.parse().unwrap(), v6_only };
            assert_eq!(listener.concerns(&port), expected, "{listener:?} {port:?}");
        }
    }

    #[test]
    fn short_answers_are_no_listeners() {
        for length in 0..72 {
            let mut payload = vec![0; length];
            if let Some(family) = payload.first_mut() {
                *family = libc::AF_INET as u8;
            }
            assert_eq!(read(&payload, 0), None, "{length}");
        }
    }
}
