//! The types an option can have: how each is read from TOML and from text, and how it is written.

mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

pub use types::{
    CgroupManager, ImageVolumes, LogLevel, RuntimeType, ShortNameMode, StorageOptions, TlsVersion,
};

/// A value as it was given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    /// In a file.
    Toml(&'a DeValue<'a>),
    /// By flag or environment, once. A list is one text with commas.
    Text(&'a str),
    /// By a flag that was given several times.
    Texts(&'a [&'a str]),
}

impl Given<'_> {
    /// What it is, for "found …".
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Given::Text(_) | Given::Texts(_) => "text",
            Given::Toml(DeValue::String(_)) => "a string",
            Given::Toml(DeValue::Integer(_)) => "an integer",
            Given::Toml(DeValue::Float(_)) => "a float",
            Given::Toml(DeValue::Boolean(_)) => "a boolean",
            Given::Toml(DeValue::Datetime(_)) => "a date",
            Given::Toml(DeValue::Array(_)) => "an array",
            Given::Toml(DeValue::Table(_)) => "a table",
        }
    }

    /// The value as one line, for messages.
    pub(crate) fn shown(&self) -> String {
        let text = match self {
            Given::Text(text) => return quoted(&text.chars().take(100).collect::<String>()),
            Given::Texts(texts) => return quoted(&texts.join(",").chars().take(100).collect::<String>()),
            Given::Toml(DeValue::String(text)) => quoted(text),
            Given::Toml(DeValue::Integer(number)) => number.as_str().to_owned(),
            Given::Toml(DeValue::Boolean(on)) => on.to_string(),
            Given::Toml(DeValue::Float(number)) => number.as_str().to_owned(),
            Given::Toml(DeValue::Datetime(_)) => "<date>".to_owned(),
            Given::Toml(DeValue::Array(_)) => "[…]".to_owned(),
            Given::Toml(DeValue::Table(_)) => "{…}".to_owned(),
        };
        text.chars().take(120).collect()
    }
}

/// What would have been right. Empty text never occurs.
pub(crate) type Wrong = String;

/// A type that options have.
pub(crate) trait OptionType: Sized + PartialEq {
    /// What to write in TOML, such as `a string`.
    const EXPECTED: &'static str;
    /// Whether a flag of the type may be given several times.
    const IS_LIST: bool = false;

    fn read(given: Given<'_>) -> Result<Self, Wrong>;

    /// As TOML.
    fn write(&self) -> String;

    /// Takes a later value; most types are replaced by it.
    fn merge(&mut self, later: Self) {
        *self = later;
    }
}

pub(crate) fn wrong_type<T: OptionType>(given: Given<'_>) -> Wrong {
    match given {
        Given::Text(text) => format!("invalid value {} for flag: expected {}", quoted(text), T::EXPECTED),
        Given::Toml(_) | Given::Texts(_) => {
            format!("expected {}, found {}", T::EXPECTED, given.type_name())
        }
    }
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl OptionType for String {
    const EXPECTED: &'static str = "a string";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        match given {
            Given::Toml(DeValue::String(text)) => Ok(text.to_string()),
            Given::Text(text) => Ok(text.to_owned()),
            Given::Toml(_) | Given::Texts(_) => Err(wrong_type::<Self>(given)),
        }
    }

    fn write(&self) -> String {
        quoted(self)
    }
}

impl OptionType for PathBuf {
    const EXPECTED: &'static str = "a path as a string";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        match given {
            Given::Toml(DeValue::String(text)) => Ok(PathBuf::from(&**text)),
            Given::Text(text) => Ok(PathBuf::from(text)),
            Given::Toml(_) | Given::Texts(_) => Err(wrong_type::<Self>(given)),
        }
    }

    fn write(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl OptionType for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        match given {
            Given::Toml(DeValue::Boolean(on)) => Ok(*on),
            Given::Text("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Given::Text("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Given::Text(_) | Given::Toml(_) | Given::Texts(_) => Err(wrong_type::<Self>(given)),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

fn integer(given: Given<'_>, expected: &'static str) -> Result<i64, Wrong> {
    match given {
        Given::Toml(DeValue::Integer(number)) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_err(|_| "value out of range".to_owned())
        }
        Given::Text(text) => {
            text.trim().parse().map_err(|error: std::num::ParseIntError| match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    format!("invalid value {} for flag: value out of range", quoted(text))
                }
                _ => format!("invalid value {} for flag: expected {expected}", quoted(text)),
            })
        }
        Given::Toml(_) | Given::Texts(_) => Err(format!("expected {expected}, found {}", given.type_name())),
    }
}

impl OptionType for i64 {
    const EXPECTED: &'static str = "an integer";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        integer(given, Self::EXPECTED)
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl OptionType for u16 {
    const EXPECTED: &'static str = "an integer from 0 to 65535";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        let number = integer(given, Self::EXPECTED)?;
        Self::try_from(number).map_err(|_| format!("value out of range: expected {}", Self::EXPECTED))
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl OptionType for Vec<String> {
    const EXPECTED: &'static str = "an array of strings";
    const IS_LIST: bool = true;

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        match given {
            Given::Toml(DeValue::Array(items)) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    _ => Err(format!(
                        "expected {}, found {} in it",
                        Self::EXPECTED,
                        Given::Toml(item.get_ref()).type_name()
                    )),
                })
                .collect(),
            Given::Text(text) => {
                Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect())
            }
            // Commas are part of an item when the flag is repeated.
            Given::Texts(texts) => Ok(texts.iter().map(|text| (*text).to_owned()).collect()),
            Given::Toml(_) => Err(wrong_type::<Self>(given)),
        }
    }

    fn write(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

impl OptionType for Vec<PathBuf> {
    const EXPECTED: &'static str = "an array of paths";
    const IS_LIST: bool = true;

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        Ok(<Vec<String>>::read(given)?.into_iter().map(PathBuf::from).collect())
    }

    fn write(&self) -> String {
        let items: Vec<String> = self.iter().map(OptionType::write).collect();
        format!("[{}]", items.join(", "))
    }
}

impl OptionType for BTreeMap<String, String> {
    const EXPECTED: &'static str = "a table of strings";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        let Given::Toml(DeValue::Table(table)) = given else { return Err(wrong_type::<Self>(given)) };
        table
            .iter()
            .map(|(key, value)| match value.get_ref() {
                DeValue::String(text) => Ok((key.get_ref().to_string(), text.to_string())),
                _ => Err(wrong_type::<String>(Given::Toml(value.get_ref()))),
            })
            .collect()
    }

    fn write(&self) -> String {
        let items: Vec<String> =
            self.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
        if items.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", items.join(", ")) }
    }
}

impl OptionType for Duration {
    const EXPECTED: &'static str = "a duration such as \"90s\" or \"1h30m\"";

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        let text = String::read(given).map_err(|_| wrong_type::<Self>(given))?;
        types::duration(&text).ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }

    fn write(&self) -> String {
        quoted(&types::duration_text(*self))
    }
}

/// A list from literals, for defaults.
pub(crate) fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}
