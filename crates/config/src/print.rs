//! The annotated sample: every option with its documentation, those equal to the default behind `# `.

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
