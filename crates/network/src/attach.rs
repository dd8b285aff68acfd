//! Connecting a pod. The story:
//!
//! ```text
//! leftovers of an earlier try → loopback up → built-in: lease, veth, address ┐
//!                                           → CNI: record, ADD…, cache       ┴→ host ports
//! ```
//!
//! Whatever fails, everything is undone before the error is returned.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use serde_json::Value;

use crate::cni::chain::{Chain, DEVICE};
use crate::cni::conf::NetworkList;
use crate::cni::exec::Deadline;
use crate::cni::{CniError, arguments, cache, result};
use crate::error::Error;
use crate::hostport::{HostPortError, Target};
use crate::native;
use crate::netlink::route::Route;
use crate::network::{Network, Selected};
use crate::record::{AttachmentRecord, CniRecord, Network as NetworkRecord};
use crate::request::{AttachRequest, Attachment, DetachRequest};

impl Network {
    /// Connects a pod to the network in use and publishes its host ports.
    ///
    /// # Errors
    /// No usable network, a plugin's failure in full, the kernel's refusal, a taken host port. Everything is undone
    /// then; if that fails too the error says both.
    pub fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error> {
        let selection = self.shared.selection();
        selection.usable()?;
        let path = request.netns.clone();
        let netns = File::open(&path).map_err(|source| Error::Namespace {
            sandbox: request.sandbox.clone(),
            path,
            source,
        })?;
        self.clear_leftovers(request)?;
        let result = match &selection.network {
            Selected::Cni(list) => self.attach_cni(request, list, &netns),
            Selected::Native => self.attach_native(request, &netns),
            Selected::Nothing(reason) => return Err(reason.clone().into()),
        };
        result.map_err(|cause| self.undo(request, cause))
    }

    /// A daemon killed in the middle of an attach leaves a half-connected pod; the retry starts afresh.
    fn clear_leftovers(&self, request: &AttachRequest) -> Result<(), Error> {
        let shared = &self.shared;
        let sandbox = &request.sandbox;
        if shared.native.holds(sandbox)
            || shared.host_ports.holds(sandbox)
            || shared.records.load(sandbox)?.is_some()
        {
            self.detach(&request.into())?;
        }
        Ok(())
    }

    fn undo(&self, request: &AttachRequest, cause: Error) -> Error {
        match self.detach(&request.into()) {
            Ok(()) => cause,
            Err(Error::Several { failures }) => Error::Undo { cause: Box::new(cause), undo: failures },
            Err(failure) => Error::Undo { cause: Box::new(cause), undo: vec![failure] },
        }
    }

    fn attach_native(&self, request: &AttachRequest, netns: &File) -> Result<Attachment, Error> {
        let shared = &self.shared;
        let failed = |source| Error::HostPort { sandbox: request.sandbox.clone(), source };
        if shared.config.host_ports {
            // Families are all that matters here, and the gateways have those of the pod: a port that cannot be had is
            // refused before anything is made.
            let like = Target { addresses: shared.native.gateways(), devices: BTreeSet::new() };
            shared.host_ports.check(&request.sandbox, &request.port_mappings, like).map_err(failed)?;
        }
        let sandbox = request.sandbox.clone();
        let plugged = shared
            .native
            .plug(&request.sandbox, netns.as_fd(), &request.netns)
            .map_err(|source| Error::Native { sandbox, source })?;
        if shared.config.host_ports {
            let v4 = plugged.addresses.iter().any(|(address, _)| address.is_ipv4());
            let devices = v4.then(|| shared.native.device().to_owned()).into_iter().collect();
            self.publish(request, Target { addresses: plugged.addresses.clone(), devices })?;
        }
        Ok(Attachment {
            network: native::NAME.to_owned(),
            ips: plugged.addresses.into_iter().map(|(address, _)| address).collect(),
            interface: DEVICE.to_owned(),
            mac: Some(plugged.mac),
            result: plugged.result,
            record: AttachmentRecord {
                sandbox: request.sandbox.clone(),
                netns: request.netns.clone(),
                network: NetworkRecord::Native,
            },
        })
    }

