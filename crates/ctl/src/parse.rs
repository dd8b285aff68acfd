//! The command line, by the rules crictl's users know: Go's flags. One dash or two, `-t 5` or `-t=5` but not `-t5`, flags
//! before arguments, `--` ends them; where a command allows it `-aq` is `-a -q`.

use std::collections::BTreeMap;

use crate::spec::{Flag, Takes};
use crate::units;

/// Why a command line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such flag.
    #[error("flag provided but not defined: -{flag}")]
    Unknown {
        /// Its name.
        flag: String,
    },
    /// A flag at the end that wants a value.
    #[error("flag needs an argument: -{flag}")]
    NoValue {
        /// Its name.
        flag: String,
    },
    /// A value of the wrong kind.
    #[error("invalid value {value:?} for flag -{flag}: parse error")]
    Value {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
    },
    /// Dashes or `=` without a name.
    #[error("bad flag syntax: {word}")]
    Syntax {
        /// The word.
        word: String,
    },
    /// A value of the wrong kind in the environment.
    #[error("could not parse {value:?} of the environment variable {variable} for flag {flag}")]
    Variable {
        /// The flag.
        flag: &'static str,
        /// The variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
}

/// Flags and arguments of one command.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, Vec<String>>,
    /// Flags with their defaults.
    flags: &'static [Flag],
    /// What follows the flags.
    pub(crate) arguments: Vec<String>,
    /// `--help`.
    pub(crate) help: bool,
    /// `--version`.
    pub(crate) version: bool,
}

impl Parsed {
    /// Whether the flag was given, or its environment variable.
    pub(crate) fn is_set(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    /// Whether any flag was given.
    pub(crate) fn any_set(&self) -> bool {
        !self.values.is_empty()
    }

    /// A flag without a value.
    pub(crate) fn on(&self, flag: &str) -> bool {
        self.text(flag) == "true"
    }

    /// The value of a flag, or its default.
    pub(crate) fn text(&self, flag: &str) -> &str {
        let given = self.values.get(flag).and_then(|values| values.last());
        let default = || self.flags.iter().find(|one| one.name == flag).map_or("", |one| one.default);
        given.map_or_else(default, String::as_str)
    }

    /// All values of a flag.
    pub(crate) fn list(&self, flag: &str) -> &[String] {
        self.values.get(flag).map_or(&[], Vec::as_slice)
    }

    /// The number of a flag; it was checked when it was read.
    pub(crate) fn number(&self, flag: &str) -> i64 {
        whole_number(self.text(flag)).unwrap_or(0)
    }

    /// The duration of a flag; it was checked when it was read.
    pub(crate) fn duration(&self, flag: &str) -> std::time::Duration {
        units::duration(self.text(flag)).unwrap_or_default()
    }

    /// The first argument, or nothing.
    pub(crate) fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }
}

/// Reads the words of one command up to its first argument.
///
/// # Errors
/// The first word that is not understood.
pub(crate) fn parse(flags: &'static [Flag], combines: bool, words: &[String]) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed { flags, ..Parsed::default() };
    let mut rest: Vec<String> = words.to_vec();
    rest.reverse();
    while let Some(word) = rest.pop() {
        if word == "--" {
            break;
        }
        if word.len() < 2 || !word.starts_with('-') {
            rest.push(word);
            break;
        }
        if let Some(letters) = split(flags, combines, &word) {
            rest.extend(letters.into_iter().rev());
            continue;
        }
        read(&mut parsed, &word, &mut rest)?;
    }
    rest.reverse();
    parsed.arguments = rest;
    from_environment(&mut parsed, |name| std::env::var(name).ok())?;
    Ok(parsed)
}

/// `-aq` as its letters, when that is what it is.
fn split(flags: &[Flag], combines: bool, word: &str) -> Option<Vec<String>> {
    let letters = word.strip_prefix('-').filter(|letters| combines && !letters.starts_with('-'))?;
    let known = |name: &str| matches!(name, "h" | "help") || flags.iter().any(|flag| flag.is(name));
    let name = letters.split('=').next().unwrap_or_default();
    if letters.len() < 2 || known(name) || !letters.chars().all(|one| known(one.encode_utf8(&mut [0; 4]))) {
        return None;
    }
    Some(letters.chars().map(|one| format!("-{one}")).collect())
}

