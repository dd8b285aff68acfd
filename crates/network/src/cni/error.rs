//! Failures of CNI configurations and plugins.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ochre_types::ErrorKind;

use super::{VERSIONS, Verb};

/// Why a network configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// The file could not be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is not JSON.
    #[error("is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A key has the wrong type.
    #[error("key {key:?} must be {wanted}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The name is missing or has characters that a network's name cannot have.
    #[error(
        "network name {name:?} must start with a letter or digit and contain only letters, digits, `.`, `_`, `-`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A version this engine does not speak.
    #[error("cniVersion {version:?} is not one of {}", VERSIONS.join(", "))]
    Version {
        /// The version.
        version: String,
    },
    /// No plugin to run.
    #[error("names no plugin")]
    NoPlugins,
    /// A plugin's type could lead to a program outside the plugin directories (CVE-2021-20206).
    #[error("plugin type {plugin:?} must be the name of a program in a plugin directory")]
    PluginType {
        /// The type.
        plugin: String,
    },
}

/// Why a CNI operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// A configuration stored with an attachment cannot be used any more.
    #[error("the network configuration kept for the attachment is unusable")]
    StoredConfig(#[from] ConfigFault),
    /// No plugin directory has the program.
    #[error("CNI plugin {plugin:?} is in none of the plugin directories: {}", list(.dirs))]
    PluginMissing {
        /// The plugin's type.
        plugin: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// The program could not be started or watched.
    #[error("cannot run CNI plugin {}", .path.display())]
    PluginStart {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The plugin reported a failure as the specification says.
    #[error("CNI plugin {plugin:?} failed {verb}: {message}{} (code {code}){}", detail(.details), said(.stderr))]
    PluginFailed {
        /// The plugin's type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// The error code: below 100 the specification's, others the plugin's own.
        code: u64,
        /// The plugin's message.
        message: String,
        /// The plugin's details, may be empty.
        details: String,
        /// The end of what it wrote to its error output.
        stderr: String,
    },
    /// The plugin's output is not what the specification says.
    #[error("CNI plugin {plugin:?} answered {verb} ({status}) with something that is no {expected}: {output:?}{}", said(.stderr))]
    PluginRubbish {
        /// The plugin's type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// How it exited.
        status: String,
        /// What was expected: a result or an error.
        expected: &'static str,
        /// The beginning of its output.
        output: String,
        /// The end of its error output.
        stderr: String,
    },
    /// The plugin wrote more than a result can be.
    #[error("CNI plugin {plugin:?} answered {verb} with more than {limit} bytes")]
    PluginFlood {
        /// The plugin's type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// The limit in bytes.
        limit: usize,
    },
    /// The plugin was killed at its deadline.
    #[error("CNI plugin {plugin:?} did not finish {verb} within {after:?} and was killed{}", said(.stderr))]
    PluginTimeout {
        /// The plugin's type.
        plugin: String,
        /// What it was asked to do.
        verb: Verb,
        /// How long it was given.
        after: Duration,
        /// The end of its error output.
        stderr: String,
    },
    /// All plugins succeeded, but the pod has no address.
    #[error("the plugins gave the pod no IP address")]
    NoAddress,
    /// A value would change the meaning of `CNI_ARGS`.
    #[error("{key} {value:?} cannot be passed to CNI plugins: it is empty or contains `;` or `=`")]
    Argument {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A bandwidth annotation is no quantity between 1k and 1P bits per second.
    #[error("annotation {annotation} = {value:?} is not a quantity between 1k and 1P")]
    Bandwidth {
        /// The annotation's key.
        annotation: &'static str,
        /// Its value.
        value: String,
    },
    /// The configuration's version has no CHECK.
    #[error("cniVersion {version} of the network has no CHECK")]
    NoCheck {
        /// The version.
        version: &'static str,
    },
    /// The result cache could not be read or written.
    #[error("CNI result cache {}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn list(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn detail(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!("; {details}") }
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

impl CniError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PluginMissing { .. } => ErrorKind::FailedPrecondition,
            // "Try again later" of the specification.
            Self::PluginFailed { code: 11 | 50 | 51, .. } => ErrorKind::Unavailable,
            Self::PluginTimeout { .. } => ErrorKind::Timeout,
            Self::Argument { .. } | Self::Bandwidth { .. } => ErrorKind::InvalidArgument,
            Self::NoCheck { .. } => ErrorKind::FailedPrecondition,
            Self::StoredConfig(_)
            | Self::PluginStart { .. }
            | Self::PluginFailed { .. }
            | Self::PluginRubbish { .. }
            | Self::PluginFlood { .. }
            | Self::NoAddress
            | Self::Cache { .. } => ErrorKind::Internal,
        }
    }
}
