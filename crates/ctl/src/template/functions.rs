//! The functions of templates, and how values are shown.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use crate::json::{compact, go_number};

/// What may be called.
pub(super) const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "json", "le", "len", "lower", "lt", "ne", "not", "or", "print",
    "printf", "println", "title", "upper",
];

fn cannot(what: impl Into<String>) -> TemplateError {
    TemplateError::Evaluate { what: what.into() }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, TemplateError> {
    let two = |arguments: &[Value]| match arguments {
        [left, right] => compare(left, right).ok_or_else(|| cannot(format!("{name}: incompatible types"))),
        _ => Err(cannot(format!("{name}: two arguments are wanted"))),
    };
    Ok(match (name, arguments.as_slice()) {
        ("and" | "or", [.., last]) => last.clone(),
        ("not", [one]) => (!truth(one)).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            others.iter().any(|other| equal(first, other)).into()
        }
        ("ne", [left, right]) => (!equal(left, right)).into(),
        ("lt", some) => (two(some)? == Ordering::Less).into(),
        ("le", some) => (two(some)? != Ordering::Greater).into(),
        ("gt", some) => (two(some)? == Ordering::Greater).into(),
        ("ge", some) => (two(some)? != Ordering::Less).into(),
        ("len", [one]) => length(one)?,
        ("index", [first, keys @ ..]) => index(first, keys)?,
        ("json", [one]) => format!("{}\n", compact(one)).into(),
        ("lower", [Value::String(text)]) => text.to_lowercase().into(),
        ("upper", [Value::String(text)]) => text.to_uppercase().into(),
        ("title", [Value::String(text)]) => title(text).into(),
        ("html", some) => html(&print(some)).into(),
        ("print", some) => print(some).into(),
        ("println", some) => {
            let shown: Vec<String> = some.iter().map(|one| shown(one, false)).collect();
            format!("{}\n", shown.join(" ")).into()
        }
        ("printf", [Value::String(format), rest @ ..]) => printf(format, rest).into(),
        _ => return Err(cannot(format!("{name}: wrong number or kind of arguments"))),
    })
}

/// Empty, zero and nothing are false.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        // A number out of a document is text to Go, and text is true.
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

/// As Go's `%v`; nothing is `<no value>` on its own and `<nil>` inside of others.
pub(super) fn shown(value: &Value, top: bool) -> String {
    match value {
        Value::Null if top => "<no value>".to_owned(),
        Value::Null => "<nil>".to_owned(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => go_number(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| shown(item, false)).collect::<Vec<_>>().join(" "))
        }
        Value::Object(entries) => {
            let mut pairs: Vec<_> = entries.iter().collect();
            pairs.sort_by_key(|pair| pair.0);
            let pairs = pairs.into_iter().map(|(key, value)| format!("{key}:{}", shown(value, false)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Blanks only between two that are not text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut text_before = true;
    for value in values {
        let text = value.is_string();
        if !text && !text_before {
            out.push(' ');
        }
        out.push_str(&shown(value, false));
        text_before = text;
    }
    out
}

fn equal(left: &Value, right: &Value) -> bool {
    compare(left, right) == Some(Ordering::Equal) || left == right
}

/// Numbers of documents compare with numbers and with their text.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(number), Value::String(text)) => Some(go_number(number).as_str().cmp(text)),
        (Value::String(text), Value::Number(number)) => Some(text.as_str().cmp(&go_number(number))),
        (Value::Bool(left), Value::Bool(right)) if left == right => Some(Ordering::Equal),
        _ => None,
    }
}

fn length(value: &Value) -> Result<Value, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(entries) => Ok(entries.len().into()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Err(cannot("len: no length")),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
    let mut at = value;
    for key in keys {
        at = match (at, key) {
            (Value::Array(items), Value::Number(number)) => {
                let position = number.as_u64().and_then(|position| usize::try_from(position).ok());
                position
                    .and_then(|position| items.get(position))
                    .ok_or_else(|| cannot(format!("index out of range: {number}")))?
            }
            (Value::Object(entries), Value::String(key)) => entries.get(key).unwrap_or(&Value::Null),
            _ => return Err(cannot("index: cannot index this with that")),
        };
    }
    Ok(at.clone())
}

/// Every word's first letter in upper case, the rest as it is.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for one in text.chars() {
        if inside {
            out.push(one);
        } else {
            out.extend(one.to_uppercase());
        }
        inside = one.is_alphanumeric() || (inside && matches!(one, '\'' | '_' | '.'));
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for one in text.chars() {
        match one {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Widths are cut here.
const MAX_WIDTH: usize = 1000;

/// `%s`, `%v`, `%d`, `%q`, `%t` with width and `-`; `%%`.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut arguments = arguments.iter();
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(one) = chars.next() {
        if one != '%' {
            out.push(one);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = chars.next_if(|one| one.is_ascii_digit() || *one == '-') {
            width.push(digit);
        }
        let verb = chars.next().unwrap_or('%');
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = arguments.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = match verb {
            'q' => Value::from(shown(value, false)).to_string(),
            's' | 'v' | 'd' | 't' => shown(value, false),
            _ => format!("%!{verb}({})", shown(value, false)),
        };
        let columns = width.trim_start_matches(['-', '0']).parse().unwrap_or(0).min(MAX_WIDTH);
        out.push_str(&if width.starts_with('-') {
            format!("{text:columns$}")
        } else {
            format!("{text:>columns$}")
        });
    }
    out
}
