//! The documents of CDI, as strict as the specification: an unknown field, kind or version makes the file unusable,
//! since what the engine does not understand it cannot honour.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::name::{is_device, is_kind};

/// Versions with a published schema whose fields are all known here.
const VERSIONS: [&str; 9] = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"];
/// Stages at which a hook can run.
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The devices of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    /// For every device of the document, once.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    pub(super) container_edits: Edits,
}

/// What changes about a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<IntelRdt>,
    #[serde(rename = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    #[serde(default)]
    pub(super) host_path: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) major: i64,
    #[serde(default)]
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A hook.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// A mount.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

/// A class of Intel's Resource Director Technology.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntelRdt {
    #[serde(default, rename = "closID")]
    pub(super) clos_id: String,
    #[serde(default, rename = "l3CacheSchema")]
    pub(super) l3_cache_schema: String,
    #[serde(default, rename = "memBwSchema")]
    pub(super) mem_bw_schema: String,
    #[serde(default, rename = "enableCMT")]
    pub(super) enable_cmt: bool,
    #[serde(default, rename = "enableMBM")]
    pub(super) enable_mbm: bool,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Json,
    Yaml,
}

impl Document {
    /// Reads and checks a document. The text of the refusal is for people.
    pub(super) fn parse(text: &[u8], syntax: Syntax) -> Result<Self, String> {
        let document: Self = match syntax {
            Syntax::Json => serde_json::from_slice(text).map_err(|error| error.to_string())?,
            Syntax::Yaml => yaml(text)?,
        };
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.strip_prefix('v').unwrap_or(&self.cdi_version);
        if !VERSIONS.contains(&version) {
            return Err(format!("cdiVersion {:?} is none of {}", self.cdi_version, VERSIONS.join(", ")));
        }
        if !is_kind(&self.kind) {
            return Err(format!("kind {:?} is not of the form vendor/class", self.kind));
        }
        if self.devices.is_empty() {
            return Err("it describes no device".to_owned());
        }
        let mut seen = std::collections::BTreeSet::new();
        for device in &self.devices {
            if !is_device(&device.name) {
                return Err(format!("{:?} is not the name of a device", device.name));
            }
            if !seen.insert(&device.name) {
                return Err(format!("it describes device {:?} twice", device.name));
            }
            device.container_edits.check()?;
        }
        self.container_edits.check()
    }
}

/// YAML as the drivers' tools write it, where `0660` is octal as in YAML 1.1.
fn yaml<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_documents: 1, max_depth: 32, max_aliases: 1000 },
    };
    let first_line = |text: String| text.lines().next().unwrap_or_default().chars().take(300).collect();
    serde_saphyr::from_str_with_options(text, options).map_err(|error| first_line(error.to_string()))
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        if let Some(bad) = self.env.iter().find(|text| text.find('=').is_none_or(|at| at == 0) || nul(text)) {
            return Err(format!("environment {bad:?} is not of the form NAME=value"));
        }
        self.device_nodes.iter().try_for_each(DeviceNode::check)?;
        for mount in &self.mounts {
            absolute("hostPath", &mount.host_path)?;
            absolute("containerPath", &mount.container_path)?;
            if Path::new(&mount.container_path).components().count() < 2 {
                return Err("containerPath of a mount is the root".to_owned());
            }
        }
        for hook in &self.hooks {
            absolute("path of a hook", &hook.path)?;
            if !STAGES.contains(&hook.hook_name.as_str()) {
                return Err(format!("hookName {:?} is none of {}", hook.hook_name, STAGES.join(", ")));
            }
        }
        match &self.intel_rdt {
            Some(rdt) if rdt.clos_id.contains(['/', '\n', '\0']) || matches!(&*rdt.clos_id, "." | "..") => {
                Err(format!("closID {:?} is not the name of a class", rdt.clos_id))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl DeviceNode {
    fn check(&self) -> Result<(), String> {
        absolute("path of a device node", &self.path)?;
        if !self.host_path.is_empty() {
            absolute("hostPath of a device node", &self.host_path)?;
        }
        if !matches!(self.kind.as_str(), "" | "b" | "c" | "u" | "p") {
            return Err(format!("{:?} is not the type of a device node", self.kind));
        }
        if !self.permissions.chars().all(|c| "rwm".contains(c)) || self.permissions.len() > 3 {
            return Err(format!("permissions {:?} are not some of r, w and m", self.permissions));
        }
        if self.major < 0 || self.minor < 0 || self.file_mode.is_some_and(|mode| mode > 0o7777) {
            return Err(format!("the numbers of device node {:?} are out of range", self.path));
        }
        Ok(())
    }
}

fn absolute(field: &str, text: &str) -> Result<(), String> {
    let plain = text.starts_with('/') && !nul(text) && !text.split('/').any(|part| part == "..");
    if plain && text.len() <= 4096 {
        Ok(())
    } else {
        Err(format!("{field} {text:?} is not an absolute path"))
    }
}

fn nul(text: &str) -> bool {
    text.contains('\0')
}
