//! Host ports: connections to a port of the node reach a port of a pod.
//!
//! One table per address family, `ochre-hostports`, whose rules never change; a pod is only entries in its sets:
//!
//! ```text
//! prerouting ─┐ to this node?                ┌ map addressed: address, protocol, port → pod address, pod port
//!             ├──────────────────→ translate ┤
//! output ─────┘                              └ map ports:     protocol, port          → pod address, pod port
//! postrouting ── translated, and source . destination in `hairpins` (pod subnet . pod), or source 127.0.0.0/8
//!                → masquerade: else the answer would not come back through the node
//! guard (before connection tracking) ── from a device in `guarded`, from or to 127.0.0.0/8 → drop
//! ```
//!
//! 127.0.0.1:port works because the pod's device gets `route_localnet=1`; the guard keeps that from opening the node's
//! loopback to its neighbours (CVE-2020-8558) and is in place first. IPv6 has no such setting: an answer to `::1` is
//! taken from the loopback device only, so `::1` is never translated (nor is it by CRI-O or the portmap plugin), and a
//! mapping of `::1` alone is refused rather than made in vain.
//!
//! A port is refused when another pod has it, or when a process of the node listens on it (`listeners`).
//!
//! Who owns a port is written in `<state_dir>/host-ports/<pod>.json` before the kernel is told. The first change after
//! a start, and any change that finds the table missing, replaces the whole table by what the records say.

mod claims;
mod conntrack;
mod error;
mod listeners;
mod rules;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_types::SandboxId;
use parking_lot::Mutex;

use crate::netlink::{Protocol, Socket};
use crate::nft::{Element, Family, Transaction, table_exists};
use crate::request::PortMapping;
use crate::state_dir;
use crate::sysctl;
use claims::Claims;
pub(crate) use claims::{Record, Target};
pub use error::HostPortError;
pub(crate) use rules::TABLE;

/// Every host port of this node's pods.
#[derive(Debug)]
pub(crate) struct HostPorts {
    dir: PathBuf,
    table: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    claims: Claims,
    /// Families whose table is known to match the records.
    fresh: BTreeSet<Family>,
}

impl HostPorts {
    /// Reads the records of an earlier life; the kernel is not touched.
    pub(crate) fn open(state_dir: &Path, table: String) -> Result<Self, HostPortError> {
        let dir = state_dir.join("host-ports");
        let failed = |source| HostPortError::Record { path: dir.clone(), source };
        state_dir::create(&dir).map_err(failed)?;
        let mut claims = Claims::default();
        for (sandbox, path) in state_dir::records(&dir).map_err(failed)? {
            let broken = |source| HostPortError::Record { path: path.clone(), source };
            let bytes = state_dir::read(&path).map_err(broken)?;
            match serde_json::from_slice(&bytes) {
                Ok(record) => claims.insert(sandbox, record),
                // What cannot be read claims nothing; the kernel's table is replaced without it.
                Err(_) => std::fs::remove_file(&path).map_err(broken)?,
            }
        }
        Ok(Self { dir, table, state: Mutex::new(State { claims, fresh: BTreeSet::new() }) })
    }

    /// Refuses ports that a pod with addresses such as these could not have. Touches nothing.
    pub(crate) fn check(
        &self,
        sandbox: &SandboxId,
        mappings: &[PortMapping],
        target: Target,
    ) -> Result<(), HostPortError> {
        let record = Record::new(mappings, target)?;
        if record.ports.is_empty() {
            return Ok(());
        }
        self.state.lock().claims.check(sandbox, &record)?;
        listeners::check(&record)
    }

    /// Makes the ports of a pod reachable. On failure nothing of the pod stays.
    pub(crate) fn publish(
        &self,
        sandbox: &SandboxId,
        mappings: &[PortMapping],
        target: Target,
    ) -> Result<(), HostPortError> {
        let record = Record::new(mappings, target)?;
        if record.ports.is_empty() {
            return Ok(());
        }
        listeners::check(&record)?;
        let mut state = self.state.lock();
        state.claims.check(sandbox, &record)?;
        self.write(sandbox, &record)?;
        state.claims.insert(sandbox.clone(), record.clone());
        let result = self.enter(&mut state, sandbox, &record);
        if result.is_err() {
            // The first failure is the one to report; what cannot be removed now is replaced with the whole table later.
            drop(self.release(&mut state, sandbox));
        }
        result
    }

