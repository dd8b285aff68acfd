//! The order in which sources count, and the checks over several options.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::document::Document;
use crate::error::{ConfigError, Origin, Warning};
use crate::options::runtime::RuntimeHandlerConfig;
use crate::options::{Config, Effect, Table};
use crate::storage_conf;
use crate::value::{CgroupManager, Given, quoted};

/// Largest file read.
const MAX_FILE: u64 = 1 << 20;
/// Deepest nesting of the drop-in directory.
const MAX_DEPTH: usize = 16;
const MIN_STOP_TIMEOUT: i64 = 30;
const MIN_CREATE_TIMEOUT: i64 = 30;
const DEFAULT_MESSAGE_SIZE: i64 = 80 * 1024 * 1024;

/// The main configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainFile {
    /// The one used when nothing was asked for; it may be missing.
    Default(PathBuf),
    /// One that was asked for; it must exist.
    Explicit(PathBuf),
    /// None (`--config ""`).
    None,
}

/// What the defaults depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// systemd is process 1.
    pub has_systemd: bool,
    /// SELinux is enabled.
    pub has_selinux: bool,
    /// The storage.conf to use; the first that exists.
    pub storage_conf: Vec<PathBuf>,
}

impl Machine {
    /// Looks at this machine.
    pub fn detect() -> Self {
        Self {
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            has_selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            storage_conf: vec![
                "/etc/containers/storage.conf".into(),
                "/usr/share/containers/storage.conf".into(),
            ],
        }
    }
}

/// Everything a configuration is made from.
#[derive(Debug, Clone)]
pub struct Sources<'a> {
    /// The main file.
    pub main: MainFile,
    /// The drop-in directory; it may be missing.
    pub directory: Option<PathBuf>,
    /// The environment, names and values.
    pub environment: &'a [(String, String)],
    /// Flags that were given: names with dashes, without the two in front.
    pub flags: &'a [(String, String)],
    /// The machine.
    pub machine: &'a Machine,
}

/// A loaded configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The configuration of a machine without any of the sources, for comparison.
    pub defaults: Config,
    /// `registries.conf`; the environment variable `CONTAINERS_REGISTRIES_CONF` replaces the default.
    pub registries_conf: PathBuf,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// Loads, merges and checks.
///
/// # Errors
/// Every [`ConfigError`]; the first that is found.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
    let (defaults, refused_driver) = defaults(sources)?;
    let mut config = defaults.clone();
    let mut warnings = Vec::new();
    for path in files(sources)? {
        let text = read(&path)?;
        Document { path: &path, text: &text }.apply(&mut config, &mut warnings)?;
    }
    apply_environment(&mut config, sources.environment)?;
    apply_flags(&mut config, sources.flags)?;
    finish(&mut config, &defaults, &mut warnings);
    if let Some(error) = refused_driver.filter(|_| config.root.storage_driver != "overlay") {
        return Err(error);
    }
    let without_effect = without_effect(&config, &defaults);
    if !without_effect.is_empty() {
        warnings.push(Warning::NoEffect { options: without_effect });
    }
    let registries_conf = variable(sources.environment, "CONTAINERS_REGISTRIES_CONF")
        .map_or_else(|| PathBuf::from("/etc/containers/registries.conf"), PathBuf::from);
    Ok(Loaded { config, defaults, registries_conf, warnings })
}

/// The defaults, and the refusal of storage.conf's driver: it matters only when nothing else names one.
fn defaults(sources: &Sources<'_>) -> Result<(Config, Option<ConfigError>), ConfigError> {
    let mut refused_driver = None;
    let mut config = Config::default();
    config.runtime.selinux = sources.machine.has_selinux;
    if !sources.machine.has_systemd {
        config.runtime.cgroup_manager = CgroupManager::Cgroupfs;
    }
    let named = variable(sources.environment, "CONTAINERS_STORAGE_CONF").map(PathBuf::from);
    let path = named.or_else(|| sources.machine.storage_conf.iter().find(|path| path.exists()).cloned());
    if let Some(path) = path {
        let text = read(&path)?;
        refused_driver = storage_conf::apply(&Document { path: &path, text: &text }, &mut config.root)?;
    }
    Ok((config, refused_driver))
}

