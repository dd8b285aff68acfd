//! `registries.conf`: which hosts serve a reference, and what a short name means.
//!
//! The files are containers-registries.conf(5) version 2: one main file, then every `*.conf` of the drop-in directory in
//! the order of their names. A later `[[registry]]` replaces an earlier one of the same prefix as a whole.
//!
//! ```text
//! reference ── longest matching prefix ──► blocked? ──► mirrors in order ──► the registry itself
//! short name ── alias? ── else one candidate per unqualified-search registry
//! ```
//!
//! Files that do not exist are an empty configuration: every registry is then reached over verified https.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ochre_types::ErrorKind;

use crate::reference::{Reference, ReferenceError, ShortName};

/// Where the configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistriesPaths {
    /// The main file.
    pub file: PathBuf,
    /// The drop-in directory.
    pub directory: PathBuf,
}

impl Default for RegistriesPaths {
    fn default() -> Self {
        Self {
            file: "/etc/containers/registries.conf".into(),
            directory: "/etc/containers/registries.conf.d".into(),
        }
    }
}

/// Whether a short name may have several meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShortNameMode {
    /// More than one candidate is refused. (There is nobody to ask: `permissive` without a terminal is `Disabled`.)
    #[default]
    Enforcing,
    /// The candidates are tried in order.
    Disabled,
}

/// Why a configuration cannot be read or does not allow a pull.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A file exists but cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than a configuration can be.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not TOML, or a value of a wrong type.
    #[error("{} is not a registries.conf", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The format of before 2019.
    #[error(
        "{} uses version 1 of the registries.conf format ([registries.search], [registries.insecure], \
         [registries.block]); write [[registry]] tables and unqualified-search-registries instead",
        path.display()
    )]
    VersionOne {
        /// The file.
        path: PathBuf,
    },
    /// A value has the right type and makes no sense.
    #[error("{}: {value:?} is not a valid {key}: {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The refused value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// `blocked = true` for the reference's registry.
    #[error("registry {prefix} is blocked by the registries configuration, so {reference} cannot be pulled")]
    Blocked {
        /// The reference.
        reference: String,
        /// The prefix of the blocking table.
        prefix: String,
    },
    /// A mirror or location turns the reference into an invalid one.
    #[error("the location {location:?} configured for {reference} does not give a valid reference")]
    Rewrite {
        /// The reference.
        reference: String,
        /// The configured location.
        location: String,
        /// What is wrong with the result.
        #[source]
        source: ReferenceError,
    },
    /// A short name and no registry to look in.
    #[error(
        "{name:?} is a short name and no unqualified-search-registries are configured; write the registry's host"
    )]
    NoSearchRegistries {
        /// The name.
        name: String,
    },
    /// More than one candidate in enforcing mode.
    #[error("short name mode is enforcing and {name:?} could mean {candidates}; write the registry's host")]
    Ambiguous {
        /// The name.
        name: String,
        /// Comma-separated references.
        candidates: String,
    },
}

impl RegistriesError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Internal,
            Self::TooLarge { .. } | Self::Syntax { .. } | Self::VersionOne { .. } | Self::Value { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Rewrite { .. } | Self::NoSearchRegistries { .. } | Self::Ambiguous { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Blocked { .. } => ErrorKind::Denied,
        }
    }
}

/// One place a reference can be pulled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSource {
    /// What to ask for, at the source's own host and path.
    pub reference: Reference,
    /// Whether unverified https and plain http are allowed.
    pub insecure: bool,
    /// Whether this is a mirror and not the registry the user named.
    pub mirror: bool,
}

/// The merged configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    tables: Vec<Table>,
    search: Vec<String>,
    aliases: BTreeMap<String, Reference>,
    mode: ShortNameMode,
    credential_helpers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    prefix: String,
    location: String,
    access: Access,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Verified,
    Insecure,
    Blocked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    serves: Serves,
}

/// `pull-from-mirror`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    Digests,
    Tags,
}

impl Registries {
    /// Reads and merges the files. Blocking.
    ///
    /// # Errors
    /// A file that exists and cannot be read or understood.
    pub fn load(paths: &RegistriesPaths) -> Result<Self, RegistriesError> {
        let mut merged = Self::default();
        file::merge_if_present(&mut merged, &paths.file)?;
        for path in file::drop_ins(&paths.directory)? {
            file::merge_if_present(&mut merged, &path)?;
        }
        Ok(merged)
    }

    /// The mode that the files set.
    pub fn short_name_mode(&self) -> ShortNameMode {
        self.mode
    }

    /// Where credentials are looked up: programs by their suffix, `containers-auth.json` for the files. Empty is the
    /// files alone.
    pub fn credential_helpers(&self) -> &[String] {
        &self.credential_helpers
    }

