//! Verifying that a pod is still connected as it was: CNI's CHECK, or a look at the built-in network's device.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use ochre_types::SandboxId;
use serde_json::Value;

use crate::cni::CniError;
use crate::cni::chain::{Chain, DEVICE};
use crate::cni::conf::NetworkList;
use crate::cni::exec::Deadline;
use crate::cni::result;
use crate::error::Error;
use crate::network::Network;
use crate::record::{CniRecord, Network as NetworkRecord};
use crate::request::Attachment;

impl Network {
    /// Verifies an attachment in the namespace pinned to `netns`.
    ///
    /// # Errors
    /// What differs: a plugin's words, or the namespace, device or address that is missing. A network whose version
    /// has no CHECK says so.
    pub fn check(&self, sandbox: &SandboxId, netns: &Path, attachment: &Attachment) -> Result<(), Error> {
        match &attachment.record.network {
            NetworkRecord::Native => self.check_native(sandbox, netns, &attachment.result),
            NetworkRecord::Cni(cni) => self.check_cni(sandbox, netns, cni, &attachment.result),
        }
    }

    fn check_native(&self, sandbox: &SandboxId, path: &Path, result: &Value) -> Result<(), Error> {
        let summary = result::summarize(result, DEVICE);
        let addresses: Vec<IpAddr> = summary.addresses.into_iter().map(|(address, _)| address).collect();
        if addresses.is_empty() {
            return Err(Error::NotAttached { sandbox: sandbox.clone() });
        }
        let netns = File::open(path).map_err(|source| Error::Namespace {
            sandbox: sandbox.clone(),
            path: path.to_owned(),
            source,
        })?;
        let checked = self.shared.native.check(netns.as_fd(), path, &addresses);
        checked.map_err(|source| Error::Native { sandbox: sandbox.clone(), source })
    }

    fn check_cni(
        &self,
        sandbox: &SandboxId,
        netns: &Path,
        cni: &CniRecord,
        result: &Value,
    ) -> Result<(), Error> {
        let failed = |network: &str, source: CniError| Error::Cni {
            sandbox: sandbox.clone(),
            network: network.to_owned(),
            source: Box::new(source),
        };
        let list = NetworkList::from_value(cni.config.clone()).map_err(|fault| failed("", fault.into()))?;
        Chain {
            list: &list,
            plugin_dirs: &self.shared.config.plugin_dirs,
            sandbox,
            netns: &netns.to_string_lossy(),
            args: &cni.args,
            capability_args: &cni.capability_args,
            deadline: Deadline::after(self.shared.config.timeouts.add),
        }
        .check(result)
        .map_err(|source| failed(list.name.as_str(), source))
    }
}
