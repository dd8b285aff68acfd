//! Forgetting UDP flows that would outlive a change of the host ports.
//!
//! Translation is decided by a flow's first packet. A UDP peer that keeps sending from one port keeps its flow alive,
//! so it would go on missing a new pod, or go on reaching a dead one.

use std::net::IpAddr;

use super::claims::{Port, Record};
use crate::netlink::message::{ACK, DUMP};
use crate::netlink::{Answer, Batch, NetlinkError, Socket, attributes};
use crate::nft::Family;
use crate::request::PortProtocol;

const CONNTRACK_GET: u16 = 1 << 8 | 1;
const CONNTRACK_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const NESTED: u16 = 1 << 15;

/// Which flows to the ports of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that reach the node itself: a new pod takes over.
    Untranslated,
    /// Those that reach the pod: it goes away.
    Towards,
}

/// One direction of a flow.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tuple {
    source: Vec<u8>,
    destination: Vec<u8>,
    protocol: u8,
    destination_port: u16,
}

/// Removes such flows; a kernel without the connection tracking interface has none to remove.
pub(crate) fn forget(socket: &mut Socket, record: &Record, which: Which) -> Result<(), NetlinkError> {
    let ports: Vec<&Port> = record.ports.iter().filter(|port| port.protocol == PortProtocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    for family in record.families() {
        let mut dump = Batch::new();
        dump.message(CONNTRACK_GET, DUMP, |m| m.raw(&[family.number(), 0, 0, 0]));
        let mut flows: Vec<Vec<u8>> = Vec::new();
        socket.exchange(&dump, |answer| {
            if let Answer::Object(object) = answer {
                flows.extend(matching(object.payload.get(4..).unwrap_or_default(), &ports, which));
            }
        })?;
        for flow in flows {
            delete(socket, family, &flow)?;
        }
    }
    Ok(())
}

/// The original tuple of a flow, undecoded, if the flow is one of those to forget.
fn matching(flow: &[u8], ports: &[&Port], which: Which) -> Option<Vec<u8>> {
    let find = |wanted| attributes(flow).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let raw = find(CTA_TUPLE_ORIG)?;
    let (original, reply) = (read(raw), read(find(CTA_TUPLE_REPLY)?));
    let concerned = original.protocol == PortProtocol::Udp.number()
        && ports.iter().any(|port| {
            port.host_port == original.destination_port
                && port.host_ip.is_none_or(|ip| is(&original.destination, ip))
                && match which {
                    Which::Untranslated => {
                        reply.source == original.destination && reply.destination == original.source
                    }
                    Which::Towards => is(&reply.source, port.pod_ip),
                }
        });
    concerned.then(|| raw.to_vec())
}

fn delete(socket: &mut Socket, family: Family, original: &[u8]) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    batch.message(CONNTRACK_DELETE, ACK, |m| {
        m.raw(&[family.number(), 0, 0, 0]);
        m.attribute(CTA_TUPLE_ORIG | NESTED, original);
    });
    match socket.run(&batch, |_| "forget a UDP flow".to_owned()) {
        // It ended by itself.
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn read(tuple: &[u8]) -> Tuple {
    let mut read = Tuple::default();
    for (kind, value) in attributes(tuple) {
        for (part, value) in attributes(value) {
            match (kind, part) {
                (CTA_TUPLE_IP, 1 | 3) => read.source = value.to_vec(),
                (CTA_TUPLE_IP, 2 | 4) => read.destination = value.to_vec(),
                (CTA_TUPLE_PROTO, 1) => read.protocol = value.first().copied().unwrap_or_default(),
                (CTA_TUPLE_PROTO, 3) => {
                    read.destination_port = value.try_into().map(u16::from_be_bytes).unwrap_or_default();
                }
                _ => {}
            }
        }
    }
    read
}

fn is(bytes: &[u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => bytes == ip.octets(),
        IpAddr::V6(ip) => bytes == ip.octets(),
    }
}