    /// Where to pull `reference` from, in the order to try.
    ///
    /// # Errors
    /// A blocked registry, or a location that makes an invalid reference.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<PullSource>, RegistriesError> {
        let plain = |insecure| PullSource { reference: reference.clone(), insecure, mirror: false };
        let Some((table, matched)) = self.table_for(reference) else {
            return Ok(vec![plain(false)]);
        };
        if table.access == Access::Blocked {
            return Err(RegistriesError::Blocked {
                reference: reference.to_string(),
                prefix: table.prefix.clone(),
            });
        }
        let rest = &reference.repository()[matched..];
        let moved = |location: &str| {
            reference.moved_to(&format!("{location}{rest}")).map_err(|source| RegistriesError::Rewrite {
                reference: reference.to_string(),
                location: location.to_owned(),
                source,
            })
        };
        let mut sources = Vec::new();
        for mirror in table.mirrors.iter().filter(|mirror| mirror.serves(reference)) {
            let reference = moved(&mirror.location)?;
            sources.push(PullSource { reference, insecure: mirror.insecure, mirror: true });
        }
        let insecure = table.access == Access::Insecure;
        if table.location.is_empty() {
            sources.push(plain(insecure));
        } else {
            sources.push(PullSource { reference: moved(&table.location)?, insecure, mirror: false });
        }
        Ok(sources)
    }

    /// What `name` can mean when it is to be pulled, in the order to try. `mode` overrides the files' mode.
    ///
    /// # Errors
    /// No candidate at all, or several in enforcing mode.
    pub fn candidates(
        &self,
        name: &ShortName,
        mode: Option<ShortNameMode>,
    ) -> Result<Vec<Reference>, RegistriesError> {
        if let Some(target) = self.aliases.get(name.path()) {
            return Ok(vec![name.aliased(target)]);
        }
        let candidates: Vec<_> = self.search.iter().map(|domain| name.at(domain)).collect();
        match candidates.len() {
            0 => Err(RegistriesError::NoSearchRegistries { name: name.to_string() }),
            1 => Ok(candidates),
            _ if mode.unwrap_or(self.mode) == ShortNameMode::Enforcing => {
                let list: Vec<_> = candidates.iter().map(Reference::to_string).collect();
                Err(RegistriesError::Ambiguous { name: name.to_string(), candidates: list.join(", ") })
            }
            _ => Ok(candidates),
        }
    }

    /// What `name` can mean among the images that are here already: also what was built or imported (`localhost`), and
    /// Docker Hub whether or not it is searched.
    pub(crate) fn local_candidates(&self, name: &ShortName) -> Vec<Reference> {
        let alias = self.aliases.get(name.path()).map(|target| name.aliased(target));
        let searched = self.search.iter().map(|domain| name.at(domain));
        let always = ["localhost", crate::reference::DOCKER_HUB].into_iter().map(|domain| name.at(domain));
        alias.into_iter().chain(searched).chain(always).collect()
    }

    /// The table with the longest match, and how many bytes of `domain/path` its prefix covers.
    fn table_for(&self, reference: &Reference) -> Option<(&Table, usize)> {
        let full = reference.to_string();
        let repository = reference.repository().len();
        self.tables
            .iter()
            .filter_map(|table| Some((table, match_length(&table.prefix, &full)?)))
            // A prefix may end inside the tag; nothing is rewritten then beyond the repository.
            .filter(|(_, length)| *length <= repository)
            .max_by_key(|(table, length)| (*length, !table.prefix.starts_with("*.")))
    }
}

impl Mirror {
    fn serves(&self, reference: &Reference) -> bool {
        match self.serves {
            Serves::All => true,
            Serves::Digests => reference.digest().is_some(),
            Serves::Tags => reference.digest().is_none(),
        }
    }
}

/// How much of `reference` the prefix covers; prefixes end at a host, path, tag or digest boundary.
fn match_length(prefix: &str, reference: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let host = reference.split('/').next().unwrap_or_default();
            let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
            let (domain, path) = suffix.split_once('/').unwrap_or((suffix, ""));
            let end = [host, without_port]
                .into_iter()
                .find(|host| host.ends_with(domain) && host.len() > domain.len())?;
            if path.is_empty() {
                end.len()
            } else {
                reference[end.len()..].strip_prefix('/')?.strip_prefix(path)?;
                end.len() + 1 + path.len()
            }
        }
        None => reference.strip_prefix(prefix).map(|_| prefix.len())?,
    };
    matches!(reference.as_bytes().get(end), None | Some(b':' | b'/' | b'@')).then_some(end)
}

/// Whether `path` ends in `.conf`, the suffix of drop-ins.
fn is_drop_in(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "conf")
}

#[cfg(test)]
mod tests;