/// The files in the order they count.
fn files(sources: &Sources<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    match &sources.main {
        MainFile::None => {}
        MainFile::Default(path) if !path.exists() => {}
        MainFile::Explicit(path) if !path.exists() => {
            return Err(ConfigError::Missing { path: path.clone() });
        }
        MainFile::Default(path) | MainFile::Explicit(path) => files.push(path.clone()),
    }
    if let Some(directory) = sources.directory.as_ref().filter(|directory| directory.exists()) {
        walk(directory, 0, &mut files)?;
    }
    Ok(files)
}

/// Every file below `directory`, whatever its name, in lexical order.
fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Read { path: directory.to_path_buf(), source };
    if depth > MAX_DEPTH {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "nested too deeply")));
    }
    let mut entries: Vec<(PathBuf, bool)> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.path(), entry.file_type().map_err(failed)?.is_dir()));
    }
    entries.sort();
    for (path, is_dir) in entries {
        if is_dir {
            walk(&path, depth + 1, files)?;
        } else if path.is_file() {
            // Links to files count, links to directories do not: a mounted ConfigMap has both.
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), limit: MAX_FILE });
    }
    Ok(text)
}

fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    environment.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

fn apply_environment(config: &mut Config, environment: &[(String, String)]) -> Result<(), ConfigError> {
    let names: Vec<(String, &'static str)> =
        crate::definitions().iter().map(|(_, definition)| (definition.variable(), definition.name)).collect();
    let more = [
        ("CONTAINER_RUNTIMES".to_owned(), "runtimes"),
        // CRI-O released this spelling and still takes it.
        ("CONTAINER_INCLUDED_POD_METRCIS".to_owned(), "included_pod_metrics"),
    ];
    for (variable_name, option) in names.iter().chain(&more) {
        if let Some(value) = variable(environment, variable_name) {
            apply_text(config, option, &[value], &Origin::Environment { name: variable_name.clone() })?;
        }
    }
    Ok(())
}

fn apply_flags(config: &mut Config, flags: &[(String, String)]) -> Result<(), ConfigError> {
    for (at, (name, _)) in flags.iter().enumerate() {
        if flags[..at].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        let values: Vec<&str> =
            flags.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        let origin = Origin::Flag { name: name.clone() };
        if !apply_text(config, &option_name(name), &values, &origin)? {
            return Err(ConfigError::UnknownFlag { name: name.clone() });
        }
    }
    Ok(())
}

/// Flags are named after their options, with few exceptions.
fn option_name(flag: &str) -> String {
    match flag {
        "storage-opt" => "storage_option".to_owned(),
        "cni-config-dir" => "network_dir".to_owned(),
        "cni-plugin-dir" => "plugin_dirs".to_owned(),
        "insecure-registry" => "insecure_registries".to_owned(),
        "log-journald" => "log_to_journald".to_owned(),
        other => other.replace('-', "_"),
    }
}

/// Sets an option by its bare name; `false` when there is none.
fn apply_text(
    config: &mut Config,
    option: &str,
    values: &[&str],
    origin: &Origin,
) -> Result<bool, ConfigError> {
    let given = match values {
        [value] => Given::Text(value),
        values => Given::Texts(values),
    };
    let invalid = |option: &str, right| ConfigError::Invalid {
        origin: origin.clone(),
        option: option.to_owned(),
        value: given.shown(),
        right,
    };
    if option == "runtimes" {
        for element in
            values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|e| !e.is_empty())
        {
            let (name, handler) = handler_element(element).map_err(|right| invalid("runtimes", right))?;
            config.runtime.runtimes.insert(name, handler);
        }
        return Ok(true);
    }
    let tables: Vec<&'static str> = config.tables().iter().map(|table| table.table()).collect();
    for name in tables {
        let Some(result) = config.table_mut(name).and_then(|table| table.set(option, given)) else {
            continue;
        };
        result.map_err(|right| invalid(&format!("{name}.{option}"), right))?;
        return Ok(true);
    }
    Ok(false)
}

