//! Messages in the format that was asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::json::{Printer, compact, indented};
use crate::schema::{Style, to_json};
use crate::{say, template, yaml};

/// Prints a message as protojson.
///
/// # Errors
/// When nobody reads.
pub(crate) fn json(name: &str, message: &impl prost::Message) -> Result<(), Error> {
    say::answer(&format!("{}\n", indented(&to_json(name, message, Style::Proto), Printer::Proto)))
}

/// Prints a message as YAML, with the empty line crictl puts after it.
///
/// # Errors
/// When nobody reads.
pub(crate) fn yaml(name: &str, message: &impl prost::Message) -> Result<(), Error> {
    say::answer(&format!("{}\n", yaml::document(&to_json(name, message, Style::Proto))))
}

/// One object's status, and what the engine says beyond it.
pub(crate) fn with_info(status: Value, info: &BTreeMap<String, String>) -> Result<Map<String, Value>, Error> {
    let mut out = Map::new();
    out.insert("status".into(), status);
    for (key, text) in info {
        let value = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| Error::Answer {
                what: format!("unmarshal status info JSON: {key}: {error}"),
            })?
        } else {
            Value::from(text.trim_matches('"'))
        };
        out.insert(key.clone(), value);
    }
    Ok(out)
}

/// Prints what was inspected: one object as such, several as a list, nothing not at all.
///
/// # Errors
/// An unknown format, or a template that fails.
pub(crate) fn statuses(
    mut found: Vec<Map<String, Value>>,
    format: &str,
    template: &str,
) -> Result<(), Error> {
    let value = match found.len() {
        0 => return Ok(()),
        1 => Value::Object(found.remove(0)),
        _ => found.into_iter().map(Value::Object).collect(),
    };
    formatted(&value, format, template)
}

/// Prints a value as JSON, YAML or through a template.
///
/// # Errors
/// An unknown format, or a template that fails.
pub(crate) fn formatted(value: &Value, format: &str, template: &str) -> Result<(), Error> {
    match format {
        "json" => say::answer(&format!("{}\n", indented(value, Printer::Std))),
        "yaml" => {
            // The numbers go through JSON first, as everywhere.
            let value: Value = serde_json::from_str(&compact(value))
                .map_err(|error| Error::Answer { what: error.to_string() })?;
            say::answer(&format!("{}\n", yaml::document(&value)))
        }
        "go-template" => {
            let value: Value = serde_json::from_str(&compact(value))
                .map_err(|error| Error::Answer { what: error.to_string() })?;
            say::answer(&format!("{}\n", template::render(template, &value)?))
        }
        other => Err(Error::Choice {
            what: "output format",
            value: other.to_owned(),
            possible: "json, yaml, go-template, table",
        }),
    }
}

/// A list's format: table, JSON or YAML.
///
/// # Errors
/// Any other.
pub(crate) fn list_format(format: &str) -> Result<&str, Error> {
    match format {
        "json" | "yaml" | "table" => Ok(format),
        other => Err(Error::Choice {
            what: "output format",
            value: other.to_owned(),
            possible: "json, yaml, table",
        }),
    }
}

/// A message's `key -> value` block under a title; nothing when there are none.
pub(crate) fn pairs(title: &str, pairs: &BTreeMap<String, String>) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let lines = pairs.iter().map(|(key, value)| format!("\t{key} -> {value}\n"));
    std::iter::once(format!("{title}:\n")).chain(lines).collect()
}

/// The engine's own details on one line, as Go prints a map.
pub(crate) fn info_line(info: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = info.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("Info: map[{}]\n", pairs.join(" "))
}
