//! A configuration file's value as the wire bytes of a message.
//!
//! The rules are those crictl's files follow: keys are the proto names in any case, unknown keys are passed over, null is
//! not set, enums are numbers, text takes numbers and truth values as they are written, environment values are text.

use serde_json::Value;

use super::{Field, Kind, Message, referred};

/// A value that does not fit its field.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The wrong type.
    #[error("{path}: {found} where {wanted} is wanted")]
    Type {
        /// Where, such as `metadata.name`.
        path: String,
        /// What is there.
        found: &'static str,
        /// What should be.
        wanted: &'static str,
    },
    /// A number outside of its type.
    #[error("{path}: {value} does not fit")]
    Range {
        /// Where.
        path: String,
        /// The number.
        value: String,
    },
}

/// Where in the file we are, for errors.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
}

impl Place<'_> {
    fn path(&self) -> String {
        match self.parent {
            Some(parent) if !parent.name.is_empty() => format!("{}.{}", parent.path(), self.name),
            _ => self.name.to_owned(),
        }
    }

    fn wrong(&self, value: &Value, wanted: &'static str) -> LoadError {
        let found = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        LoadError::Type { path: self.path(), found, wanted }
    }
}

/// The wire bytes of a message.
///
/// # Errors
/// The first value that does not fit, with its path.
pub(crate) fn from_json(shape: &Message, value: &Value) -> Result<Vec<u8>, LoadError> {
    let mut out = Vec::new();
    object(shape, value, &Place { parent: None, name: "" }, &mut out)?;
    Ok(out)
}

fn object(shape: &Message, value: &Value, place: &Place<'_>, out: &mut Vec<u8>) -> Result<(), LoadError> {
    let Value::Object(entries) = value else {
        return if value.is_null() { Ok(()) } else { Err(place.wrong(value, "an object")) };
    };
    for (key, value) in entries {
        let exact = shape.fields.iter().find(|field| field.name == key);
        let Some(field) = exact.or_else(|| shape.fields.iter().find(|f| f.name.eq_ignore_ascii_case(key)))
        else {
            continue;
        };
        let place = Place { parent: Some(place), name: key };
        match value {
            Value::Null => {}
            Value::Array(items) if field.repeated => {
                for item in items {
                    one(field, item, &place, out)?;
                }
            }
            other if field.repeated => return Err(place.wrong(other, "a list")),
            other if field.kind == Kind::Map => pairs(field, other, &place, out)?,
            other => one(field, other, &place, out)?,
        }
    }
    Ok(())
}

fn one(field: &Field, value: &Value, place: &Place<'_>, out: &mut Vec<u8>) -> Result<(), LoadError> {
    match field.kind {
        Kind::String | Kind::Bytes => bytes(field.number, text(value, place)?.as_bytes(), out),
        Kind::Message(index) => {
            let mut inner = Vec::new();
            if let Some(shape) = referred(index) {
                object(shape, value, place, &mut inner)?;
            }
            bytes(field.number, &inner, out);
        }
        Kind::Bool => {
            let Value::Bool(set) = value else { return Err(place.wrong(value, "true or false")) };
            number(field.number, u64::from(*set), out);
        }
        Kind::Double => {
            let float = value.as_f64().ok_or_else(|| place.wrong(value, "a number"))?;
            varint(u64::from(field.number) << 3 | 1, out);
            out.extend_from_slice(&float.to_bits().to_le_bytes());
        }
        Kind::Int32 | Kind::Enum(_) => {
            number(field.number, signed(value, place, i64::from(i32::MIN)..=i64::from(i32::MAX))?, out);
        }
        Kind::Int64 => number(field.number, signed(value, place, i64::MIN..=i64::MAX)?, out),
        Kind::Uint32 => number(field.number, signed(value, place, 0..=i64::from(u32::MAX))?, out),
        Kind::Uint64 => {
            let wide = value.as_u64().ok_or_else(|| place.wrong(value, "a whole number"))?;
            number(field.number, wide, out);
        }
        Kind::Map => {}
    }
    Ok(())
}

fn pairs(field: &Field, value: &Value, place: &Place<'_>, out: &mut Vec<u8>) -> Result<(), LoadError> {
    let Value::Object(entries) = value else { return Err(place.wrong(value, "an object")) };
    for (key, value) in entries {
        let place = Place { parent: Some(place), name: key };
        let mut inner = Vec::new();
        bytes(1, key.as_bytes(), &mut inner);
        bytes(2, text(value, &place)?.as_bytes(), &mut inner);
        bytes(field.number, &inner, out);
    }
    Ok(())
}

fn text(value: &Value, place: &Place<'_>) -> Result<String, LoadError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(place.wrong(value, "text")),
    }
}

#[allow(clippy::cast_sign_loss)] // Protobuf writes negative numbers as ten bytes of two's complement.
fn signed(value: &Value, place: &Place<'_>, range: std::ops::RangeInclusive<i64>) -> Result<u64, LoadError> {
    let number = match value {
        Value::Number(number) => number,
        other => return Err(place.wrong(other, "a whole number")),
    };
    match number.as_i64() {
        Some(number) if range.contains(&number) => Ok(number as u64),
        _ => Err(LoadError::Range { path: place.path(), value: number.to_string() }),
    }
}

fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3, out);
    varint(value, out);
}

fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[allow(clippy::cast_possible_truncation)] // Seven bits at a time.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ochre_cri_api as api;
    use prost::Message as _;
    use serde_json::json;

    fn container(value: &Value) -> Result<api::ContainerConfig, LoadError> {
        let shape = super::super::message("ContainerConfig").unwrap();
        Ok(api::ContainerConfig::decode(from_json(shape, value)?.as_slice()).unwrap())
    }

    #[test]
    fn a_file_names_fields_as_the_proto_does_in_any_case_and_the_rest_is_passed_over() {
        let config = container(&json!({
            "METADATA": {"name": 5, "attempt": 3}, "log_path": null, "logPath": "x", "nonsense": [1],
            "envs": [{"key": "A", "value": "b c"}], "command": ["sh", true],
            "linux": {"resources": {"memory_limit_in_bytes": 1_i64 << 40, "oom_score_adj": -998},
                      "security_context": {"run_as_user": {"value": 7}}},
            "labels": {"a": "b"}, "stop_signal": 9,
        }))
        .unwrap();
        assert_eq!(config.metadata.unwrap(), api::ContainerMetadata { name: "5".into(), attempt: 3 });
        assert_eq!((config.log_path.as_str(), config.command.join(" ").as_str()), ("", "sh true"));
        assert_eq!(config.envs[0].value, b"b c");
        let linux = config.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!((resources.memory_limit_in_bytes, resources.oom_score_adj), (1 << 40, -998));
        assert_eq!(linux.security_context.unwrap().run_as_user.unwrap().value, 7);
        assert_eq!((config.labels["a"].as_str(), config.stop_signal), ("b", 9));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let said = |value: Value| container(&value).unwrap_err().to_string();
        assert_eq!(
            said(json!({"metadata": {"attempt": "x"}})),
            "metadata.attempt: text where a whole number is wanted"
        );
        assert_eq!(said(json!({"metadata": {"attempt": -1}})), "metadata.attempt: -1 does not fit");
        assert_eq!(said(json!({"mounts": {}})), "mounts: an object where a list is wanted");
        assert_eq!(said(json!([])), ": a list where an object is wanted");
    }
}
