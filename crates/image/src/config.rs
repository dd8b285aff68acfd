//! The image configuration: what a container gets from its image (OCI image specification, config.md).
//!
//! Everything in it was written by whoever built the image. It is data: nothing here decides about the engine.

use std::collections::BTreeMap;

use ochre_types::{Digest, ErrorKind, Timestamp};
use serde::Deserialize;

use crate::manifest::LAYERS_MAX;

/// The defaults that a container takes from its image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program when there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`; entries without `=` are dropped: they would mean "take it from the engine" to some runtimes
    /// (CVE-2026-57231).
    pub env: Vec<String>,
    /// Directory to start in; empty for `/`.
    pub working_dir: String,
    /// `user[:group]`, numbers or names; empty for root.
    pub user: String,
    /// Paths that want a volume, as written by the image.
    pub volumes: Vec<String>,
    /// Name or number of the signal that ends the program; empty for SIGTERM.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When the image was built; `None` when it does not say.
    pub created: Option<Timestamp>,
    /// Architecture, Go's name.
    pub architecture: String,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or fields of a wrong type.
    #[error("the image configuration is malformed")]
    Syntax {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// `rootfs.type` is not `layers`.
    #[error("the image's root file system is of type {found:?}, not \"layers\"")]
    RootType {
        /// What was found.
        found: String,
    },
    /// For another operating system.
    #[error("the image is for the operating system {os:?}")]
    OperatingSystem {
        /// What was found.
        os: String,
    },
    /// More layers than an image may have.
    #[error("the image configuration lists {count} layers; at most {LAYERS_MAX} are allowed")]
    TooManyLayers {
        /// How many.
        count: usize,
    },
}

impl ConfigError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } | Self::RootType { .. } => ErrorKind::Internal,
            Self::OperatingSystem { .. } => ErrorKind::InvalidArgument,
            Self::TooManyLayers { .. } => ErrorKind::Exhausted,
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<WireDefaults>,
    rootfs: WireRoot,
}

/// Go writes `null` for empty lists and maps.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireDefaults {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct WireRoot {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<Digest>>,
}

impl ImageConfig {
    /// Parses the JSON of a configuration.
    ///
    /// # Errors
    /// Malformed JSON, an unknown root type, another operating system, too many layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|source| ConfigError::Syntax { source })?;
        if wire.rootfs.kind != "layers" {
            return Err(ConfigError::RootType { found: wire.rootfs.kind.chars().take(40).collect() });
        }
        if !matches!(wire.os.as_str(), "" | "linux") {
            return Err(ConfigError::OperatingSystem { os: wire.os.chars().take(40).collect() });
        }
        let diff_ids = wire.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > LAYERS_MAX {
            return Err(ConfigError::TooManyLayers { count: diff_ids.len() });
        }
        let defaults = wire.config.unwrap_or_default();
        let env = defaults.env.unwrap_or_default().into_iter().filter(|entry| entry.contains('='));
        Ok(Self {
            entrypoint: defaults.entrypoint.unwrap_or_default(),
            cmd: defaults.cmd.unwrap_or_default(),
            env: env.collect(),
            working_dir: defaults.working_dir.unwrap_or_default(),
            user: defaults.user.unwrap_or_default(),
            volumes: defaults.volumes.unwrap_or_default().into_keys().collect(),
            stop_signal: defaults.stop_signal.unwrap_or_default(),
            labels: defaults.labels.unwrap_or_default(),
            created: wire.created.as_deref().and_then(parse_time),
            architecture: wire.architecture,
            diff_ids,
        })
    }

    /// What CRI reports of the user: a number or a name, never both; neither when the image does not say.
    pub fn user_for_status(&self) -> (Option<i64>, String) {
        let user = self.user.split(':').next().unwrap_or_default();
        match user.parse::<i64>() {
            Ok(uid) if uid >= 0 => (Some(uid), String::new()),
            _ => (None, user.to_owned()),
        }
    }
}

/// An unreadable build time says nothing about the image; it is dropped.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_read() {
        let hex = "a".repeat(64);
        let text = format!(
            r#"{{ "created": "1970-01-01T00:00:02.5Z", "architecture": "amd64", "os": "linux",
              "config": {{ "User": "1000:users", "Env": ["A=1", "B", "=x"], "Entrypoint": ["/e"], "Cmd": ["c"],
                "Volumes": {{ "/v": {{}} }}, "WorkingDir": "/w", "Labels": {{ "l": "m" }}, "StopSignal": "SIGINT" }},
              "rootfs": {{ "type": "layers", "diff_ids": ["sha256:{hex}"] }} }}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.created.unwrap().nanos(), 2_500_000_000);
        assert_eq!(config.env, ["A=1", "=x"]);
        assert_eq!((config.entrypoint, config.cmd), (vec!["/e".to_owned()], vec!["c".to_owned()]));
        assert_eq!((config.working_dir.as_str(), config.stop_signal.as_str()), ("/w", "SIGINT"));
        assert_eq!((config.volumes.as_slice(), config.labels["l"].as_str()), (&["/v".to_owned()][..], "m"));
        assert_eq!(config.diff_ids.len(), 1);
    }

    #[test]
    fn gos_nulls_and_missing_parts_are_empty() {
        let text = r#"{"config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null,"Entrypoint":null,"User":null},
                       "created":"yesterday","rootfs":{"type":"layers","diff_ids":null}}"#;
        assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap(), ImageConfig::default());
    }

    #[test]
    fn what_is_no_image_configuration_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"rootfs":{"type":"zip","diff_ids":[]}}"#,
            r#"{"os":"windows","rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#,
            r#"{"rootfs":{"type":"layers"},"config":{"Cmd":"sh"}}"#,
        ] {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_user_is_a_number_or_a_name() {
        for (user, expected) in [
            ("", (None, "")),
            ("0", (Some(0), "")),
            ("1000:1000", (Some(1000), "")),
            ("www:data", (None, "www")),
            ("-1", (None, "-1")),
        ] {
            let config = ImageConfig { user: user.into(), ..ImageConfig::default() };
            let (uid, name) = config.user_for_status();
            assert_eq!((uid, name.as_str()), expected, "{user}");
        }
    }
}
