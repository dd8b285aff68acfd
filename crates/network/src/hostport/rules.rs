//! The table of host ports: its fixed part and the entries of a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ochre_types::SandboxId;

use super::claims::{Port, Record};
use crate::nft::expr::{Expr, FIRST, TO_THIS_NODE, TRANSLATED, in_subnet, octets, prefix};
use crate::nft::table::{TYPE_DEVICE_NAME, TYPE_PORT, TYPE_PROTOCOL, concatenation};
use crate::nft::{Chain, Element, Family, Hook, Set, Transaction};

/// The table, one per family.
pub(crate) const TABLE: &str = "ochre-hostports";
const PORTS: &str = "ports";
const ADDRESSED: &str = "addressed";
const HAIRPINS: &str = "hairpins";
const GUARDED: &str = "guarded";
const TRANSLATE: &str = "translate";
/// `IFNAMSIZ`.
const DEVICE_NAME: usize = 16;

/// Replaces the table by its fixed part, without any pod.
pub(crate) fn skeleton(transaction: &mut Transaction<'_>, family: Family) {
    transaction.replace_table();
    for (set, id) in sets(family).iter().zip(1..) {
        transaction.add_set(set, id);
    }
    transaction.add_chain(Chain { name: TRANSLATE, hook: None });
    let base = |kind, number, priority| Some(Hook { kind, number, priority });
    transaction.add_chain(Chain { name: "prerouting", hook: base("nat", 0, -100) });
    transaction.add_chain(Chain { name: "output", hook: base("nat", 3, -100) });
    transaction.add_chain(Chain { name: "postrouting", hook: base("nat", 4, 100) });
    add_translation(transaction, family);
    let loopback = prefix(Ipv6Addr::LOCALHOST.into(), 128);
    for chain in ["prerouting", "output"] {
        let mut rule = Vec::new();
        if (family, chain) == (Family::V6, "output") {
            // The kernel takes no answer to `::1` from another device: a connection that is not translated is refused
            // at once, and its client goes on to 127.0.0.1.
            rule.extend(in_subnet(family, &loopback, family.destination_offset(), false));
        }
        rule.extend(TO_THIS_NODE);
        rule.push(Expr::Jump(TRANSLATE));
        transaction.add_rule(chain, &rule);
    }
    let width = family.address_length();
    let (source, destination) = (family.source_offset(), family.destination_offset());
    let [status, mask, translated] = TRANSLATED;
    transaction.add_rule(
        "postrouting",
        &[
            status,
            mask,
            translated,
            Expr::Network { offset: source, length: width, to: FIRST },
            Expr::Network { offset: destination, length: width, to: FIRST + width / 4 },
            Expr::Lookup { set: HAIRPINS, from: FIRST, to: None },
            Expr::Masquerade,
        ],
    );
    if family == Family::V4 {
        add_loopback(transaction);
        add_guard(transaction);
    }
}

/// Everything the kernel must hold for a pod.
pub(crate) fn elements(sandbox: &SandboxId, record: &Record, family: Family) -> Vec<Element> {
    let comment = Some(sandbox.to_string());
    let mut elements = own_elements(record, family);
    for element in &mut elements {
        element.comment.clone_from(&comment);
    }
    if family == Family::V4 {
        elements.extend(record.devices.iter().filter(|device| device.len() < DEVICE_NAME).map(|device| {
            let mut key = device.clone().into_bytes();
            key.resize(DEVICE_NAME, 0);
            Element { set: GUARDED, key, key_end: None, value: None, comment: None }
        }));
    }
    elements
}

/// What only this pod uses. Devices are shared: their guard stays, as their `route_localnet` does.
pub(crate) fn own_elements(record: &Record, family: Family) -> Vec<Element> {
    let ports = record.ports.iter().filter(|port| port.family() == family).map(port_element);
    let mut elements: Vec<Element> = ports.collect();
    elements.sort_by_key(|element| element.set);
    let addresses =
        record.addresses.iter().filter(|(address, _)| address.is_ipv4() == (family == Family::V4));
    elements.extend(addresses.map(|(address, prefix)| hairpin(*address, *prefix)));
    elements
}

fn sets(family: Family) -> Vec<Set> {
    let address = family.address_length();
    let kind = family.address_type();
    let value = Some((concatenation(&[kind, TYPE_PORT]), address + 4));
    let mut sets = vec![
        Set {
            name: PORTS,
            key_type: concatenation(&[TYPE_PROTOCOL, TYPE_PORT]),
            key_parts: vec![1, 2],
            value,
            ranges: false,
        },
        Set {
            name: ADDRESSED,
            key_type: concatenation(&[kind, TYPE_PROTOCOL, TYPE_PORT]),
            key_parts: vec![address, 1, 2],
            value,
            ranges: false,
        },
        Set {
            name: HAIRPINS,
            key_type: concatenation(&[kind, kind]),
            key_parts: vec![address, address],
            value: None,
            ranges: true,
        },
    ];
    if family == Family::V4 {
        let key_parts = vec![DEVICE_NAME as u32];
        sets.push(Set { name: GUARDED, key_type: TYPE_DEVICE_NAME, key_parts, value: None, ranges: false });
    }
    sets
}

