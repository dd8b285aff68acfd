//! Freeing what belongs to no live pod: after a crash, after a failed DEL, after a reboot.

use std::collections::BTreeSet;

use ochre_types::SandboxId;

use crate::cni::chain;
use crate::cni::exec::Deadline;
use crate::error::Error;
use crate::network::{Network, Selected};
use crate::request::DetachRequest;

impl Network {
    /// Detaches every pod this crate has a record, lease or host port of that is not in `live`, then runs GC on a
    /// network of version 1.1. Called at start, when nothing is being attached.
    ///
    /// # Errors
    /// Everything that failed; all was tried.
    pub fn collect_garbage(&self, live: &[SandboxId]) -> Result<(), Error> {
        let shared = &self.shared;
        let mut failures = Vec::new();
        let mut known: BTreeSet<SandboxId> = BTreeSet::new();
        known.extend(shared.native.owners());
        known.extend(shared.host_ports.owners());
        match shared.records.owners() {
            Ok(owners) => known.extend(owners),
            Err(error) => failures.push(error),
        }
        for sandbox in known.into_iter().filter(|sandbox| !live.contains(sandbox)) {
            // The namespace of a record that outlived its pod is whatever lies at that path now: not its own.
            match self.detach(&DetachRequest { sandbox, netns: None, record: None }) {
                Err(Error::Several { failures: more }) => failures.extend(more),
                Err(error) => failures.push(error),
                Ok(()) => {}
            }
        }
        // Cables that a killed daemon had cut but not removed.
        failures.extend(shared.native.sweep().err().map(Error::Bridge));
        if let Selected::Cni(list) = &shared.selection().network {
            let deadline = Deadline::after(shared.config.timeouts.delete);
            let errors = chain::collect_garbage(list, &shared.config.plugin_dirs, live, deadline);
            let network = list.name.to_string();
            failures.extend(
                errors
                    .into_iter()
                    .map(|source| Error::Garbage { network: network.clone(), source: Box::new(source) }),
            );
        }
        Error::collect(failures)
    }
}
