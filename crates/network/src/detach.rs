//! Disconnecting a pod, however little of it is left.
//!
//! Host ports and leases are released in any case. Plugins get what they were given at the ADD: from this crate's
//! record, from the caller's, or from libcni's cache. When a plugin fails, the record stays, so that the next detach or
//! the next garbage collection tries again.

use std::path::Path;

use serde_json::Value;

use crate::cni::CniError;
use crate::cni::cache::{self, Cached};
use crate::cni::chain::Chain;
use crate::cni::conf::NetworkList;
use crate::cni::exec::Deadline;
use crate::error::Error;
use crate::network::Network;
use crate::record::{AttachmentRecord, CniRecord, Network as NetworkRecord};
use crate::request::DetachRequest;

impl Network {
    /// Disconnects a pod. A pod that is not connected, or not any more, is fine.
    ///
    /// # Errors
    /// Everything that failed; each step was tried nevertheless.
    pub fn detach(&self, request: &DetachRequest) -> Result<(), Error> {
        let shared = &self.shared;
        let sandbox = &request.sandbox;
        let mut failures = Vec::new();
        if let Err(source) = shared.host_ports.withdraw(sandbox) {
            failures.push(Error::HostPort { sandbox: sandbox.clone(), source });
        }
        match self.known(request) {
            Ok(Some(AttachmentRecord { network: NetworkRecord::Cni(cni), .. })) => {
                failures.extend(self.delete(request, &cni));
            }
            Ok(_) => failures.extend(shared.records.remove(sandbox).err()),
            Err(error) => failures.push(error),
        }
        if shared.native.holds(sandbox)
            && let Err(source) = shared.native.unplug(sandbox)
        {
            failures.push(Error::Native { sandbox: sandbox.clone(), source });
        }
        Error::collect(failures)
    }

    /// What is known about the pod's attachment.
    pub(crate) fn known(&self, request: &DetachRequest) -> Result<Option<AttachmentRecord>, Error> {
        let sandbox = &request.sandbox;
        if let Some(record) = self.shared.records.load(sandbox)? {
            return Ok(Some(record));
        }
        if self.shared.native.holds(sandbox) {
            return Ok(None);
        }
        if let Some(record) = &request.record {
            return Ok(Some(record.clone()));
        }
        let netns = request.netns.clone().unwrap_or_default();
        Ok(cache::find(&self.shared.config.cache_dir, sandbox).and_then(|cached| {
            let config = cached.config()?;
            let Cached { args, capability_args, result, .. } = cached;
            let (args, capability_args) = (args.unwrap_or_default(), capability_args.unwrap_or_default());
            let network = NetworkRecord::Cni(Box::new(CniRecord { config, args, capability_args, result }));
            Some(AttachmentRecord { sandbox: sandbox.clone(), netns, network })
        }))
    }

    /// Runs DEL; forgets the attachment only if all plugins succeeded.
    fn delete(&self, request: &DetachRequest, cni: &CniRecord) -> Vec<Error> {
        let shared = &self.shared;
        let sandbox = &request.sandbox;
        let failed = |network: &str, source: CniError| Error::Cni {
            sandbox: sandbox.clone(),
            network: network.to_owned(),
            source: Box::new(source),
        };
        let list = match NetworkList::from_value(cni.config.clone()) {
            Ok(list) => list,
            Err(fault) => return vec![failed("", fault.into())],
        };
        let cached: Option<Value> = cache::load(&shared.config.cache_dir, list.name.as_str(), sandbox)
            .and_then(|cached| cached.result);
        let previous = cni.result.clone().or(cached);
        let netns = request.netns.as_deref().filter(|path| path.exists()).unwrap_or(Path::new(""));
        let errors = Chain {
            list: &list,
            plugin_dirs: &shared.config.plugin_dirs,
            sandbox,
            netns: &netns.to_string_lossy(),
            args: &cni.args,
            capability_args: &cni.capability_args,
            deadline: Deadline::after(shared.config.timeouts.delete),
        }
        .delete(previous.as_ref());
        if !errors.is_empty() {
            return errors.into_iter().map(|source| failed(list.name.as_str(), source)).collect();
        }
        let mut failures = Vec::new();
        if let Err(source) = cache::remove(&shared.config.cache_dir, list.name.as_str(), sandbox) {
            failures.push(failed(list.name.as_str(), source));
        }
        failures.extend(shared.records.remove(sandbox).err());
        failures
    }
}