/// `name:path:root[:type[:privileged_without_host_devices[:config_path[:min_memory]]]]`
fn handler_element(element: &str) -> Result<(String, RuntimeHandlerConfig), String> {
    let fields: Vec<&str> = element.split(':').collect();
    if !(3..=7).contains(&fields.len()) || fields[0].is_empty() {
        return Err(format!(
            "invalid value {} for flag: expected name:path:root[:type[:privileged_without_host_devices\
             [:config_path[:container_min_memory]]]]",
            quoted(element)
        ));
    }
    let options = [
        "runtime_path",
        "runtime_root",
        "runtime_type",
        "privileged_without_host_devices",
        "runtime_config_path",
        "container_min_memory",
    ];
    let mut handler = RuntimeHandlerConfig::default();
    for (option, value) in options.iter().zip(&fields[1..]).filter(|(_, value)| !value.is_empty()) {
        if let Some(Err(right)) = handler.set(option, Given::Text(value)) {
            return Err(format!("{option}: {right}"));
        }
    }
    Ok((fields[0].to_owned(), handler))
}

/// Fills what was left empty and raises what is below a minimum.
fn finish(config: &mut Config, defaults: &Config, warnings: &mut Vec<Warning>) {
    inherit(config, defaults);
    for size in [&mut config.api.grpc_max_send_msg_size, &mut config.api.grpc_max_recv_msg_size] {
        if *size <= 0 {
            *size = DEFAULT_MESSAGE_SIZE;
        }
    }
    if config.runtime.default_runtime.is_empty() {
        config.runtime.default_runtime.clone_from(&defaults.runtime.default_runtime);
    }
    raise(&mut config.runtime.ctr_stop_timeout, MIN_STOP_TIMEOUT, "crio.runtime.ctr_stop_timeout", warnings);
    let default = config.runtime.runtimes.get(&config.runtime.default_runtime).cloned();
    for (name, handler) in &mut config.runtime.runtimes {
        let option = format!("crio.runtime.runtimes.{name}.container_create_timeout");
        raise(&mut handler.container_create_timeout, MIN_CREATE_TIMEOUT, &option, warnings);
        if let Some(default) = default.as_ref().filter(|_| handler.inherit_default_runtime) {
            handler.runtime_path.clone_from(&default.runtime_path);
            handler.runtime_type = default.runtime_type;
            handler.runtime_config_path.clone_from(&default.runtime_config_path);
            handler.runtime_root.clone_from(&default.runtime_root);
        }
    }
}

/// Empty options of the storage take their defaults, which are those of storage.conf where there is one.
fn inherit(config: &mut Config, defaults: &Config) {
    let (root, from) = (&mut config.root, &defaults.root);
    if root.root.as_os_str().is_empty() {
        root.root.clone_from(&from.root);
    }
    if root.runroot.as_os_str().is_empty() {
        root.runroot.clone_from(&from.runroot);
    }
    if root.storage_driver.is_empty() {
        root.storage_driver.clone_from(&from.storage_driver);
    }
}

fn raise(value: &mut i64, minimum: i64, option: &str, warnings: &mut Vec<Warning>) {
    if *value < minimum {
        *value = minimum;
        warnings.push(Warning::Raised { option: option.to_owned(), minimum });
    }
}

/// Options that were changed and do nothing yet.
fn without_effect(config: &Config, defaults: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for (table, default) in config.tables().iter().zip(defaults.tables()) {
        changed(*table, default, table.table(), &mut names);
    }
    for (name, handler) in &config.runtime.runtimes {
        let path = format!("crio.runtime.runtimes.{name}");
        changed(handler, &RuntimeHandlerConfig::default(), &path, &mut names);
    }
    names.extend(config.runtime.workloads.keys().map(|name| format!("crio.runtime.workloads.{name}")));
    names
}

fn changed(table: &dyn Table, default: &dyn Table, path: &str, names: &mut Vec<String>) {
    let later = table.definitions().iter().filter(|definition| definition.effect == Effect::Later);
    let changed = later.filter(|definition| table.value(definition.name) != default.value(definition.name));
    names.extend(changed.map(|definition| format!("{path}.{}", definition.name)));
}
