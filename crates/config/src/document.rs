//! One TOML document laid over a configuration.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, Origin, Warning};
use crate::options::runtime::{RuntimeHandlerConfig, WorkloadConfig};
use crate::options::{Config, Table};
use crate::value::Given;

/// A document and where it came from.
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Document<'_> {
    /// Lays the document over `config`: values replace, handlers and workloads replace those of their name.
    pub(crate) fn apply(&self, config: &mut Config, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
        let document = self.parse()?;
        let mut own = Vec::new();
        for (key, value) in document.get_ref() {
            match value.get_ref().as_table().filter(|_| key.get_ref() == "crio") {
                Some(crio) => self.table("crio", crio, config, &mut own)?,
                None => own.push(self.unknown(key.span(), key.get_ref())),
            }
        }
        // The parser sorts by key; people read by line.
        own.sort_by_key(Warning::line);
        warnings.append(&mut own);
        Ok(())
    }

    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            origin: self.origin(error.span().unwrap_or(0..0)),
            message: error.message().to_owned(),
        })
    }

    pub(crate) fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_path_buf(), line }
    }

    fn table(
        &self,
        name: &str,
        values: &DeTable<'_>,
        config: &mut Config,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ConfigError> {
        for (key, value) in values {
            let path = format!("{name}.{}", key.get_ref());
            match (path.as_str(), value.get_ref()) {
                ("crio.runtime.runtimes", DeValue::Table(entries)) => {
                    let handlers = self.entries(&path, entries, warnings, Self::handler)?;
                    config.runtime.runtimes.extend(handlers);
                }
                ("crio.runtime.workloads", DeValue::Table(entries)) => {
                    let workloads = self.entries(&path, entries, warnings, Self::workload)?;
                    config.runtime.workloads.extend(workloads);
                }
                (path, DeValue::Table(inner)) if config.table_mut(path).is_some() => {
                    self.table(path, inner, config, warnings)?;
                }
                _ => match config.table_mut(name) {
                    Some(table) => self.option(table, name, key, value, warnings)?,
                    None => warnings.push(self.unknown(key.span(), &path)),
                },
            }
        }
        Ok(())
    }

    fn option(
        &self,
        table: &mut dyn Table,
        table_name: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ConfigError> {
        let given = Given::Toml(value.get_ref());
        match table.set(key.get_ref(), given) {
            Some(Ok(())) => Ok(()),
            Some(Err(right)) => Err(ConfigError::Invalid {
                origin: self.origin(value.span()),
                option: format!("{table_name}.{}", key.get_ref()),
                value: given.shown(),
                right,
            }),
            None => {
                warnings.push(self.unknown(key.span(), &format!("{table_name}.{}", key.get_ref())));
                Ok(())
            }
        }
    }

    fn entries<T>(
        &self,
        path: &str,
        entries: &DeTable<'_>,
        warnings: &mut Vec<Warning>,
        read: impl Fn(&Self, &str, &DeTable<'_>, &mut Vec<Warning>) -> Result<T, ConfigError>,
    ) -> Result<BTreeMap<String, T>, ConfigError> {
        let mut found = BTreeMap::new();
        for (key, value) in entries {
            let name = key.get_ref();
            let path = format!("{path}.{name}");
            let DeValue::Table(values) = value.get_ref() else {
                let given = Given::Toml(value.get_ref());
                return Err(ConfigError::Invalid {
                    origin: self.origin(value.span()),
                    option: path,
                    value: given.shown(),
                    right: format!("expected a table, found {}", given.type_name()),
                });
            };
            found.insert(name.to_string(), read(self, &path, values, warnings)?);
        }
        Ok(found)
    }

    fn handler(
        &self,
        path: &str,
        values: &DeTable<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<RuntimeHandlerConfig, ConfigError> {
        let mut handler = RuntimeHandlerConfig::default();
        for (key, value) in values {
            self.option(&mut handler, path, key, value, warnings)?;
        }
        Ok(handler)
    }

    fn workload(
        &self,
        path: &str,
        values: &DeTable<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<WorkloadConfig, ConfigError> {
        let mut workload = WorkloadConfig::default();
        for (key, value) in values {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("resources", DeValue::Table(resources)) => {
                    for (key, value) in resources {
                        let path = format!("{path}.resources");
                        self.option(&mut workload.resources, &path, key, value, warnings)?;
                    }
                }
                _ => self.option(&mut workload, path, key, value, warnings)?,
            }
        }
        Ok(workload)
    }

    fn unknown(&self, span: Range<usize>, key: &str) -> Warning {
        Warning::UnknownKey { origin: self.origin(span), key: key.chars().take(200).collect() }
    }
}
