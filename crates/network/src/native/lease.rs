//! Addresses given out, one symbolic link per address: its name is the address, its target the pod's id.
//!
//! Making a symbolic link is one step that fails if the name exists: no two pods get one address and no crash leaves a
//! lease without an owner. Addresses go round: the one after the last is tried first, so that an address rests as long
//! as possible before it is used again.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ochre_types::SandboxId;
use parking_lot::Mutex;

use super::NativeError;
use crate::config::{Subnet, Subnets};
use crate::state_dir;

/// How many addresses one writing of the mark covers: after a restart at most so many are passed over.
const AHEAD: u32 = 64;
/// The marks of IPv4 and IPv6.
const LAST: [&str; 2] = [".last", ".last6"];

/// The leases of the built-in network.
#[derive(Debug)]
pub(crate) struct Leases {
    dir: PathBuf,
    /// What the directory says; the lock also keeps two searches from racing for the same addresses.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// One per subnet, in the subnets' order.
    pools: Vec<Pool>,
    by_owner: HashMap<SandboxId, Vec<IpAddr>>,
}

/// Where the search in a subnet stands.
#[derive(Debug)]
struct Pool {
    subnet: Subnet,
    /// The address given out last.
    last: IpAddr,
    /// How many more may be given out before the mark must be written again.
    marked: u32,
}

impl Leases {
    pub(crate) fn open(state_dir: &Path, subnets: &Subnets) -> Result<Self, NativeError> {
        let dir = state_dir.join("leases");
        let failed = |source| NativeError::Lease { path: dir.clone(), source };
        state_dir::create(&dir).map_err(failed)?;
        let mut by_owner: HashMap<SandboxId, Vec<IpAddr>> = HashMap::new();
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let address = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let owner = read_name(&entry.path()).and_then(|name| name.parse().ok());
            if let (Some(address), Some(owner)) = (address, owner) {
                by_owner.entry(owner).or_default().push(address);
            }
        }
        let pools = subnets.iter().map(|subnet| Pool::open(&dir, subnet)).collect();
        Ok(Self { dir, held: Mutex::new(Held { pools, by_owner }) })
    }

    /// Whether an engine with this state directory has given addresses out.
    pub(crate) fn are_in(state_dir: &Path) -> bool {
        let mut entries = std::fs::read_dir(state_dir.join("leases")).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<IpAddr>().is_ok()))
    }

    /// Gives a free address of every subnet to a pod, in the subnets' order. What it got before a failure is released
    /// with the pod.
    pub(crate) fn take(&self, sandbox: &SandboxId) -> Result<Vec<IpAddr>, NativeError> {
        let Held { pools, by_owner } = &mut *self.held.lock();
        let mut taken = Vec::with_capacity(pools.len());
        for pool in pools {
            let address = pool.take(&self.dir, sandbox)?;
            by_owner.entry(sandbox.clone()).or_default().push(address);
            taken.push(address);
            pool.mark(&self.dir)?;
        }
        Ok(taken)
    }

    /// Takes back every address of a pod.
    pub(crate) fn release(&self, sandbox: &SandboxId) -> Result<(), NativeError> {
        let mut held = self.held.lock();
        for address in held.by_owner.get(sandbox).into_iter().flatten() {
            let path = self.dir.join(address.to_string());
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(NativeError::Lease { path, source });
                }
                _ => {}
            }
        }
        held.by_owner.remove(sandbox);
        Ok(())
    }

    /// Whether a pod holds an address.
    pub(crate) fn holds(&self, sandbox: &SandboxId) -> bool {
        self.held.lock().by_owner.contains_key(sandbox)
    }

    /// The pods that hold addresses.
    pub(crate) fn owners(&self) -> Vec<SandboxId> {
        self.held.lock().by_owner.keys().cloned().collect()
    }
}

impl Pool {
    fn open(dir: &Path, subnet: Subnet) -> Self {
        let last = read_name(&dir.join(mark_name(subnet.gateway()))).and_then(|name| name.parse().ok());
        Self { subnet, last: last.unwrap_or(subnet.gateway()), marked: 0 }
    }

