//! Addresses given out, one symbolic link per address: its name is the address, its target the pod's id.
//!
//! Making a symbolic link is one step that fails if the name exists: no two pods get one address and no crash leaves a
//! lease without an owner. Addresses go round: the one after the last is tried first, so that an address rests as long
//! as possible before it is used again.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ochre_types::SandboxId;
use parking_lot::Mutex;

use super::NativeError;
use crate::config::Subnet;
use crate::state_dir;

/// How many addresses one writing of the mark covers: after a restart at most so many are passed over.
const AHEAD: u32 = 64;
const LAST: &str = ".last";
const LAST_NEW: &str = ".last.new";

/// The leases of the built-in network.
#[derive(Debug)]
pub(crate) struct Leases {
    dir: PathBuf,
    subnet: Subnet,
    /// What the directory says; the lock also keeps two searches from racing for the same addresses.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// The address given out last.
    last: Ipv4Addr,
    /// How many more may be given out before the mark must be written again.
    marked: u32,
    by_owner: HashMap<SandboxId, Vec<Ipv4Addr>>,
}

impl Leases {
    pub(crate) fn open(state_dir: &Path, subnet: Subnet) -> Result<Self, NativeError> {
        let dir = state_dir.join("leases");
        let failed = |source| NativeError::Lease { path: dir.clone(), source };
        state_dir::create(&dir).map_err(failed)?;
        let last = read_name(&dir.join(LAST)).and_then(|name| name.parse().ok()).unwrap_or(subnet.gateway());
        let mut by_owner: HashMap<SandboxId, Vec<Ipv4Addr>> = HashMap::new();
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let address = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let owner = read_name(&entry.path()).and_then(|name| name.parse().ok());
            if let (Some(address), Some(owner)) = (address, owner) {
                by_owner.entry(owner).or_default().push(address);
            }
        }
        Ok(Self { dir, subnet, held: Mutex::new(Held { last, marked: 0, by_owner }) })
    }

    /// Gives a free address to a pod.
    pub(crate) fn take(&self, sandbox: &SandboxId) -> Result<Ipv4Addr, NativeError> {
        let mut held = self.held.lock();
        let mut candidate = held.last;
        for _ in 0..self.subnet.capacity() {
            candidate = self.subnet.after(candidate);
            let path = self.path(candidate);
            match symlink(sandbox.as_str(), &path) {
                Ok(()) => {
                    held.last = candidate;
                    held.by_owner.entry(sandbox.clone()).or_default().push(candidate);
                    self.mark(&mut held)?;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(NativeError::Lease { path, source }),
            }
        }
        Err(NativeError::NoAddressLeft { subnet: self.subnet.to_string(), capacity: self.subnet.capacity() })
    }

    /// Takes back every address of a pod.
    pub(crate) fn release(&self, sandbox: &SandboxId) -> Result<(), NativeError> {
        let mut held = self.held.lock();
        for address in held.by_owner.get(sandbox).into_iter().flatten() {
            let path = self.path(*address);
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

    /// Notes an address that will not have been passed for a while. Only spreads the next search: losing it costs
    /// nothing.
    fn mark(&self, held: &mut Held) -> Result<(), NativeError> {
        if held.marked > 0 {
            held.marked -= 1;
            return Ok(());
        }
        let address = (0..AHEAD).fold(held.last, |address, _| self.subnet.after(address));
        let (new, path) = (self.dir.join(LAST_NEW), self.dir.join(LAST));
        let failed = |source| NativeError::Lease { path: path.clone(), source };
        match symlink(address.to_string(), &new) {
            // Left by a crash; it is renamed all the same and corrected by the next lease.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result.map_err(failed)?,
        }
        std::fs::rename(&new, &path).map_err(failed)?;
        held.marked = AHEAD;
        Ok(())
    }

    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join(address.to_string())
    }
}

fn read_name(link: &Path) -> Option<String> {
    std::fs::read_link(link).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn leases(dir: &Path, subnet: &str) -> Leases {
        Leases::open(dir, subnet.parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_are_unique_until_the_subnet_is_full_and_come_back_when_released() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path(), "10.9.8.0/29");
        let pods: Vec<_> = (0..5).map(|_| SandboxId::generate()).collect();
        let given: BTreeSet<_> = pods.iter().map(|pod| leases.take(pod).unwrap()).collect();
        // Eight addresses less network, gateway and broadcast.
        let expected: BTreeSet<_> = (2..7).map(|last| Ipv4Addr::new(10, 9, 8, last)).collect();
        assert_eq!(given, expected);
        let full = leases.take(&SandboxId::generate()).unwrap_err();
        assert!(matches!(full, NativeError::NoAddressLeft { capacity: 5, .. }));
        leases.release(&pods[3]).unwrap();
        leases.release(&pods[3]).unwrap();
        assert_eq!(leases.take(&SandboxId::generate()).unwrap(), Ipv4Addr::new(10, 9, 8, 5));
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
        let given: BTreeSet<Ipv4Addr> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..16).map(|_| scope.spawn(|| leases.take(&SandboxId::generate()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(given.len(), 16);
    }
}
