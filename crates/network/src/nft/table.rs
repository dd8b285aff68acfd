//! Tables, chains, sets and their elements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family with tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4 (`ip`).
    V4,
    /// IPv6 (`ip6`).
    V6,
}

impl Family {
    /// The family of an address.
    pub(crate) const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Where multicast addresses begin, and the length of their prefix.
    pub(crate) const fn multicast(self) -> (IpAddr, u8) {
        match self {
            Self::V4 => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
            Self::V6 => (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
        }
    }

    /// `NFPROTO_*`.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// As the `nft` program writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// Bytes of an address.
    pub(crate) const fn address_length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Where the destination address lies in the network header.
    pub(crate) const fn destination_offset(self) -> u32 {
        match self {
            Self::V4 => 16,
            Self::V6 => 24,
        }
    }

    /// Where the source address lies in the network header.
    pub(crate) const fn source_offset(self) -> u32 {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    pub(crate) const fn address_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }
}

/// Numbers by which the `nft` program knows types; the kernel only stores them.
pub(crate) const TYPE_PROTOCOL: u32 = 12;
pub(crate) const TYPE_PORT: u32 = 13;
pub(crate) const TYPE_DEVICE_NAME: u32 = 41;

/// The type number of a concatenation.
pub(crate) fn concatenation(parts: &[u32]) -> u32 {
    parts.iter().fold(0, |whole, part| whole << 6 | part)
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    /// `NF_INET_*`: 0 prerouting, 3 output, 4 postrouting.
    pub(crate) number: u32,
    /// Lower runs earlier.
    pub(crate) priority: i32,
}

/// A chain; without a hook it is only jumped to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: Option<Hook>,
}

/// A set or, with `value`, a map.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key_type: u32,
    /// Bytes of each part of the key; every part is padded to four.
    pub(crate) key_parts: Vec<u32>,
    /// Type and length of a map's values.
    pub(crate) value: Option<(u32, u32)>,
    /// Keys are ranges in every part (Linux 5.6).
    pub(crate) ranges: bool,
}

/// An entry of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    /// The upper end of a range.
    pub(crate) key_end: Option<Vec<u8>>,
    /// A map's value.
    pub(crate) value: Option<Vec<u8>>,
    /// Shown by the `nft` program; at most 127 bytes.
    pub(crate) comment: Option<String>,
}