/// A mapping of one address of the node wins over one of all addresses.
fn add_translation(transaction: &mut Transaction<'_>, family: Family) {
    let width = family.address_length() / 4;
    let dnat = Expr::Dnat { family, address: FIRST, port: FIRST + width };
    transaction.add_rule(
        TRANSLATE,
        &[
            Expr::Network { offset: family.destination_offset(), length: width * 4, to: FIRST },
            Expr::Layer4Protocol { to: FIRST + width },
            Expr::DestinationPort { to: FIRST + width + 1 },
            Expr::Lookup { set: ADDRESSED, from: FIRST, to: Some(FIRST) },
            dnat,
        ],
    );
    transaction.add_rule(
        TRANSLATE,
        &[
            Expr::Layer4Protocol { to: FIRST },
            Expr::DestinationPort { to: FIRST + 1 },
            Expr::Lookup { set: PORTS, from: FIRST, to: Some(FIRST) },
            dnat,
        ],
    );
}

/// Connections of the node from 127.0.0.0/8 keep their source when they are translated. The pod could not answer to that.
fn add_loopback(transaction: &mut Transaction<'_>) {
    let loopback = prefix(Ipv4Addr::LOCALHOST.into(), 8);
    let mut masquerade = TRANSLATED.to_vec();
    masquerade.extend(in_subnet(Family::V4, &loopback, Family::V4.source_offset(), true));
    masquerade.push(Expr::Masquerade);
    transaction.add_rule("postrouting", &masquerade);
}

/// Refuses everybody else's packets from or to 127.0.0.0/8, which `route_localnet` would let in.
fn add_guard(transaction: &mut Transaction<'_>) {
    // Before connection tracking (-200): answers to 127.0.0.1 still carry the node's own address then.
    let hook = Some(Hook { kind: "filter", number: 0, priority: -300 });
    transaction.add_chain(Chain { name: "guard", hook });
    let loopback = prefix(Ipv4Addr::LOCALHOST.into(), 8);
    for offset in [Family::V4.destination_offset(), Family::V4.source_offset()] {
        let mut rule =
            vec![Expr::InputName { to: FIRST }, Expr::Lookup { set: GUARDED, from: FIRST, to: None }];
        rule.extend(in_subnet(Family::V4, &loopback, offset, true));
        rule.push(Expr::Drop);
        transaction.add_rule("guard", &rule);
    }
}

fn port_element(port: &Port) -> Element {
    let mut key = port.host_ip.map(octets).unwrap_or_default();
    key.extend([port.protocol.number(), 0, 0, 0]);
    key.extend(padded(port.host_port));
    let mut value = octets(port.pod_ip);
    value.extend(padded(port.pod_port));
    let set = if port.host_ip.is_some() { ADDRESSED } else { PORTS };
    Element { set, key, key_end: None, value: Some(value), comment: None }
}

/// From the pod's whole subnet to the pod: its neighbours would answer each other directly, past the translation.
fn hairpin(address: IpAddr, length: u8) -> Element {
    let (mut key, mask) = prefix(address, length);
    let mut end: Vec<u8> = key.iter().zip(&mask).map(|(byte, mask)| byte | !mask).collect();
    key.extend(octets(address));
    end.extend(octets(address));
    Element { set: HAIRPINS, key, key_end: Some(end), value: None, comment: None }
}

fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hairpin_spans_the_subnet() {
        let cases = [
            ("10.85.3.4", 16, vec![10, 85, 0, 0, 10, 85, 3, 4], vec![10, 85, 255, 255, 10, 85, 3, 4]),
            ("10.85.3.4", 20, vec![10, 85, 0, 0, 10, 85, 3, 4], vec![10, 85, 15, 255, 10, 85, 3, 4]),
            ("10.85.3.4", 32, vec![10, 85, 3, 4, 10, 85, 3, 4], vec![10, 85, 3, 4, 10, 85, 3, 4]),
            ("10.85.3.4", 0, vec![0, 0, 0, 0, 10, 85, 3, 4], vec![255, 255, 255, 255, 10, 85, 3, 4]),
        ];
        for (address, prefix, key, end) in cases {
            let element = hairpin(address.parse().unwrap(), prefix);
            assert_eq!((element.key, element.key_end), (key, Some(end)), "/{prefix}");
        }
    }
}
