//! Where a value came from and what is wrong with it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// Where an option was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// A command line flag.
    Flag {
        /// Its name without the dashes in front.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag { name } => write!(f, "flag --{name}"),
        }
    }
}

/// A configuration the engine does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for does not exist.
    #[error("configuration file {path} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file or directory could not be read.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any configuration.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A file is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser expected.
        message: String,
    },
    /// A value is of the wrong type or not among those allowed.
    #[error("{origin}: {option} = {value}: {right}")]
    Invalid {
        /// Where.
        origin: Origin,
        /// The option.
        option: String,
        /// The value as it was written.
        value: String,
        /// What would be right.
        right: String,
    },
    /// A flag of a name that is no option.
    #[error("flag --{name} is not the name of an option")]
    UnknownFlag {
        /// The name.
        name: String,
    },
}

impl ConfigError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Read { .. } => ErrorKind::Internal,
            Self::TooLarge { .. } | Self::Syntax { .. } | Self::Invalid { .. } | Self::UnknownFlag { .. } => {
                ErrorKind::InvalidArgument
            }
        }
    }
}

/// Something to tell the operator that keeps nobody from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A key that is no option.
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key with its table.
        key: String,
    },
    /// Options that differ from their defaults and have no effect yet, all in one.
    NoEffect {
        /// Their names with their tables.
        options: Vec<String>,
    },
    /// A value below a minimum was raised to it.
    Raised {
        /// The option.
        option: String,
        /// The minimum.
        minimum: i64,
    },
}

impl Warning {
    /// The line of the file it is about; 0 for those about none.
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::UnknownKey { origin: Origin::File { line, .. }, .. } => *line,
            Self::UnknownKey { .. } | Self::NoEffect { .. } | Self::Raised { .. } => 0,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { origin, key } => write!(f, "{origin}: unknown option {key} is ignored"),
            Self::NoEffect { options } => {
                write!(f, "these options are accepted but have no effect yet: {}", options.join(", "))
            }
            Self::Raised { option, minimum } => write!(f, "{option} is raised to its minimum of {minimum}"),
        }
    }
}
