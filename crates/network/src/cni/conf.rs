//! Network configurations: strict reading of `*.conflist`, `*.conf` and `*.json`.
//!
//! Whether a file is a list or a single plugin is decided by its content (the key `plugins`), not by its name.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{ConfigFault, Version};
use crate::state_dir::read_limited;

const LIMIT: u64 = 1 << 20;

/// The name of a network: safe as part of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(Box<str>);

impl NetworkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(name: &str) -> Result<Self, ConfigFault> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && name.bytes().all(word) {
            Ok(Self(name.into()))
        } else {
            Err(ConfigFault::Name { name: name.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network: plugins run in order for ADD, in reverse for DEL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkList {
    pub(crate) name: NetworkName,
    pub(crate) version: Version,
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) disable_check: bool,
    pub(crate) disable_gc: bool,
    /// The whole list as JSON, kept with every attachment.
    pub(crate) value: Value,
}

/// One plugin of a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    pub(crate) kind: String,
    pub(crate) capabilities: BTreeSet<String>,
    /// As the operator wrote it.
    pub(crate) config: Map<String, Value>,
}

/// A file of the configuration directory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) file: PathBuf,
    pub(crate) list: Result<NetworkList, ConfigFault>,
}

/// Loads every configuration of a directory, sorted by file name. A missing directory is an empty one.
pub(crate) fn load_dir(dir: &Path) -> Result<Vec<Loaded>, ConfigFault> {
    let files = files(dir, &["conf", "conflist", "json"]).map_err(ConfigFault::Unreadable)?;
    Ok(files.into_iter().map(|file| Loaded { list: load(&file), file }).collect())
}

impl NetworkList {
    /// Reads a configuration.
    pub(crate) fn from_value(value: Value) -> Result<Self, ConfigFault> {
        let Value::Object(object) = &value else {
            return Err(ConfigFault::WrongType { key: "", wanted: "an object" });
        };
        let name = NetworkName::parse(text(object, "name")?.unwrap_or_default())?;
        let version = version(object)?;
        if !object.contains_key("plugins") {
            let plugins = vec![read_plugin(&value)?];
            let value = json!({"cniVersion": version.as_str(), "name": name.as_str(), "plugins": [value]});
            return Ok(Self { name, version, plugins, disable_check: false, disable_gc: false, value });
        }
        let Some(Value::Array(list)) = object.get("plugins") else {
            return Err(ConfigFault::WrongType { key: "plugins", wanted: "a list" });
        };
        if list.is_empty() {
            return Err(ConfigFault::NoPlugins);
        }
        let plugins = list.iter().map(read_plugin).collect::<Result<_, _>>()?;
        let disable_check = flag(object, "disableCheck")?;
        let disable_gc = flag(object, "disableGC")?;
        Ok(Self { name, version, plugins, disable_check, disable_gc, value })
    }

    /// Whether some plugin takes this capability.
    pub(crate) fn has_capability(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }
}

fn load(file: &Path) -> Result<NetworkList, ConfigFault> {
    let bytes = read_limited(file, LIMIT).map_err(ConfigFault::Unreadable)?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(ConfigFault::NotJson)?;
    add_from_folder(file, &mut value)?;
    NetworkList::from_value(value)
}

/// Since 1.1 a list may be extended by files in a folder named like the network, unless it says
/// `loadOnlyInlinedPlugins`.
fn add_from_folder(file: &Path, value: &mut Value) -> Result<(), ConfigFault> {
    let Value::Object(object) = value else { return Ok(()) };
    if flag(object, "loadOnlyInlinedPlugins")? || object.contains_key("type") {
        return Ok(());
    }
    let name = NetworkName::parse(text(object, "name")?.unwrap_or_default())?;
    let Some(folder) = file.parent().map(|dir| dir.join(name.as_str())) else { return Ok(()) };
    let more = files(&folder, &["conf"]).map_err(ConfigFault::Unreadable)?;
    if more.is_empty() {
        return Ok(());
    }
    let plugins = object.entry("plugins").or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(plugins) = plugins else { return Ok(()) };
    for file in more {
        let bytes = read_limited(&file, LIMIT).map_err(ConfigFault::Unreadable)?;
        plugins.push(serde_json::from_slice(&bytes).map_err(ConfigFault::NotJson)?);
    }
    Ok(())
}

fn files(dir: &Path, extensions: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // A directory may be named like a configuration.
        if extensions.contains(&extension) && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `cniVersions` (1.1) offers several; the newest that is spoken here counts.
fn version(object: &Map<String, Value>) -> Result<Version, ConfigFault> {
    let mut offered: Vec<&str> = text(object, "cniVersion")?.into_iter().collect();
    match object.get("cniVersions") {
        None => {}
        Some(Value::Array(more)) => offered.extend(more.iter().filter_map(Value::as_str)),
        Some(_) => return Err(ConfigFault::WrongType { key: "cniVersions", wanted: "a list" }),
    }
    offered
        .iter()
        .filter_map(|version| Version::parse(version))
        .max()
        .ok_or_else(|| ConfigFault::Version { version: offered.join(", ").chars().take(80).collect() })
}

fn read_plugin(value: &Value) -> Result<Plugin, ConfigFault> {
    let Value::Object(config) = value else {
        return Err(ConfigFault::WrongType { key: "plugins", wanted: "a list of objects" });
    };
    let kind = program(text(config, "type")?.unwrap_or_default())?;
    if let Some(Value::Object(ipam)) = config.get("ipam") {
        // Run by the plugin itself, by the same rule.
        text(ipam, "type")?.filter(|kind| !kind.is_empty()).map(program).transpose()?;
    }
    let capabilities = match config.get("capabilities") {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(Value::Object(declared)) => {
            let wanted = declared.iter().filter(|(_, on)| **on == Value::Bool(true));
            wanted.map(|(name, _)| name.clone()).collect()
        }
        Some(_) => return Err(ConfigFault::WrongType { key: "capabilities", wanted: "an object" }),
    };
    Ok(Plugin { kind, capabilities, config: config.clone() })
}

fn program(kind: &str) -> Result<String, ConfigFault> {
    let hostile =
        kind.is_empty() || kind == "." || kind == ".." || kind.contains(['/', '\0']) || kind.len() > 255;
    if hostile {
        return Err(ConfigFault::PluginType { plugin: kind.chars().take(80).collect() });
    }
    Ok(kind.to_owned())
}

fn text<'a>(object: &'a Map<String, Value>, key: &'static str) -> Result<Option<&'a str>, ConfigFault> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ConfigFault::WrongType { key, wanted: "a string" }),
    }
}

/// libcni also takes the words `"true"` and `"false"`.
fn flag(object: &Map<String, Value>, key: &'static str) -> Result<bool, ConfigFault> {
    match object.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(ConfigFault::WrongType { key, wanted: "true or false" }),
    }
}

#[cfg(test)]
mod tests;
