//! Which pod has which port: pure bookkeeping.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};

use super::HostPortError;
use crate::nft::Family;
use crate::request::{PortMapping, PortProtocol};

/// Where a pod's traffic goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// The pod's addresses with the length of their subnet's prefix; the first of each family is used.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// Devices through which the node reaches the pod over IPv4.
    pub(crate) devices: BTreeSet<String>,
}

/// One port of one pod in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(crate) protocol: PortProtocol,
    pub(crate) host_port: u16,
    /// `None`: every address of the node.
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) pod_ip: IpAddr,
    pub(crate) pod_port: u16,
}

/// All ports of a pod, as kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) ports: Vec<Port>,
    /// (pod address, prefix length) of the families in use.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) devices: BTreeSet<String>,
}

/// A port, whatever the address.
type Key = (Family, PortProtocol, u16);

/// The ports of all pods.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    records: BTreeMap<SandboxId, Record>,
    /// Who has a port on which address; `None` is every address, and then nobody else has the port.
    owners: HashMap<Key, HashMap<Option<IpAddr>, SandboxId>>,
}

impl Port {
    pub(crate) fn family(&self) -> Family {
        Family::of(self.pod_ip)
    }

    fn key(&self) -> Key {
        (self.family(), self.protocol, self.host_port)
    }
}

impl Record {
    /// Works out what the mappings of a request mean for a pod with these addresses. Mappings without a host port
    /// ask for nothing.
    pub(crate) fn new(mappings: &[PortMapping], target: Target) -> Result<Self, HostPortError> {
        let mut first: BTreeMap<Family, (IpAddr, u8)> = BTreeMap::new();
        for (address, prefix) in target.addresses {
            first.entry(Family::of(address)).or_insert((address, prefix));
        }
        let mut ports: Vec<Port> = Vec::new();
        for mapping in mappings.iter().filter(|mapping| mapping.host_port != 0) {
            let (port, protocol) = (mapping.host_port, mapping.protocol);
            let asked = mapping.host_ip.map(|ip| ip.to_canonical());
            if asked == Some(Ipv6Addr::LOCALHOST.into()) {
                return Err(HostPortError::LoopbackV6 { port, protocol });
            }
            if mapping.container_port == 0 {
                return Err(HostPortError::NoContainerPort { port, protocol });
            }
            let mut reachable = false;
            for (family, (pod_ip, _)) in &first {
                if asked.is_some_and(|host_ip| Family::of(host_ip) != *family) {
                    continue;
                }
                reachable = true;
                let host_ip = asked.filter(|host_ip| !host_ip.is_unspecified());
                let pod_port = mapping.container_port;
                let new = Port { protocol, host_port: port, host_ip, pod_ip: *pod_ip, pod_port };
                match ports.iter().find(|known| known.key() == new.key()) {
                    None => ports.push(new),
                    Some(known) if known.pod_port == new.pod_port => {}
                    Some(_) => return Err(HostPortError::Twice { port, protocol }),
                }
            }
            if !reachable {
                return Err(HostPortError::NoAddress { port, protocol });
            }
        }
        let used: BTreeSet<Family> = ports.iter().map(Port::family).collect();
        let addresses =
            first.into_iter().filter(|(family, _)| used.contains(family)).map(|(_, address)| address);
        Ok(Self { ports, addresses: addresses.collect(), devices: target.devices })
    }

    pub(crate) fn families(&self) -> BTreeSet<Family> {
        self.ports.iter().map(Port::family).collect()
    }
}