/// One flag; its value may be the next of the words that are left (the next one last).
fn read(parsed: &mut Parsed, word: &str, rest: &mut Vec<String>) -> Result<(), UsageError> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
    if body.is_empty() || body.starts_with(['-', '=']) {
        return Err(UsageError::Syntax { word: word.to_owned() });
    }
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (body, None),
    };
    let Some(flag) = parsed.flags.iter().find(|flag| flag.is(name)) else {
        match name {
            "help" | "h" => parsed.help = true,
            "version" | "v" if std::ptr::eq(parsed.flags, crate::spec::GLOBAL) => parsed.version = true,
            _ => return Err(UsageError::Unknown { flag: name.to_owned() }),
        }
        return Ok(());
    };
    let value = match (value, flag.takes) {
        (Some(value), _) => value,
        (None, Takes::Nothing) => "true".to_owned(),
        (None, _) => rest.pop().ok_or_else(|| UsageError::NoValue { flag: name.to_owned() })?,
    };
    let Some(value) = checked(flag.takes, &value) else {
        return Err(UsageError::Value { flag: name.to_owned(), value });
    };
    let values = parsed.values.entry(flag.name).or_default();
    if flag.takes == Takes::List {
        // One flag may carry several values.
        values.extend(value.split(',').map(|one| one.trim().to_owned()));
    } else {
        values.push(value);
    }
    Ok(())
}

/// The value when it is of the right kind, truth values in one spelling.
fn checked(takes: Takes, value: &str) -> Option<String> {
    match takes {
        Takes::Text | Takes::List => {}
        Takes::Nothing => return truth(value).map(|on| on.to_string()),
        Takes::Number => drop(whole_number(value)?),
        Takes::Duration => drop(units::duration(value)?),
    }
    Some(value.to_owned())
}

/// Go's spellings of true and false.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number in Go's notation: decimal, or with a prefix for its base.
fn whole_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

/// What was not given may be in the environment; an empty variable is none.
fn from_environment(
    parsed: &mut Parsed,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), UsageError> {
    for flag in parsed.flags.iter().filter(|flag| flag.variable.is_some()) {
        let Some(name) = flag.variable.filter(|_| !parsed.is_set(flag.name)) else { continue };
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let Some(value) = checked(flag.takes, &value) else {
            return Err(UsageError::Variable { flag: flag.name, variable: name, value });
        };
        parsed.values.insert(flag.name, vec![value]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, line: &str) -> Result<Parsed, UsageError> {
        let command = crate::spec::COMMANDS.iter().find(|command| command.is(name)).unwrap();
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(command.flags, command.combines, &words)
    }

    #[test]
    fn flags_come_first_with_one_dash_or_two() {
        let ps = command("ps", "-aq --name=x -o json -n=3 --label a=b,c=d --label e=f rest -q").unwrap();
        assert!(ps.on("all") && ps.on("quiet") && !ps.on("verbose"));
        assert_eq!((ps.text("name"), ps.text("output"), ps.number("last")), ("x", "json", 3));
        assert_eq!(ps.list("label"), ["a=b", "c=d", "e=f"]);
        assert_eq!(ps.arguments, ["rest", "-q"]);
        assert_eq!(command("ps", "-name x -all=false").unwrap().text("name"), "x");
        assert_eq!(command("ps", "-aqo json").unwrap().text("output"), "json");
        assert_eq!(command("ps", "-a -- -q").unwrap().arguments, ["-q"]);
        assert_eq!(command("rm", "- x").unwrap().arguments, ["-", "x"]);
        assert!(command("ps", "-h").unwrap().help);
        assert_eq!(command("stop", "-t -5 x").unwrap().number("timeout"), -5);
        assert_eq!(command("ps", "").unwrap().text("output"), "table");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (name, line, said) in [
            ("ps", "--bogus", "flag provided but not defined: -bogus"),
            ("ps", "-zq", "flag provided but not defined: -zq"),
            ("inspect", "-aq", "flag provided but not defined: -aq"),
            ("stop", "-t5", "flag provided but not defined: -t5"),
            ("ps", "-o", "flag needs an argument: -o"),
            ("ps", "--last x", "invalid value \"x\" for flag -last: parse error"),
            ("pull", "--pull-timeout 10", "invalid value \"10\" for flag -pull-timeout: parse error"),
            ("ps", "---x", "bad flag syntax: ---x"),
            ("ps", "-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(command(name, line).unwrap_err().to_string(), said, "{name} {line}");
        }
    }

    #[test]
    fn the_environment_counts_as_given_but_yields_to_the_flag() {
        let pull = crate::spec::COMMANDS.iter().find(|command| command.is("pull")).unwrap();
        let mut parsed = Parsed { flags: pull.flags, ..Parsed::default() };
        parsed.values.insert("creds", vec!["mine".into()]);
        from_environment(&mut parsed, |name| (name != "CRICTL_AUTH").then(|| "5s".to_owned())).unwrap();
        assert_eq!((parsed.text("creds"), parsed.text("pull-timeout")), ("mine", "5s"));
        assert!(!parsed.is_set("auth"));
        assert!(
            from_environment(&mut Parsed { flags: pull.flags, ..Parsed::default() }, |_| Some("5".into()))
                .is_err()
        );
    }
}
