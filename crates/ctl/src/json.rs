//! JSON as Go programs print it: two blanks of indentation, and for `encoding/json` sorted keys, `<`, `>` and `&`
//! escaped, and numbers that went through a double.

use serde_json::{Number, Value};

/// Which of Go's two printers is imitated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printer {
    /// protojson: the order of the fields stays.
    Proto,
    /// `encoding/json` over maps.
    Std,
}

/// Indented by two blanks, without a newline at the end.
pub(crate) fn indented(value: &Value, printer: Printer) -> String {
    let mut out = String::new();
    write(value, printer, Some(0), &mut out);
    out
}

/// On one line.
pub(crate) fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, Printer::Std, None, &mut out);
    out
}

fn write(value: &Value, printer: Printer, depth: Option<usize>, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(set) => out.push_str(if *set { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&go_number(number)),
        Value::String(text) => quote(text, printer, out),
        Value::Array(items) => list(items.iter().map(|item| (None, item)), ('[', ']'), printer, depth, out),
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
            if printer == Printer::Std {
                entries.sort_by_key(|(key, _)| *key);
            }
            list(entries.into_iter(), ('{', '}'), printer, depth, out);
        }
    }
}

fn list<'a>(
    entries: impl ExactSizeIterator<Item = (Option<&'a str>, &'a Value)>,
    brackets: (char, char),
    printer: Printer,
    depth: Option<usize>,
    out: &mut String,
) {
    out.push(brackets.0);
    let empty = entries.len() == 0;
    let deeper = depth.map(|depth| depth + 1);
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(',');
        }
        break_line(deeper, out);
        if let Some(key) = key {
            quote(key, printer, out);
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        write(value, printer, deeper, out);
    }
    if !empty {
        break_line(depth, out);
    }
    out.push(brackets.1);
}

fn break_line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn quote(text: &str, printer: Printer, out: &mut String) {
    out.push('"');
    for one in text.chars() {
        match one {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if printer == Printer::Std => escape(one, out),
            control if control < ' ' => escape(control, out),
            plain => out.push(plain),
        }
    }
    out.push('"');
}

fn escape(one: char, out: &mut String) {
    out.push_str(&format!("\\u{:04x}", u32::from(one)));
}

/// A number as Go prints it after a detour through a double.
pub(crate) fn go_number(number: &Number) -> String {
    const EXACT: i64 = 1 << 53;
    if let Some(small) = number.as_i64().filter(|value| (-EXACT..=EXACT).contains(value)) {
        return small.to_string();
    }
    let float = number.as_f64().unwrap_or_default();
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        // Go writes the sign of the exponent: 1e+21.
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        };
    }
    float.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_printers_indent_alike_and_differ_in_order_and_escapes() {
        let value = json!({"b": [], "a": {"x": "<&>\u{1}\n"}, "c": [1, {}]});
        assert_eq!(
            indented(&value, Printer::Proto),
            "{\n  \"b\": [],\n  \"a\": {\n    \"x\": \"<&>\\u0001\\n\"\n  },\n  \"c\": [\n    1,\n    {}\n  ]\n}"
        );
        assert_eq!(compact(&value), r#"{"a":{"x":"\u003c\u0026\u003e\u0001\n"},"b":[],"c":[1,{}]}"#);
    }

    #[test]
    fn numbers_are_doubles() {
        let shown = |text: &str| go_number(&serde_json::from_str(text).unwrap());
        assert_eq!(shown("18446744073709551615"), "18446744073709552000");
        assert_eq!(shown("9007199254740993"), "9007199254740992");
        assert_eq!(shown("-12"), "-12");
        assert_eq!(shown("0.5"), "0.5");
        assert_eq!(shown("1e21"), "1e+21");
        assert_eq!(shown("1e-7"), "1e-7");
        assert_eq!(shown("2.0"), "2");
    }
}