    fn take(&mut self, dir: &Path, sandbox: &SandboxId) -> Result<IpAddr, NativeError> {
        let mut candidate = self.last;
        for _ in 0..self.subnet.capacity() {
            candidate = self.subnet.after(candidate);
            let path = dir.join(candidate.to_string());
            match symlink(sandbox.as_str(), &path) {
                Ok(()) => {
                    self.last = candidate;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(NativeError::Lease { path, source }),
            }
        }
        Err(NativeError::NoAddressLeft { subnet: self.subnet.to_string(), capacity: self.subnet.capacity() })
    }

    /// Notes an address that will not have been passed for a while. Only spreads the next search: losing it costs
    /// nothing.
    fn mark(&mut self, dir: &Path) -> Result<(), NativeError> {
        if self.marked > 0 {
            self.marked -= 1;
            return Ok(());
        }
        let address = (0..AHEAD).fold(self.last, |address, _| self.subnet.after(address));
        let path = dir.join(mark_name(address));
        let new = path.with_extension("new");
        let failed = |source| NativeError::Lease { path: path.clone(), source };
        match symlink(address.to_string(), &new) {
            // Left by a crash; it is renamed all the same and corrected by the next lease.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed)?,
        }
        std::fs::rename(&new, &path).map_err(failed)?;
        self.marked = AHEAD;
        Ok(())
    }
}

fn mark_name(address: IpAddr) -> &'static str {
    LAST[usize::from(address.is_ipv6())]
}

fn read_name(link: &Path) -> Option<String> {
    std::fs::read_link(link).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn leases(dir: &Path, subnets: &str) -> Leases {
        let texts: Vec<String> = subnets.split(' ').map(str::to_owned).collect();
        Leases::open(dir, &Subnets::parse(&texts).unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_unique_until_the_subnet_is_full_and_come_back_when_released() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path(), "10.9.8.0/29");
        let pods: Vec<_> = (0..5).map(|_| SandboxId::generate()).collect();
        let given: BTreeSet<_> = pods.iter().flat_map(|pod| leases.take(pod).unwrap()).collect();
        // Eight addresses less network, gateway and broadcast.
        let expected: BTreeSet<_> = (2..7).map(|last| ip(&format!("10.9.8.{last}"))).collect();
        assert_eq!(given, expected);
        let full = leases.take(&SandboxId::generate()).unwrap_err();
        assert!(matches!(full, NativeError::NoAddressLeft { capacity: 5, .. }));
        leases.release(&pods[3]).unwrap();
        leases.release(&pods[3]).unwrap();
        assert_eq!(leases.take(&SandboxId::generate()).unwrap(), [ip("10.9.8.5")]);
    }

    #[test]
    fn an_address_rests_before_it_is_used_again_even_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (SandboxId::generate(), SandboxId::generate());
        let first = leases(dir.path(), "10.9.8.0/24").take(&a).unwrap();
        leases(dir.path(), "10.9.8.0/24").release(&a).unwrap();
        let reopened = leases(dir.path(), "10.9.8.0/24");
        assert_ne!(reopened.take(&b).unwrap(), first);
        assert_eq!(reopened.owners(), [b]);
    }

    #[test]
    fn parallel_pods_get_different_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path(), "10.9.8.0/24");
        let given: BTreeSet<Vec<IpAddr>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..16).map(|_| scope.spawn(|| leases.take(&SandboxId::generate()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(given.len(), 16);
    }

    #[test]
    fn a_pod_gets_an_address_of_each_subnet_and_keeps_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let subnets = "fd85::/64 10.9.8.0/29";
        let pods: Vec<_> = (0..6).map(|_| SandboxId::generate()).collect();
        let both = leases(dir.path(), subnets);
        assert_eq!(both.take(&pods[0]).unwrap(), [ip("fd85::2"), ip("10.9.8.2")]);
        for pod in &pods[1..5] {
            both.take(pod).unwrap();
        }
        // The second subnet is full: what the first gave is known and comes back.
        both.take(&pods[5]).unwrap_err();
        assert!(both.holds(&pods[5]));
        let reopened = leases(dir.path(), subnets);
        assert!(reopened.holds(&pods[5]) && reopened.owners().len() == 6);
        for pod in &pods {
            reopened.release(pod).unwrap();
        }
        let left = std::fs::read_dir(dir.path().join("leases")).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, LAST);
    }
}