    /// Withdraws the ports of a pod. The claim is gone afterwards even if the kernel could not be told.
    pub(crate) fn withdraw(&self, sandbox: &SandboxId) -> Result<(), HostPortError> {
        self.release(&mut self.state.lock(), sandbox)
    }

    /// Whether the pod holds ports.
    pub(crate) fn holds(&self, sandbox: &SandboxId) -> bool {
        self.state.lock().claims.owners().any(|owner| owner == sandbox)
    }

    /// The pods that hold ports.
    pub(crate) fn owners(&self) -> Vec<SandboxId> {
        self.state.lock().claims.owners().cloned().collect()
    }

    /// Removes the tables. Ports of pods that still hold some come back with the next change.
    pub(crate) fn teardown(&self) -> Result<(), HostPortError> {
        let mut state = self.state.lock();
        state.fresh.clear();
        remove_tables(&self.table)
    }

    fn release(&self, state: &mut State, sandbox: &SandboxId) -> Result<(), HostPortError> {
        let Some(record) = state.claims.remove(sandbox) else { return Ok(()) };
        let kernel = self.leave(state, &record);
        let path = self.path(sandbox);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                kernel.and(Err(HostPortError::Record { path, source }))
            }
            _ => kernel,
        }
    }

    fn write(&self, sandbox: &SandboxId, record: &Record) -> Result<(), HostPortError> {
        let failed = |source| HostPortError::Record { path: self.path(sandbox), source };
        let content = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let dir = std::fs::File::open(&self.dir).map_err(failed)?;
        // A reboot voids the kernel's tables and these records together.
        atomic::write(dir, &format!("{sandbox}.json"), &content, 0o600, Durability::Volatile).map_err(failed)
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.dir.join(format!("{sandbox}.json"))
    }

    fn enter(&self, state: &mut State, sandbox: &SandboxId, record: &Record) -> Result<(), HostPortError> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        for family in record.families() {
            let known = state.fresh.contains(&family) && table_exists(&mut socket, family, &self.table)?;
            let mut transaction = Transaction::new(family, &self.table);
            if known {
                transaction.add_elements(&rules::elements(sandbox, record, family));
            } else {
                rules::skeleton(&mut transaction, family);
                let mut all: Vec<Element> = state
                    .claims
                    .iter()
                    .flat_map(|(id, record)| rules::elements(id, record, family))
                    .collect();
                all.sort_by_key(|element| element.set);
                transaction.add_elements(&all);
            }
            transaction.commit(&mut socket)?;
            state.fresh.insert(family);
        }
        for device in &record.devices {
            sysctl::set(&format!("net/ipv4/conf/{device}/route_localnet"), "1")?;
        }
        conntrack::forget(&mut socket, record, conntrack::Which::Untranslated)?;
        Ok(())
    }

    fn leave(&self, state: &mut State, record: &Record) -> Result<(), HostPortError> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        for family in record.families() {
            if !table_exists(&mut socket, family, &self.table)? {
                continue;
            }
            let own = rules::own_elements(record, family);
            let mut result = self.delete(&mut socket, family, &own);
            if matches!(&result, Err(error) if error.errno() == Some(libc::ENOENT)) {
                // The table of an earlier life may lack entries of records whose daemon was killed in between.
                result = own.chunks(1).try_for_each(|one| match self.delete(&mut socket, family, one) {
                    Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
                    result => result,
                });
            }
            if let Err(error) = result {
                state.fresh.remove(&family);
                return Err(error.into());
            }
        }
        conntrack::forget(&mut socket, record, conntrack::Which::Towards)?;
        Ok(())
    }

    fn delete(
        &self,
        socket: &mut Socket,
        family: Family,
        elements: &[Element],
    ) -> Result<(), crate::NetlinkError> {
        let mut transaction = Transaction::new(family, &self.table);
        transaction.delete_elements(elements);
        transaction.commit(socket)
    }
}

/// Removes `table` of both families; fine when it is missing.
pub(crate) fn remove_tables(table: &str) -> Result<(), HostPortError> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    for family in [Family::V4, Family::V6] {
        if table_exists(&mut socket, family, table)? {
            let mut transaction = Transaction::new(family, table);
            transaction.delete_table();
            transaction.commit(&mut socket)?;
        }
    }
    Ok(())
}
