//! YAML as crictl prints it: block style, keys in natural order, lists not indented below their key, text plain when it
//! reads back as text, long lines folded at 80 columns (YAML 1.1: `yes` and `0o7` look-alikes are quoted).

mod scalar;

use std::cmp::Ordering;

use serde_json::Value;

use crate::json::go_number;

/// The document, with the newline at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(entries) if !entries.is_empty() => mapping(entries, 0, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut out),
        other => leaf(other, 0, &mut out),
    }
    out
}

/// `depth`: the column of the keys. The cursor stands where the first key goes.
fn mapping(entries: &serde_json::Map<String, Value>, depth: usize, out: &mut String) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by(|left, right| natural(left.0, right.0));
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            blanks(depth, out);
        }
        scalar::write(key, &scalar::Spot { indent: depth + 2, key: true }, out);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                blanks(depth + 2, out);
                mapping(inner, depth + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                blanks(depth, out);
                sequence(items, depth, out);
            }
            other => {
                out.push(' ');
                leaf(other, depth + 2, out);
            }
        }
    }
}

fn sequence(items: &[Value], depth: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            blanks(depth, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(inner, depth + 2, out),
            Value::Array(items) if !items.is_empty() => sequence(items, depth + 2, out),
            other => leaf(other, depth + 2, out),
        }
    }
}

/// A value on the current line, and the end of the line.
fn leaf(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(set) => out.push_str(if *set { "true" } else { "false" }),
        Value::Number(number) if number.is_f64() => out.push_str(&go_number(number)),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => scalar::write(text, &scalar::Spot { indent, key: false }, out),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Numbers inside keys are compared as numbers, letters come after everything else.
fn natural(left: &str, right: &str) -> Ordering {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let Some(at) = left.iter().zip(&right).position(|(left, right)| left != right) else {
        return left.len().cmp(&right.len());
    };
    let (a, b) = (left[at], right[at]);
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a.cmp(&b),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // After a number that has begun, a zero counts as a digit of it.
    let begun = (a == '0' || b == '0')
        && left[..at].iter().rev().take_while(|one| one.is_numeric()).any(|one| *one != '0');
    let number = |text: &[char]| {
        let digits = text[at..].iter().take_while(|one| one.is_ascii_digit());
        let length = digits.clone().count();
        let value = digits.fold(u64::from(begun), |value, one| {
            value.wrapping_mul(10).wrapping_add(u64::from(one.to_digit(10).unwrap_or(0)))
        });
        (value, length)
    };
    number(&left).cmp(&number(&right)).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_nest_as_crictl_writes_them() {
        let value =
            json!({"b": [{"x": 1, "a": [[1, 2], []]}, "t"], "a": {}, "c10": null, "c9": true, "_": "x\ny\n"});
        assert_eq!(
            document(&value),
            "_: |\n  x\n  y\na: {}\nb:\n- a:\n  - - 1\n    - 2\n  - []\n  x: 1\n- t\nc9: true\nc10: null\n"
        );
        assert_eq!(document(&json!({})), "{}\n");
    }
}
