//! The expressions our rules are made of.
//!
//! Registers: the kernel has sixteen of four bytes (`NFT_REG32_00` = 8 and up); wider values occupy neighbours.

use std::net::IpAddr;

use super::table::Family;
use crate::netlink::message::Writer;

/// The first register.
pub(crate) const FIRST: u32 = 8;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const VERDICT_REGISTER: u32 = 0;
const NFT_JUMP: i32 = -3;

/// One step of a rule. A comparison or a lookup that fails ends the rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expr<'a> {
    /// Bytes of the network header.
    Network { offset: u32, length: u32, to: u32 },
    /// The destination port of TCP, UDP and SCTP alike.
    DestinationPort { to: u32 },
    /// The number of the layer 4 protocol.
    Layer4Protocol { to: u32 },
    /// The name of the device a packet came from, 16 bytes.
    InputName { to: u32 },
    /// The kind of the destination address: local, unicast, broadcast … (`enum` of rtnetlink(7)).
    DestinationKind { to: u32 },
    /// Status bits of the connection.
    ConnectionStatus { to: u32 },
    /// Keeps the bits of `mask`, which is as long as the value.
    Mask { register: u32, mask: &'a [u8] },
    /// Goes on if equal.
    Equal { register: u32, value: &'a [u8] },
    /// Goes on if not equal.
    NotEqual { register: u32, value: &'a [u8] },
    /// Goes on if the set has the key; a map's value goes to `to`.
    Lookup { set: &'a str, from: u32, to: Option<u32> },
    /// Destination becomes the address and port in these registers.
    Dnat { family: Family, address: u32, port: u32 },
    /// Source becomes the address of the device the packet leaves through.
    Masquerade,
    /// Goes through another chain of the table.
    Jump(&'a str),
    /// Drops the packet.
    Drop,
}

/// `ip saddr & mask == network`, or the same for the destination, or that it is not.
pub(crate) fn in_subnet(
    family: Family,
    (network, mask): &(Vec<u8>, Vec<u8>),
    offset: u32,
    inside: bool,
) -> [Expr<'_>; 3] {
    let compare = if inside {
        Expr::Equal { register: FIRST, value: network }
    } else {
        Expr::NotEqual { register: FIRST, value: network }
    };
    [
        Expr::Network { offset, length: family.address_length(), to: FIRST },
        Expr::Mask { register: FIRST, mask },
        compare,
    ]
}

/// `fib daddr type local` (`RTN_LOCAL`).
pub(crate) const TO_THIS_NODE: [Expr<'static>; 2] =
    [Expr::DestinationKind { to: FIRST }, Expr::Equal { register: FIRST, value: &2u32.to_ne_bytes() }];

/// `ct status dnat` (`IPS_DST_NAT`).
pub(crate) const TRANSLATED: [Expr<'static>; 3] = [
    Expr::ConnectionStatus { to: FIRST },
    Expr::Mask { register: FIRST, mask: &0x20u32.to_ne_bytes() },
    Expr::NotEqual { register: FIRST, value: &[0; 4] },
];

/// Network and mask of a prefix, as bytes of the header.
pub(crate) fn prefix(address: IpAddr, length: u8) -> (Vec<u8>, Vec<u8>) {
    let whole = octets(address);
    let mask: Vec<u8> = (0..whole.len())
        .map(|index| {
            let bits = usize::from(length).saturating_sub(index * 8).min(8);
            u8::MAX.checked_shl(8 - bits as u32).unwrap_or(0)
        })
        .collect();
    (whole.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect(), mask)
}

/// An address as the header has it.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Expr<'_> {
    /// Appends the expression to a rule's list.
    pub(crate) fn write(&self, m: &mut Writer<'_>) {
        m.nested(NFTA_LIST_ELEM, |m| {
            m.text(NFTA_EXPR_NAME, self.name());
            m.nested(NFTA_EXPR_DATA, |m| self.write_body(m));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Network { .. } | Self::DestinationPort { .. } => "payload",
            Self::Layer4Protocol { .. } | Self::InputName { .. } => "meta",
            Self::DestinationKind { .. } => "fib",
            Self::ConnectionStatus { .. } => "ct",
            Self::Mask { .. } => "bitwise",
            Self::Equal { .. } | Self::NotEqual { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Jump(_) | Self::Drop => "immediate",
        }
    }

    fn write_body(&self, m: &mut Writer<'_>) {
        match *self {
            Self::Network { offset, length, to } => numbers(m, &[to, 1, offset, length]),
            Self::DestinationPort { to } => numbers(m, &[to, 2, 2, 2]),
            Self::Layer4Protocol { to } => numbers(m, &[to, 16]),
            Self::InputName { to } => numbers(m, &[to, 6]),
            // Result: address type; flag: of the destination.
            Self::DestinationKind { to } => numbers(m, &[to, 3, 2]),
            Self::ConnectionStatus { to } => numbers(m, &[to, 2]),
            Self::Mask { register, mask } => {
                numbers(m, &[register, register, mask.len() as u32]);
                m.nested(4, |m| m.attribute(NFTA_DATA_VALUE, mask));
                m.nested(5, |m| m.attribute(NFTA_DATA_VALUE, &[0; 16][..mask.len().min(16)]));
            }
            Self::Equal { register, value } => compare(m, register, 0, value),
            Self::NotEqual { register, value } => compare(m, register, 1, value),
            Self::Lookup { set, from, to } => {
                m.text(1, set);
                m.number(2, from);
                if let Some(to) = to {
                    m.number(3, to);
                }
            }
            Self::Dnat { family, address, port } => {
                m.number(1, 1);
                m.number(2, u32::from(family.number()));
                m.number(3, address);
                m.number(5, port);
            }
            Self::Masquerade => {}
            Self::Jump(chain) => verdict(m, NFT_JUMP, Some(chain)),
            Self::Drop => verdict(m, 0, None),
        }
    }
}

/// Attributes 1, 2, 3 … that are plain numbers.
fn numbers(m: &mut Writer<'_>, values: &[u32]) {
    for (kind, value) in (1..).zip(values) {
        m.number(kind, *value);
    }
}

fn compare(m: &mut Writer<'_>, register: u32, operator: u32, value: &[u8]) {
    numbers(m, &[register, operator]);
    m.nested(3, |m| m.attribute(NFTA_DATA_VALUE, value));
}

fn verdict(m: &mut Writer<'_>, code: i32, chain: Option<&str>) {
    m.number(1, VERDICT_REGISTER);
    m.nested(2, |m| {
        m.nested(NFTA_DATA_VERDICT, |m| {
            m.number(NFTA_VERDICT_CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                m.text(NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_become_network_and_mask() {
        let cases = [
            ("10.85.3.4", 16, vec![10, 85, 0, 0], vec![255, 255, 0, 0]),
            ("10.85.3.4", 20, vec![10, 85, 0, 0], vec![255, 255, 240, 0]),
            ("10.85.3.4", 32, vec![10, 85, 3, 4], vec![255; 4]),
            ("10.85.3.4", 0, vec![0; 4], vec![0; 4]),
            ("ff85::1", 8, [vec![255], vec![0; 15]].concat(), [vec![255], vec![0; 15]].concat()),
            ("ff85::1", 128, octets("ff85::1".parse().unwrap()), vec![255; 16]),
        ];
        for (address, length, network, mask) in cases {
            assert_eq!(prefix(address.parse().unwrap(), length), (network, mask), "{address}/{length}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_holds_its_address_and_nothing_behind_its_length(address: u128, v4: bool, length in 0..=128u8) {
            let (ip, length) = if v4 {
                (IpAddr::V4((address as u32).into()), length.min(32))
            } else {
                (IpAddr::V6(address.into()), length)
            };
            let (network, mask) = prefix(ip, length);
            prop_assert_eq!(mask.iter().map(|byte| byte.count_ones()).sum::<u32>(), u32::from(length));
            for ((network, mask), byte) in network.iter().zip(&mask).zip(octets(ip)) {
                prop_assert_eq!(byte & mask, *network);
                prop_assert_eq!(mask.leading_ones(), mask.count_ones());
            }
        }
    }
}