impl Claims {
    /// Refuses a record that wants another pod's port. A port on every address and the same on one address are in each
    /// other's way, as they are for the scheduler of Kubernetes.
    pub(crate) fn check(&self, sandbox: &SandboxId, record: &Record) -> Result<(), HostPortError> {
        for port in &record.ports {
            let owners = self.owners.get(&port.key()).into_iter().flatten();
            let meets = |theirs: &Option<IpAddr>| match (theirs, port.host_ip) {
                (Some(theirs), Some(ours)) => *theirs == ours,
                (None, _) | (_, None) => true,
            };
            let mut others = owners.filter(|(_, owner)| *owner != sandbox);
            if let Some((_, owner)) = others.find(|(theirs, _)| meets(theirs)) {
                let (port, protocol) = (port.host_port, port.protocol);
                return Err(HostPortError::Taken { port, protocol, owner: owner.clone() });
            }
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, sandbox: SandboxId, record: Record) {
        self.remove(&sandbox);
        for port in &record.ports {
            self.owners.entry(port.key()).or_default().insert(port.host_ip, sandbox.clone());
        }
        self.records.insert(sandbox, record);
    }

    pub(crate) fn remove(&mut self, sandbox: &SandboxId) -> Option<Record> {
        let record = self.records.remove(sandbox)?;
        for port in &record.ports {
            if let Some(owners) = self.owners.get_mut(&port.key()) {
                owners.retain(|_, owner| owner != sandbox);
                if owners.is_empty() {
                    self.owners.remove(&port.key());
                }
            }
        }
        Some(record)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SandboxId, &Record)> {
        self.records.iter()
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = &SandboxId> {
        self.records.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PortMapping {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        PortMapping { protocol: PortProtocol::Tcp, container_port, host_port, host_ip }
    }

    fn target(addresses: &[&str]) -> Target {
        let addresses = addresses.iter().map(|ip| (ip.parse().unwrap(), 16)).collect();
        Target { addresses, devices: BTreeSet::new() }
    }

    #[test]
    fn a_port_belongs_to_one_pod_until_it_is_withdrawn() {
        let (a, b) = (SandboxId::generate(), SandboxId::generate());
        let record = |ip| Record::new(&[mapping(None, 80, 8080)], target(&[ip])).unwrap();
        let mut claims = Claims::default();
        claims.check(&a, &record("10.0.0.2")).unwrap();
        claims.insert(a.clone(), record("10.0.0.2"));
        claims.check(&a, &record("10.0.0.3")).unwrap();
        let taken = claims.check(&b, &record("10.0.0.3")).unwrap_err();
        assert!(matches!(&taken, HostPortError::Taken { port: 80, owner, .. } if *owner == a));
        claims.remove(&a).unwrap();
        claims.check(&b, &record("10.0.0.3")).unwrap();
    }

    #[test]
    fn families_follow_the_pod_and_the_host_address() {
        let ports =
            |mapping, addresses: &[&str]| Record::new(&[mapping], target(addresses)).map(|r| r.ports.len());
        assert_eq!(ports(mapping(None, 80, 80), &["10.0.0.2", "fd00::2", "10.0.0.9"]).unwrap(), 2);
        assert_eq!(ports(mapping(Some("0.0.0.0"), 80, 80), &["10.0.0.2", "fd00::2"]).unwrap(), 1);
        assert_eq!(ports(mapping(None, 0, 80), &["10.0.0.2"]).unwrap(), 0);
        assert_eq!(ports(mapping(Some("::"), 80, 80), &["10.0.0.2", "fd00::2"]).unwrap(), 1);
        assert_eq!(ports(mapping(Some("::ffff:192.0.2.1"), 80, 80), &["10.0.0.2"]).unwrap(), 1);
        let loopback = ports(mapping(Some("::1"), 80, 80), &["10.0.0.2", "fd00::2"]);
        assert!(matches!(loopback, Err(HostPortError::LoopbackV6 { port: 80, .. })));
        let unreachable = ports(mapping(Some("2001:db8::1"), 80, 80), &["10.0.0.2"]);
        assert!(matches!(unreachable, Err(HostPortError::NoAddress { port: 80, .. })));
        assert!(matches!(
            ports(mapping(None, 80, 0), &["10.0.0.2"]),
            Err(HostPortError::NoContainerPort { .. })
        ));
    }

    #[test]
    fn the_same_port_twice_is_fine_only_with_the_same_target() {
        let twice =
            |second| Record::new(&[mapping(None, 80, 1), mapping(None, 80, second)], target(&["10.0.0.2"]));
        assert_eq!(twice(1).unwrap().ports.len(), 1);
        assert!(matches!(twice(2), Err(HostPortError::Twice { port: 80, .. })));
    }

    #[test]
    fn every_address_and_one_address_are_in_each_others_way() {
        let all: [Option<&str>; 6] =
            [None, Some("0.0.0.0"), Some("::"), Some("127.0.0.1"), Some("192.0.2.1"), Some("2001:db8::1")];
        let addresses = target(&["10.0.0.2", "fd00::2"]);
        let (a, b) = (SandboxId::generate(), SandboxId::generate());
        for (first, ours) in all.iter().enumerate() {
            for (second, theirs) in all.iter().enumerate() {
                let record = |ip| Record::new(&[mapping(ip, 80, 8080)], addresses.clone()).unwrap();
                let mut claims = Claims::default();
                claims.insert(a.clone(), record(*ours));
                let taken = claims.check(&b, &record(*theirs)).is_err();
                let meet = match (first, second) {
                    (one, other) if one == other => true,
                    // Every address of both families, of IPv4, of IPv6; two of IPv4; one of IPv6.
                    (0, _) | (_, 0) => true,
                    (1, 3 | 4) | (3 | 4, 1) | (2, 5) | (5, 2) => true,
                    _ => false,
                };
                assert_eq!(taken, meet, "{ours:?} {theirs:?}");
                claims.remove(&a).unwrap();
                assert!(claims.check(&b, &record(*theirs)).is_ok() && claims.owners.is_empty());
            }
        }
    }
}
