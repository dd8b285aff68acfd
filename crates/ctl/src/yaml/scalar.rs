//! One text in YAML: plain, `'single'`, `"double"` or a literal block.

/// Where the text goes.
pub(super) struct Spot {
    /// The column of continuation lines.
    pub(super) indent: usize,
    /// A key: on one line whatever it costs.
    pub(super) key: bool,
}

/// Lines are folded after this column.
const WIDTH: usize = 80;

/// Writes the text in the plainest style that reads back as the same text.
pub(super) fn write(text: &str, spot: &Spot, out: &mut String) {
    let shape = Shape::of(text);
    let literal = text.contains('\n');
    if literal && !spot.key && shape.block {
        block(text, spot.indent, out);
    } else if literal || !reads_as_text(text) {
        double(text, spot, out);
    } else if shape.plain && !(text.is_empty() && spot.key) {
        folded(text, spot, out);
    } else if shape.single {
        out.push('\'');
        folded(&text.replace('\'', "''"), spot, out);
        out.push('\'');
    } else {
        double(text, spot, out);
    }
}

/// Which styles the characters allow.
#[allow(clippy::struct_excessive_bools)] // Three independent answers.
struct Shape {
    plain: bool,
    single: bool,
    block: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let space = |at: usize| chars.get(at) == Some(&' ');
        let blank = |at: usize| chars.get(at).is_none_or(|one| matches!(one, ' ' | '\t' | '\n' | '\r'));
        let line = |one: &char| matches!(one, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        for (at, one) in chars.iter().enumerate() {
            indicator |= match one {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | '-' if at == 0 => blank(at + 1),
                ':' => blank(at + 1),
                '#' => blank(at.wrapping_sub(1)) && at > 0,
                _ => false,
            };
        }
        let special = chars.iter().any(|one| !line(one) && !printable(*one));
        let breaks = chars.iter().any(line);
        let pairs = || chars.windows(2);
        let space_break = pairs().any(|pair| pair[0] == ' ' && line(&pair[1]));
        let break_space = pairs().any(|pair| line(&pair[0]) && pair[1] == ' ');
        let edge = space(0) || chars.first().is_some_and(line);
        let last = chars.len().wrapping_sub(1);
        let trailing = space(last) || chars.last().is_some_and(line);
        let rough = special || space_break;
        Self {
            plain: !(indicator || rough || breaks || edge || trailing),
            single: !(rough || break_space),
            block: !(rough || space(last)),
        }
    }
}

fn printable(one: char) -> bool {
    matches!(one, '\t' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        || one > '\u{ffff}'
}

/// Whether YAML 1.1 takes the plain text for text, and not for a number, a truth value, a time or nothing.
fn reads_as_text(text: &str) -> bool {
    const WORDS: [&str; 15] = [
        "y", "yes", "true", "on", "n", "no", "false", "off", "", "~", "null", ".nan", ".inf", "+.inf",
        "-.inf",
    ];
    let lower = text.to_lowercase();
    let capitalised = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    let spelt = text == lower || text == lower.to_uppercase() || text == capitalised(&lower);
    if (WORDS.contains(&lower.as_str()) && (spelt || lower.contains('.'))) || text == "<<" {
        return false;
    }
    let Some(first) = text.chars().next() else { return false };
    if !(first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return true;
    }
    !(is_integer(text) || is_float(&text.replace('_', "")) || is_time(text) || is_base_60(text))
}

fn is_integer(text: &str) -> bool {
    let text = text.replace('_', "");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text).to_ascii_lowercase();
    let all = |digits: &str, radix: u32| {
        !digits.is_empty()
            && digits.chars().all(|one| one.is_digit(radix))
            && u64::from_str_radix(digits, radix).is_ok()
    };
    match digits.as_bytes() {
        [b'0', b'x', ..] => all(&digits[2..], 16),
        [b'0', b'b', ..] => all(&digits[2..], 2),
        [b'0', b'o', ..] => all(&digits[2..], 8),
        [b'0', _, ..] => all(&digits[1..], 8),
        _ => all(&digits, 10),
    }
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|one| one.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    exponent && digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty())
}

/// `2001-12-14`, or with a time after `T`, `t` or a blank.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let date = bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && text[5..].chars().take_while(|one| one.is_ascii_digit() || *one == '-').count() >= 3;
    if !date {
        return false;
    }
    let mut parts = text.splitn(2, ['T', 't', ' ']);
    let day: Vec<&str> = parts.next().unwrap_or_default().split('-').collect();
    let fits = |part: &str, most: u32| part.parse().is_ok_and(|number: u32| (1..=most).contains(&number));
    let valid =
        day.len() == 3 && fits(day[1], 12) && fits(day[2], 31) && day[1].len() <= 2 && day[2].len() <= 2;
    valid
        && parts.next().is_none_or(|time| {
            let clock: Vec<&str> = time.splitn(3, ':').collect();
            clock.len() == 3 && clock.iter().all(|part| part.starts_with(|one: char| one.is_ascii_digit()))
        })
}

