//! `/etc/crictl.yaml`: six keys. Reading refuses any other; writing keeps comments and the order of the lines.
//!
//! The file is one flat mapping, so it is handled line by line: a line is a key with a value, a comment, or empty.

use std::path::Path;

use serde_saphyr::options::DuplicateKeyPolicy;

use crate::error::Error;
use crate::parse::truth;

/// The largest file that is read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// The keys, in the order in which missing ones are written.
pub(crate) const KEYS: [&str; 6] =
    ["runtime-endpoint", "image-endpoint", "timeout", "debug", "pull-image-on-create", "disable-pull-on-run"];

/// The values, and the text they came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // The file's own switches.
pub(crate) struct Preferences {
    pub(crate) runtime_endpoint: String,
    pub(crate) image_endpoint: String,
    /// Seconds; 0 is the default.
    pub(crate) timeout: i64,
    pub(crate) debug: bool,
    pub(crate) pull_image_on_create: bool,
    pub(crate) disable_pull_on_run: bool,
    text: String,
}

impl Preferences {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or has an unknown key or a wrong value.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = crate::files::read(path, MAX_FILE)?;
        Self::parse(&text).map_err(|what| Error::Configuration { path: path.to_owned(), what })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut out = Self { text: text.to_owned(), ..Self::default() };
        // Of two equal keys the last one counts, as for crictl.
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
        let tree: serde_json::Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| error.to_string().replace('\n', " "))?;
        if !tree.is_object() && !tree.is_null() {
            return Err("a list of `key: value` lines is wanted".to_owned());
        }
        for (number, line) in text.lines().enumerate() {
            let Some((key, value)) = entry(line) else { continue };
            out.set(key, &value).map_err(|what| format!("line {}: {what}", number + 1))?;
        }
        Ok(out)
    }

    /// The value of a key as text.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        Some(match key {
            "runtime-endpoint" => self.runtime_endpoint.clone(),
            "image-endpoint" => self.image_endpoint.clone(),
            "timeout" => self.timeout.to_string(),
            "debug" => self.debug.to_string(),
            "pull-image-on-create" => self.pull_image_on_create.to_string(),
            "disable-pull-on-run" => self.disable_pull_on_run.to_string(),
            _ => return None,
        })
    }

    /// Changes a key.
    ///
    /// # Errors
    /// What is wrong with key or value.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let switch = || truth(value).ok_or_else(|| format!("{key}: {value:?} is neither true nor false"));
        match key {
            "runtime-endpoint" => value.clone_into(&mut self.runtime_endpoint),
            "image-endpoint" => value.clone_into(&mut self.image_endpoint),
            "timeout" => {
                self.timeout =
                    value.parse().map_err(|_| format!("{key}: {value:?} is not a number of seconds"))?;
            }
            "debug" => self.debug = switch()?,
            "pull-image-on-create" => self.pull_image_on_create = switch()?,
            "disable-pull-on-run" => self.disable_pull_on_run = switch()?,
            _ => return Err(format!("no configuration option named {key}; there are: {}", KEYS.join(", "))),
        }
        Ok(())
    }

    /// Writes the file with all keys; lines that were there keep their place and their comments.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        crate::files::write(path, &self.document())
    }

    fn document(&self) -> String {
        let mut out = String::new();
        let mut written = Vec::new();
        for line in self.text.lines() {
            match entry(line) {
                Some((key, old)) if self.get(key).is_some_and(|new| new != old) => {
                    let comment = line.find(" #").map_or("", |at| &line[at..]);
                    out.push_str(&format!("{}{comment}\n", self.line(key)));
                    written.push(key);
                }
                Some((key, _)) => {
                    out.push_str(&format!("{line}\n"));
                    written.push(key);
                }
                None if matches!(line.trim(), "{}" | "---") => {}
                None => out.push_str(&format!("{line}\n")),
            }
        }
        for key in KEYS.into_iter().filter(|key| !written.contains(key)) {
            out.push_str(&format!("{}\n", self.line(key)));
        }
        out
    }

    fn line(&self, key: &str) -> String {
        let value = self.get(key).unwrap_or_default();
        crate::yaml::document(&serde_json::json!({ key: typed(key, value) })).trim_end().to_owned()
    }
}

/// Numbers and switches are not quoted, text that looks like one is.
fn typed(key: &str, value: String) -> serde_json::Value {
    match key {
        "runtime-endpoint" | "image-endpoint" => value.into(),
        _ => serde_json::from_str(&value).unwrap_or(serde_json::Value::String(value)),
    }
}

/// Key and value of a line, quotes and comment taken off.
fn entry(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    let (key, rest) = line.split_once(':').filter(|_| !line.starts_with('#'))?;
    let rest = rest.trim();
    let value = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next().unwrap_or_default(),
        Some('#') | None => "",
        Some(_) => rest.split(" #").next().unwrap_or_default().trim_end(),
    };
    Some((key.trim().trim_matches(['"', '\'']), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_keeps_comments_and_adds_what_is_missing() {
        let text = "# mine\nruntime-endpoint: \"unix:///a\" # here\n\ntimeout: 5\n";
        let mut file = Preferences::parse(text).unwrap();
        assert_eq!((file.runtime_endpoint.as_str(), file.timeout), ("unix:///a", 5));
        file.set("timeout", "9").unwrap();
        file.set("debug", "T").unwrap();
        assert_eq!(
            file.document(),
            "# mine\nruntime-endpoint: \"unix:///a\" # here\n\ntimeout: 9\nimage-endpoint: \"\"\ndebug: true\n\
             pull-image-on-create: false\ndisable-pull-on-run: false\n"
        );
        assert!(file.set("debug", "maybe").is_err() && file.set("x", "y").is_err());
    }

    #[test]
    fn the_last_of_two_counts_and_anything_unknown_is_named_with_its_line() {
        assert_eq!(Preferences::parse("timeout: 1\ntimeout: 2\n").unwrap().timeout, 2);
        assert!(Preferences::parse("debug: true\nbogus: 1\n").unwrap_err().starts_with("line 2: "));
        assert!(Preferences::parse("[1]").is_err() && Preferences::parse("a: [").is_err());
        assert_eq!(Preferences::parse("").unwrap(), Preferences::default());
    }
}
