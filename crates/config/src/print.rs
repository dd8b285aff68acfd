//! The annotated sample: every option with its documentation, those equal to the default behind `# `; and the bare values.

use crate::options::runtime::{RuntimeHandlerConfig, WorkloadConfig, WorkloadResources};
use crate::options::{Config, Effect, Table};

/// Prints `config` as a file. Options equal to `defaults` are comments, changed ones are active, tables always are.
pub fn annotated(config: &Config, defaults: &Config) -> String {
    let mut out = String::new();
    for (table, default) in config.tables().iter().zip(defaults.tables()) {
        print_table(&mut out, table.table(), *table, default);
        if table.table() == "crio.runtime" {
            print_entries(&mut out, config);
        }
    }
    out
}

/// The values in force as JSON: tables by the parts of their names, options by theirs.
pub fn values(config: &Config) -> serde_json::Value {
    let mut root = serde_json::Map::new();
    for table in config.tables() {
        insert_table(&mut root, &table.table().split('.').collect::<Vec<_>>(), table);
    }
    for (name, handler) in &config.runtime.runtimes {
        insert_table(&mut root, &["crio", "runtime", "runtimes", name], handler);
    }
    for (name, workload) in &config.runtime.workloads {
        insert_table(&mut root, &["crio", "runtime", "workloads", name], workload);
        insert_table(&mut root, &["crio", "runtime", "workloads", name, "resources"], &workload.resources);
    }
    serde_json::Value::Object(root)
}

fn insert_table(place: &mut serde_json::Map<String, serde_json::Value>, path: &[&str], table: &dyn Table) {
    if let [first, rest @ ..] = path {
        let child = place.entry(*first).or_insert_with(|| serde_json::Map::new().into());
        if let serde_json::Value::Object(child) = child {
            insert_table(child, rest, table);
        }
        return;
    }
    for definition in table.definitions() {
        let text = format!("value = {}", table.value(definition.name).unwrap_or_default());
        // What `write` makes is TOML; a test holds every option to it.
        let value = toml::from_str::<toml::Table>(&text).ok().and_then(|mut parsed| parsed.remove("value"));
        let value = value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default();
        place.insert(definition.name.to_owned(), value);
    }
}

fn print_entries(out: &mut String, config: &Config) {
    let handler = RuntimeHandlerConfig::default();
    if config.runtime.runtimes.is_empty() {
        line(out, "# A handler of pods, by the name that a RuntimeClass gives:");
        line(out, "# [crio.runtime.runtimes.runc]");
        print_options(out, &handler, &handler);
    }
    for (name, table) in &config.runtime.runtimes {
        print_table(out, &format!("crio.runtime.runtimes.{}", key(name)), table, &handler);
    }
    let (workload, resources) = (WorkloadConfig::default(), WorkloadResources::default());
    if config.runtime.workloads.is_empty() {
        line(out, "# A class of pods with resources of their own:");
        line(out, "# [crio.runtime.workloads.management]");
        print_options(out, &workload, &workload);
        line(out, "# [crio.runtime.workloads.management.resources]");
        print_options(out, &resources, &resources);
    }
    for (name, table) in &config.runtime.workloads {
        let path = format!("crio.runtime.workloads.{}", key(name));
        print_table(out, &path, table, &workload);
        print_table(out, &format!("{path}.resources"), &table.resources, &resources);
    }
}

fn print_table(out: &mut String, name: &str, table: &dyn Table, default: &dyn Table) {
    line(out, &format!("[{name}]"));
    print_options(out, table, default);
}

fn print_options(out: &mut String, table: &dyn Table, default: &dyn Table) {
    line(out, "");
    for definition in table.definitions() {
        for text in definition.doc {
            line(out, &format!("#{}", text.trim_end()));
        }
        if definition.effect == Effect::Later {
            line(out, "# (No effect yet.)");
        }
        let value = table.value(definition.name).unwrap_or_default();
        let is_default = default.value(definition.name).is_some_and(|default| default == value);
        let comment = if is_default { "# " } else { "" };
        line(out, &format!("{comment}{} = {value}", definition.name));
        line(out, "");
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A table's name, quoted where TOML needs it.
fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { name.to_owned() } else { crate::value::quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_value_in_json() {
        let mut config = Config::default();
        config.runtime.runtimes.insert("a.b".into(), RuntimeHandlerConfig::default());
        config.runtime.workloads.insert("w".into(), WorkloadConfig::default());
        let json = values(&config);
        for (table, definition) in crate::definitions() {
            let pointer = format!("/{}/{}", table.replace('.', "/"), definition.name);
            assert!(json.pointer(&pointer).is_some_and(|value| !value.is_null()), "{pointer}");
        }
        assert_eq!(json["crio"]["runtime"]["runtimes"]["a.b"]["runtime_type"], "oci");
        assert_eq!(json["crio"]["runtime"]["workloads"]["w"]["resources"]["cpushares"], 0);
        assert_eq!(json["crio"]["runtime"]["drop_infra_ctr"], true);
    }
}
