//! libcni's result cache: `<cache_dir>/results/<network>-<container>-<device>`, in libcni's own format
//! (`cniCacheV1`), so that any other program built on libcni can disconnect our pods, and we theirs.

use std::fs::File;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ochre_sys::atomic::{self, Durability};
use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CniError;
use super::conf::NetworkName;
use crate::state_dir;

const KIND: &str = "cniCacheV1";
const LIMIT: u64 = 8 << 20;

/// A cached attachment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cached {
    kind: String,
    #[serde(rename = "containerId")]
    container_id: String,
    /// The network list, in base64.
    config: String,
    #[serde(rename = "ifName")]
    device: String,
    #[serde(rename = "networkName")]
    network: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(rename = "cniArgs", default, skip_serializing_if = "Option::is_none")]
    pub(crate) args: Option<Vec<(String, String)>>,
    #[serde(rename = "capabilityArgs", default, skip_serializing_if = "Option::is_none")]
    pub(crate) capability_args: Option<Map<String, Value>>,
    #[serde(default)]
    pub(crate) result: Option<Value>,
}

/// What to remember about an attachment.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) network: &'a NetworkName,
    pub(crate) config: &'a Value,
    pub(crate) sandbox: &'a SandboxId,
    pub(crate) netns: &'a str,
    pub(crate) args: &'a [(String, String)],
    pub(crate) capability_args: &'a Map<String, Value>,
    pub(crate) result: &'a Value,
}

impl Cached {
    /// The network list as JSON.
    pub(crate) fn config(&self) -> Option<Value> {
        serde_json::from_slice(&STANDARD.decode(&self.config).ok()?).ok()
    }
}

/// Stores an attachment.
pub(crate) fn store(cache_dir: &Path, entry: &Entry<'_>) -> Result<(), CniError> {
    let dir = cache_dir.join("results");
    let name = name(entry.network.as_str(), entry.sandbox);
    let failed = |source| CniError::Cache { path: dir.join(&name), source };
    let cached = Cached {
        kind: KIND.into(),
        container_id: entry.sandbox.to_string(),
        config: STANDARD.encode(entry.config.to_string()),
        device: super::chain::DEVICE.into(),
        network: entry.network.to_string(),
        netns: entry.netns.into(),
        args: Some(entry.args.to_vec()).filter(|args| !args.is_empty()),
        capability_args: Some(entry.capability_args.clone()).filter(|args| !args.is_empty()),
        result: Some(entry.result.clone()),
    };
    let content = serde_json::to_vec(&cached).map_err(|error| failed(error.into()))?;
    state_dir::create(&dir).map_err(failed)?;
    let handle = File::open(&dir).map_err(failed)?;
    atomic::write(handle, &name, &content, 0o600, Durability::Synced).map_err(failed)
}

/// The attachment of a pod to a network; `None` if there is none or it cannot be understood.
pub(crate) fn load(cache_dir: &Path, network: &str, sandbox: &SandboxId) -> Option<Cached> {
    read(&cache_dir.join("results").join(name(network, sandbox)), sandbox)
}

/// The attachment of a pod to whatever network, for a pod of which nothing else is known.
pub(crate) fn find(cache_dir: &Path, sandbox: &SandboxId) -> Option<Cached> {
    let suffix = name("", sandbox);
    let entries = std::fs::read_dir(cache_dir.join("results")).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.ends_with(&suffix)))
        .find_map(|entry| read(&entry.path(), sandbox))
}

/// Removes an attachment; fine when it is gone.
pub(crate) fn remove(cache_dir: &Path, network: &str, sandbox: &SandboxId) -> Result<(), CniError> {
    let path = cache_dir.join("results").join(name(network, sandbox));
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CniError::Cache { path, source }),
        _ => Ok(()),
    }
}

fn read(path: &Path, sandbox: &SandboxId) -> Option<Cached> {
    let cached: Cached = serde_json::from_slice(&state_dir::read_limited(path, LIMIT).ok()?).ok()?;
    (cached.kind == KIND && cached.container_id == sandbox.as_str()).then_some(cached)
}

fn name(network: &str, sandbox: &SandboxId) -> String {
    format!("{network}-{sandbox}-{}", super::chain::DEVICE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_file_is_what_libcni_would_write() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = SandboxId::generate();
        let network = NetworkName::parse("net").unwrap();
        let config = json!({"name": "net"});
        let capability_args = json!({"portMappings": []}).as_object().cloned().unwrap();
        let entry = Entry {
            network: &network,
            config: &config,
            sandbox: &sandbox,
            netns: "/run/netns/x",
            args: &[("IgnoreUnknown".into(), "1".into())],
            capability_args: &capability_args,
            result: &json!({"cniVersion": "1.0.0"}),
        };
        store(dir.path(), &entry).unwrap();
        let path = dir.path().join(format!("results/net-{sandbox}-eth0"));
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            written,
            json!({"kind": "cniCacheV1", "containerId": sandbox.as_str(), "config": "eyJuYW1lIjoibmV0In0=",
                "ifName": "eth0", "networkName": "net", "netns": "/run/netns/x", "cniArgs": [["IgnoreUnknown", "1"]],
                "capabilityArgs": {"portMappings": []}, "result": {"cniVersion": "1.0.0"}})
        );
        assert_eq!(find(dir.path(), &sandbox).unwrap().config(), Some(config));
        assert!(find(dir.path(), &SandboxId::generate()).is_none());
        remove(dir.path(), "net", &sandbox).unwrap();
        remove(dir.path(), "net", &sandbox).unwrap();
        assert!(load(dir.path(), "net", &sandbox).is_none());
    }
}