/// `1:30`: a number to some parsers, so it is quoted although ours takes it as text.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|one: char| one.is_ascii_digit())
        && first.bytes().all(|one| one.is_ascii_digit() || one == b'_')
        && !rest.is_empty()
        && rest.iter().all(|part| matches!(part.as_bytes(), [b'0'..=b'5', b'0'..=b'9'] | [b'0'..=b'9']))
        && fraction.bytes().all(|one| one.is_ascii_digit() || one == b'_')
}

fn column(out: &str) -> usize {
    out.rsplit('\n').next().map_or(0, |line| line.chars().count())
}

fn break_line(indent: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

/// The text with single blanks past the width turned into line breaks.
fn folded(text: &str, spot: &Spot, out: &mut String) {
    let mut at = column(out);
    let mut chars = text.chars().peekable();
    let mut after_space = false;
    while let Some(one) = chars.next() {
        let lone = one == ' ' && !after_space && chars.peek() != Some(&' ');
        if lone && !spot.key && at > WIDTH && chars.peek().is_some() {
            break_line(spot.indent, out);
            at = spot.indent;
        } else {
            out.push(one);
            at += 1;
        }
        after_space = one == ' ';
    }
}

fn double(text: &str, spot: &Spot, out: &mut String) {
    out.push('"');
    let mut at = column(out);
    let mut chars = text.chars().peekable();
    let mut first = true;
    let mut after_space = false;
    while let Some(one) = chars.next() {
        let before = out.len();
        if one == ' ' && !spot.key && !after_space && at > WIDTH && !first && chars.peek().is_some() {
            break_line(spot.indent, out);
            at = spot.indent;
            if chars.peek() == Some(&' ') {
                out.push('\\');
                at += 1;
            }
            after_space = true;
            continue;
        }
        escaped(one, out);
        at += out[before..].chars().count();
        after_space = one == ' ';
        first = false;
    }
    out.push('"');
}

fn escaped(one: char, out: &mut String) {
    let code = u32::from(one);
    let short = match one {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '\0' => Some("\\0"),
        '\u{7}' => Some("\\a"),
        '\u{8}' => Some("\\b"),
        '\t' => Some("\\t"),
        '\n' => Some("\\n"),
        '\u{b}' => Some("\\v"),
        '\u{c}' => Some("\\f"),
        '\r' => Some("\\r"),
        '\u{1b}' => Some("\\e"),
        '\u{85}' => Some("\\N"),
        '\u{a0}' if !printable(one) => Some("\\_"),
        '\u{2028}' => Some("\\L"),
        '\u{2029}' => Some("\\P"),
        _ => None,
    };
    match short {
        Some(text) => out.push_str(text),
        None if printable(one) => out.push(one),
        None if code <= 0xff => out.push_str(&format!("\\x{code:02X}")),
        None if code <= 0xffff => out.push_str(&format!("\\u{code:04X}")),
        None => out.push_str(&format!("\\U{code:08X}")),
    }
}

/// `|`, with what its first and last lines need to be said.
fn block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text == "\n" || text.ends_with("\n\n") {
        out.push('+');
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plainest_style_that_reads_back_is_taken() {
        let shown = |text: &str| {
            let mut out = String::new();
            write(text, &Spot { indent: 2, key: false }, &mut out);
            out
        };
        for plain in [
            "a",
            "a:b",
            "a#b",
            "sha256:ab",
            "/x y",
            "-x",
            "1.2.3",
            "0x",
            "runc 1",
            "größe",
            "a: b".trim_end_matches(" b"),
        ] {
            if plain != "a:" {
                assert_eq!(shown(plain), plain);
            }
        }
        for quoted in [
            "",
            "true",
            "Yes",
            "y",
            "12",
            "0x1f",
            "1e3",
            "-1.5",
            "~",
            "null",
            "2026-01-02",
            "1:30",
            "077",
            "1_000",
        ] {
            assert_eq!(shown(quoted), format!("\"{quoted}\""));
        }
        for single in ["a: b", "# x", "a #b", "[a]", "- a", "{", "*x", " a", "a ", "a:", "@x"] {
            assert_eq!(shown(single), format!("'{single}'"));
        }
        assert_eq!(shown("'x"), "'''x'");
        assert_eq!(shown("a\u{1}b"), "\"a\\x01b\"");
        assert_eq!(shown("a\nb"), "|-\n  a\n  b");
        assert_eq!(shown("a\n\n"), "|+\n  a\n");
        assert_eq!(shown("a \nb"), "\"a \\nb\"");
        assert_eq!(shown(&format!("{} b c", "a".repeat(81))), format!("{}\n  b c", "a".repeat(81)));
    }
}
