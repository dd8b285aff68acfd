//! Walking a network's plugins: ADD forwards with each result handed to the next, DEL backwards, CHECK, STATUS, GC.

use std::path::PathBuf;

use ochre_types::SandboxId;
use serde_json::{Map, Value, json};

use super::conf::{NetworkList, Plugin};
use super::exec::{Deadline, Invocation, find, run};
use super::{CniError, Verb, Version, arguments};

/// The pod's device: Kubernetes knows one network per pod.
pub(crate) const DEVICE: &str = "eth0";

/// One pod on one network.
#[derive(Debug)]
pub(crate) struct Chain<'a> {
    pub(crate) list: &'a NetworkList,
    pub(crate) plugin_dirs: &'a [PathBuf],
    pub(crate) sandbox: &'a SandboxId,
    /// The namespace's file; empty when it is gone, which the specification allows for DEL.
    pub(crate) netns: &'a str,
    pub(crate) args: &'a [(String, String)],
    pub(crate) capability_args: &'a Map<String, Value>,
    pub(crate) deadline: Deadline,
}

impl Chain<'_> {
    /// Connects the pod. After a failure the caller runs [`Chain::delete`], as the specification asks.
    pub(crate) fn add(&self) -> Result<Value, CniError> {
        let mut result: Option<Value> = None;
        for plugin in &self.list.plugins {
            let input = self.input(plugin, result.as_ref());
            result = Some(self.run(plugin, Verb::Add, &input)?);
        }
        Ok(result.unwrap_or_default())
    }

    /// Disconnects the pod. A plugin that fails does not keep the others from cleaning up.
    pub(crate) fn delete(&self, previous: Option<&Value>) -> Vec<CniError> {
        // DEL knows the previous result since 0.4.0.
        let previous = previous.filter(|_| self.list.version >= Version::CHECK);
        let run = |plugin: &Plugin| self.run(plugin, Verb::Del, &self.input(plugin, previous)).err();
        self.list.plugins.iter().rev().filter_map(run).collect()
    }

    /// Verifies that the pod is connected as `previous` says.
    pub(crate) fn check(&self, previous: &Value) -> Result<(), CniError> {
        if self.list.version < Version::CHECK {
            return Err(CniError::NoCheck { version: self.list.version.as_str() });
        }
        if self.list.disable_check {
            return Ok(());
        }
        for plugin in &self.list.plugins {
            self.run(plugin, Verb::Check, &self.input(plugin, Some(previous)))?;
        }
        Ok(())
    }

    fn input(&self, plugin: &Plugin, previous: Option<&Value>) -> Value {
        let mut input = base(self.list, plugin);
        let wanted = |(name, _): &(&String, &Value)| plugin.capabilities.contains(*name);
        let values: Map<String, Value> = self
            .capability_args
            .iter()
            .filter(wanted)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !values.is_empty() {
            input.insert("runtimeConfig".into(), values.into());
        }
        if let Some(previous) = previous {
            input.insert("prevResult".into(), previous.clone());
        }
        input.into()
    }

    fn run(&self, plugin: &Plugin, verb: Verb, input: &Value) -> Result<Value, CniError> {
        let environment = [
            ("CNI_COMMAND", verb.as_str().to_owned()),
            ("CNI_CONTAINERID", self.sandbox.to_string()),
            ("CNI_NETNS", self.netns.to_owned()),
            ("CNI_IFNAME", DEVICE.to_owned()),
            ("CNI_ARGS", arguments::joined(self.args)),
            ("CNI_PATH", search_path(self.plugin_dirs)),
        ];
        invoke(plugin, self.plugin_dirs, verb, &environment, input, self.deadline)
    }
}

/// Asks every plugin whether it could serve an ADD now (1.1).
pub(crate) fn status(
    list: &NetworkList,
    plugin_dirs: &[PathBuf],
    deadline: Deadline,
) -> Result<(), CniError> {
    if list.version < Version::STATUS {
        return Ok(());
    }
    for plugin in &list.plugins {
        let input = base(list, plugin).into();
        invoke(plugin, plugin_dirs, Verb::Status, &bare(Verb::Status, plugin_dirs), &input, deadline)?;
    }
    Ok(())
}

/// Tells every plugin which pods are alive, so that it can free what belongs to none of them (1.1).
pub(crate) fn collect_garbage(
    list: &NetworkList,
    plugin_dirs: &[PathBuf],
    live: &[SandboxId],
    deadline: Deadline,
) -> Vec<CniError> {
    if list.version < Version::STATUS || list.disable_gc {
        return Vec::new();
    }
    let attachments: Vec<Value> =
        live.iter().map(|sandbox| json!({"containerID": sandbox.as_str(), "ifname": DEVICE})).collect();
    let run = |plugin: &Plugin| {
        let mut input = base(list, plugin);
        // The specification's text and its reference implementation differ in the name.
        input.insert("cni.dev/valid-attachments".into(), attachments.clone().into());
        input.insert("cni.dev/attachments".into(), attachments.clone().into());
        invoke(plugin, plugin_dirs, Verb::Gc, &bare(Verb::Gc, plugin_dirs), &input.into(), deadline).err()
    };
    list.plugins.iter().filter_map(run).collect()
}

/// The first plugin that is not installed.
pub(crate) fn missing_plugin(list: &NetworkList, plugin_dirs: &[PathBuf]) -> Option<CniError> {
    list.plugins.iter().find_map(|plugin| find(&plugin.kind, plugin_dirs).err())
}

fn invoke(
    plugin: &Plugin,
    plugin_dirs: &[PathBuf],
    verb: Verb,
    environment: &[(&'static str, String)],
    input: &Value,
    deadline: Deadline,
) -> Result<Value, CniError> {
    let program = find(&plugin.kind, plugin_dirs)?;
    run(&Invocation { plugin: &plugin.kind, program: &program, verb, environment, input, deadline })
}

/// The plugin's configuration with the list's name and version, without what is only for the runtime.
fn base(list: &NetworkList, plugin: &Plugin) -> Map<String, Value> {
    let mut input = plugin.config.clone();
    for key in ["capabilities", "runtimeConfig", "prevResult"] {
        input.shift_remove(key);
    }
    input.insert("name".into(), list.name.as_str().into());
    input.insert("cniVersion".into(), list.version.as_str().into());
    input
}

fn bare(verb: Verb, plugin_dirs: &[PathBuf]) -> [(&'static str, String); 2] {
    [("CNI_COMMAND", verb.as_str().to_owned()), ("CNI_PATH", search_path(plugin_dirs))]
}

fn search_path(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":")
}
