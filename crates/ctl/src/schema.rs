//! CRI messages as JSON and back, without reflection: the wire bytes of a message are walked along a generated table.
//!
//! ```text
//! prost message -- encode --> wire bytes -- table --> serde_json::Value      to_json: answers to be shown
//! Value (a file)  -- table --> wire bytes -- decode --> prost message        from_json: configurations to be sent
//! ```
//! Two styles of JSON go out, because crictl has two: protojson (camelCase, defaults shown, 64-bit integers as strings,
//! enums by name), and for the features of `info` the plain struct form (snake_case, nothing that is zero).

mod load;
#[rustfmt::skip]
mod table;

pub use load::LoadError;
pub(crate) use load::from_json;

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value};

/// A message of the table.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A field of it, in the order of the proto file.
pub(crate) struct Field {
    /// As the proto file writes it.
    pub(crate) name: &'static str,
    /// As protojson writes it.
    pub(crate) json: &'static str,
    number: u32,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Newer than v1.36: shown only when set.
    later: bool,
}

/// An enum's names.
pub(crate) struct Enumeration {
    values: &'static [(i32, &'static str)],
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Double,
    Enum(usize),
    Message(usize),
    /// All maps of CRI are from text to text.
    Map,
}

/// How the JSON is to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// protojson with defaults.
    Proto,
    /// Go's struct tags: snake_case, what is zero is left out.
    Plain,
}

/// One value on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => &[],
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(_) => 0,
        }
    }
}

/// The message with this name; the table holds every message of CRI.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    table::MESSAGES.iter().find(|message| message.name == name)
}

/// The message a field refers to.
pub(crate) fn referred(index: usize) -> Option<&'static Message> {
    table::MESSAGES.get(index)
}

/// A message as JSON; `name` is its name in the proto file.
pub(crate) fn to_json(name: &str, message_bytes: &impl prost::Message, style: Style) -> Value {
    message(name).map_or(Value::Null, |shape| object(shape, &message_bytes.encode_to_vec(), style))
}

fn object(shape: &Message, bytes: &[u8], style: Style) -> Value {
    let mut found: BTreeMap<u32, Vec<Wire<'_>>> = BTreeMap::new();
    for (number, value) in wires(bytes) {
        found.entry(number).or_default().push(value);
    }
    let mut out = Map::new();
    for field in shape.fields {
        let values = found.get(&field.number).map_or(&[][..], Vec::as_slice);
        let name = if style == Style::Proto { field.json } else { field.name };
        if let Some(value) = field_value(field, values, style) {
            out.insert(name.to_owned(), value);
        }
    }
    Value::Object(out)
}

/// `None`: nothing is to be shown.
fn field_value(field: &Field, values: &[Wire<'_>], style: Style) -> Option<Value> {
    let unset = values.is_empty();
    if unset && (style == Style::Plain || field.later || is_unset_message(field)) {
        return None;
    }
    if field.kind == Kind::Map {
        let pairs: BTreeMap<String, Value> = values.iter().map(|value| pair(value.bytes())).collect();
        return Some(Value::Object(pairs.into_iter().collect()));
    }
    if field.repeated {
        return Some(values.iter().flat_map(|value| elements(field.kind, *value, style)).collect());
    }
    Some(scalar(field.kind, values.last().copied(), style))
}

fn is_unset_message(field: &Field) -> bool {
    matches!(field.kind, Kind::Message(_)) && !field.repeated
}

/// Numbers in lists are packed into one value.
fn elements(kind: Kind, value: Wire<'_>, style: Style) -> Vec<Value> {
    match (kind, value) {
        (Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Map, _) | (_, Wire::Number(_)) => {
            vec![scalar(kind, Some(value), style)]
        }
        (_, Wire::Bytes(mut packed)) => {
            let mut out = Vec::new();
            while let Some(number) = varint(&mut packed) {
                out.push(scalar(kind, Some(Wire::Number(number)), style));
            }
            out
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // Protobuf's own reading of its integers.
fn scalar(kind: Kind, value: Option<Wire<'_>>, style: Style) -> Value {
    let value = value.unwrap_or(Wire::Number(0));
    let wide = |text: String, plain: Value| if style == Style::Proto { text.into() } else { plain };
    match kind {
        Kind::String => String::from_utf8_lossy(value.bytes()).into(),
        Kind::Bytes => base64::engine::general_purpose::STANDARD.encode(value.bytes()).into(),
        Kind::Bool => (value.number() != 0).into(),
        Kind::Int32 => (value.number() as i32).into(),
        Kind::Uint32 => (value.number() as u32).into(),
        Kind::Int64 => {
            let number = value.number() as i64;
            wide(number.to_string(), number.into())
        }
        Kind::Uint64 => wide(value.number().to_string(), value.number().into()),
        Kind::Double => f64::from_bits(value.number()).into(),
        Kind::Enum(index) => enum_value(index, value.number() as i32, style),
        Kind::Message(index) => {
            referred(index).map_or(Value::Null, |shape| object(shape, value.bytes(), style))
        }
        Kind::Map => Value::Null,
    }
}

fn enum_value(index: usize, number: i32, style: Style) -> Value {
    let named = table::ENUMS.get(index).and_then(|one| one.values.iter().find(|(value, _)| *value == number));
    match named {
        Some((_, name)) if style == Style::Proto => (*name).into(),
        _ => number.into(),
    }
}

fn pair(bytes: &[u8]) -> (String, Value) {
    let (mut key, mut value) = (String::new(), String::new());
    for (number, wire) in wires(bytes) {
        let text = String::from_utf8_lossy(wire.bytes()).into_owned();
        if number == 1 {
            key = text;
        } else {
            value = text;
        }
    }
    (key, value.into())
}

/// The fields on the wire; what prost wrote is well-formed, anything else ends the walk.
fn wires(mut bytes: &[u8]) -> impl Iterator<Item = (u32, Wire<'_>)> {
    std::iter::from_fn(move || {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => {
                let (word, rest) = bytes.split_first_chunk::<8>()?;
                bytes = rest;
                Wire::Number(u64::from_le_bytes(*word))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (head, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Wire::Bytes(head)
            }
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, value))
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut out = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        out |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ochre_cri_api as api;
    use serde_json::json;

    #[test]
    fn a_container_shows_defaults_strings_for_wide_integers_and_enum_names() {
        let container = api::Container {
            id: "c1".into(),
            metadata: Some(api::ContainerMetadata { name: "app".into(), attempt: 2 }),
            state: api::ContainerState::ContainerRunning as i32,
            created_at: -5,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        };
        let shown = to_json("Container", &container, Style::Proto);
        assert_eq!(shown["id"], "c1");
        assert_eq!(shown["metadata"], json!({"name": "app", "attempt": 2}));
        assert_eq!(shown["state"], "CONTAINER_RUNNING");
        assert_eq!(shown["createdAt"], "-5");
        assert_eq!(shown["labels"], json!({"a": "b"}));
        assert_eq!(shown["annotations"], json!({}));
        assert_eq!(shown.get("image"), None, "an unset message is left out");
        assert_eq!(to_json("Container", &api::Container::default(), Style::Plain), json!({}));
    }

    #[test]
    fn every_message_a_field_refers_to_is_in_the_table() {
        for field in table::MESSAGES.iter().flat_map(|message| message.fields) {
            match field.kind {
                Kind::Message(index) => assert!(referred(index).is_some(), "{}", field.name),
                Kind::Enum(index) => assert!(table::ENUMS.get(index).is_some(), "{}", field.name),
                _ => {}
            }
        }
    }
}