    fn attach_cni(
        &self,
        request: &AttachRequest,
        list: &NetworkList,
        netns: &File,
    ) -> Result<Attachment, Error> {
        let failed = |source: CniError| Error::Cni {
            sandbox: request.sandbox.clone(),
            network: list.name.to_string(),
            source: Box::new(source),
        };
        let mut cni = CniRecord {
            config: list.value.clone(),
            args: arguments::pairs(request).map_err(failed)?,
            capability_args: arguments::capabilities(request).map_err(failed)?,
            result: None,
        };
        native::raise_loopback_of(netns, &request.netns)
            .map_err(|source| Error::Native { sandbox: request.sandbox.clone(), source })?;
        let record = |cni| AttachmentRecord {
            sandbox: request.sandbox.clone(),
            netns: request.netns.clone(),
            network: NetworkRecord::Cni(Box::new(cni)),
        };
        self.shared.records.store(&record(cni.clone()))?;
        let result = self.add(request, list, &cni).map_err(failed)?;
        let summary = result::summarize(&result, DEVICE);
        if summary.addresses.is_empty() {
            return Err(failed(CniError::NoAddress));
        }
        if self.shared.config.host_ports && !list.has_capability("portMappings") {
            let devices = self.devices_towards(request, &summary.addresses)?;
            self.publish(request, Target { addresses: summary.addresses.clone(), devices })?;
        }
        cni.result = Some(result.clone());
        Ok(Attachment {
            network: list.name.to_string(),
            ips: summary.addresses.into_iter().map(|(address, _)| address).collect(),
            interface: DEVICE.to_owned(),
            mac: summary.mac,
            result,
            record: record(cni),
        })
    }

    fn add(&self, request: &AttachRequest, list: &NetworkList, cni: &CniRecord) -> Result<Value, CniError> {
        let config = &self.shared.config;
        let netns = request.netns.to_string_lossy();
        let result = Chain {
            list,
            plugin_dirs: &config.plugin_dirs,
            sandbox: &request.sandbox,
            netns: &netns,
            args: &cni.args,
            capability_args: &cni.capability_args,
            deadline: Deadline::after(config.timeouts.add),
        }
        .add()?;
        let entry = cache::Entry {
            network: &list.name,
            config: &list.value,
            sandbox: &request.sandbox,
            netns: &netns,
            args: &cni.args,
            capability_args: &cni.capability_args,
            result: &result,
        };
        cache::store(&config.cache_dir, &entry)?;
        Ok(result)
    }

    fn publish(&self, request: &AttachRequest, target: Target) -> Result<(), Error> {
        let sandbox = &request.sandbox;
        self.shared
            .host_ports
            .publish(sandbox, &request.port_mappings, target)
            .map_err(|source| Error::HostPort { sandbox: sandbox.clone(), source })
    }

    /// Devices that need `route_localnet` for 127.0.0.1, which exists for IPv4 only.
    fn devices_towards(
        &self,
        request: &AttachRequest,
        addresses: &[(IpAddr, u8)],
    ) -> Result<BTreeSet<String>, Error> {
        if request.port_mappings.iter().all(|mapping| mapping.host_port == 0) {
            return Ok(BTreeSet::new());
        }
        let find = || {
            let mut route = Route::open()?;
            let first = addresses.iter().find(|(address, _)| address.is_ipv4());
            first
                .map(|(address, _)| route.device_towards(*address).and_then(|index| route.name(index)))
                .transpose()
        };
        find().map(|device| device.into_iter().collect()).map_err(|source: crate::NetlinkError| {
            Error::HostPort { sandbox: request.sandbox.clone(), source: HostPortError::from(source) }
        })
    }
}

impl From<&AttachRequest> for DetachRequest {
    fn from(request: &AttachRequest) -> Self {
        Self { sandbox: request.sandbox.clone(), netns: Some(request.netns.clone()), record: None }
    }
}
