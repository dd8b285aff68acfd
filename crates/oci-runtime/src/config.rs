//! Reading `config.json`, process files and resource documents, within a size limit.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ochre_types::ErrorKind;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::spec::{self, MAX_CONFIG_SIZE, NamespaceKind, Process, Resources, Spec};

/// Why a configuration is not used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than the runtime reads.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is not the JSON it should be.
    #[error("{path} is not valid")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A version of the specification that is not understood.
    #[error("ociVersion {version:?} is not a version 1 of the runtime specification")]
    Version {
        /// The version given.
        version: String,
    },
    /// A field that must be there.
    #[error("{field} is missing")]
    Missing {
        /// Its path in the document.
        field: &'static str,
    },
    /// A field that this runtime cannot honour.
    #[error("{field} is not supported")]
    Unsupported {
        /// Its path in the document.
        field: &'static str,
    },
    /// A list that is too long.
    #[error("{field} has {length} entries, the limit is {limit}")]
    TooMany {
        /// Its path in the document.
        field: &'static str,
        /// Entries given.
        length: usize,
        /// Entries allowed.
        limit: usize,
    },
    /// A path that must be absolute.
    #[error("{field} {path} is not absolute")]
    RelativePath {
        /// Its path in the document.
        field: &'static str,
        /// The value.
        path: PathBuf,
    },
    /// A path that is empty or climbs with `..`.
    #[error("{field} {path:?} is empty or contains `..`")]
    UnsafePath {
        /// Its path in the document.
        field: &'static str,
        /// The value.
        path: PathBuf,
    },
    /// A string with a zero byte.
    #[error("{field} contains a NUL byte")]
    NulByte {
        /// Its path in the document.
        field: &'static str,
    },
    /// A namespace named twice.
    #[error("the {kind:?} namespace is given twice")]
    DuplicateNamespace {
        /// Which.
        kind: NamespaceKind,
    },
    /// A setting that would change the host, because its namespace is the host's.
    #[error("{field} needs a namespace of its own ({})", .kind.name())]
    NeedsNamespace {
        /// Its path in the document.
        field: &'static str,
        /// Which namespace.
        kind: NamespaceKind,
    },
}

impl ConfigError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { .. } => ErrorKind::Internal,
            Self::TooLarge { .. } | Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::Parse { .. }
            | Self::Version { .. }
            | Self::Missing { .. }
            | Self::Unsupported { .. }
            | Self::RelativePath { .. }
            | Self::UnsafePath { .. }
            | Self::NulByte { .. }
            | Self::DuplicateNamespace { .. }
            | Self::NeedsNamespace { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// A checked configuration and the bytes it came from, which are kept with the container's state.
#[derive(Debug)]
pub struct LoadedSpec {
    /// The document.
    pub spec: Spec,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads and checks a container configuration.
///
/// # Errors
/// When it cannot be read, is too large, is no valid document, or asks for what cannot be given.
pub fn load_spec(path: &Path) -> Result<LoadedSpec, ConfigError> {
    let bytes = read_file(path)?;
    let spec: Spec = parse(path, &bytes)?;
    spec::check(&spec)?;
    Ok(LoadedSpec { spec, bytes })
}

/// Reads and checks the process of an exec.
///
/// # Errors
/// As for [`load_spec`].
pub fn load_process(path: &Path) -> Result<Process, ConfigError> {
    let process = parse(path, &read_file(path)?)?;
    spec::check_process(&process)?;
    Ok(process)
}

/// Reads resources from a file, or from standard input for `-`.
///
/// # Errors
/// As for [`load_spec`].
pub fn load_resources(path: &Path) -> Result<Resources, ConfigError> {
    let bytes =
        if path.as_os_str() == "-" { read_limited(path, io::stdin().lock())? } else { read_file(path)? };
    parse(path, &bytes)
}

fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let file =
        std::fs::File::open(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    read_limited(path, file)
}

fn read_limited(path: &Path, reader: impl Read) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::with_capacity(16 << 10);
    let read = reader.take(MAX_CONFIG_SIZE + 1).read_to_end(&mut bytes);
    read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_CONFIG_SIZE {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_CONFIG_SIZE });
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ConfigError> {
    serde_json::from_slice(bytes).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_over_the_limit_is_not_read_to_its_end() {
        let endless = io::repeat(b' ');
        let error = read_limited(Path::new("endless"), endless).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { limit: MAX_CONFIG_SIZE, .. }));
    }

    #[test]
    fn unknown_fields_are_ignored_and_deep_nesting_is_an_error() {
        let spec: Spec =
            parse(Path::new("x"), br#"{"ociVersion":"1.0.2","vm":{"a":[1]},"linux":{"later":1}}"#).unwrap();
        assert_eq!(spec.oci_version, "1.0.2");
        let deep = format!("{{\"vm\":{}", "[".repeat(100_000));
        assert!(parse::<Spec>(Path::new("x"), deep.as_bytes()).is_err());
    }
}
