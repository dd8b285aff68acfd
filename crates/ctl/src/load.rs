//! The configuration files of `create`, `run` and `runp`: YAML or JSON.

use std::path::Path;

use ochre_cri_api as api;
use serde_json::Value;

use crate::error::Error;
use crate::{files, say, schema};

/// The largest file that is read, bytes.
const MAX_FILE: u64 = 4 << 20;

/// A pod's configuration. One without a uid gets a random one.
///
/// # Errors
/// A file that is not there, does not parse, does not fit or has no name.
pub(crate) fn pod(path: &str) -> Result<api::PodSandboxConfig, Error> {
    let path = Path::new(path);
    let mut config: api::PodSandboxConfig = read(path, "PodSandboxConfig")?;
    let lacks = |what| Error::Incomplete { path: path.to_owned(), what };
    let metadata = config.metadata.as_mut().ok_or_else(|| lacks("metadata is not set"))?;
    if metadata.name.is_empty() || metadata.namespace.is_empty() {
        return Err(lacks("name or namespace is not in metadata"));
    }
    if metadata.uid.is_empty() {
        metadata.uid = random_uuid()?;
    }
    if config.linux.as_ref().is_some_and(|linux| linux.cgroup_parent.is_empty()) {
        say::warning("cgroup_parent is not set. Use `runtime-config` to get the runtime cgroup driver");
    }
    Ok(config)
}

/// A container's configuration.
///
/// # Errors
/// A file that is not there, does not parse, does not fit or has no name or image.
pub(crate) fn container(path: &str) -> Result<api::ContainerConfig, Error> {
    let path = Path::new(path);
    let mut config: api::ContainerConfig = read(path, "ContainerConfig")?;
    let lacks = |what| Error::Incomplete { path: path.to_owned(), what };
    let metadata = config.metadata.as_ref().ok_or_else(|| lacks("metadata is not set"))?;
    if metadata.name.is_empty() {
        return Err(lacks("name is not in metadata"));
    }
    let image = config.image.as_mut().ok_or_else(|| lacks("image is not set"))?;
    if image.image.is_empty() {
        return Err(lacks("image field is not set in image"));
    }
    if image.user_specified_image.is_empty() {
        image.user_specified_image.clone_from(&image.image);
    }
    Ok(config)
}

fn read<T: prost::Message + Default>(path: &Path, name: &str) -> Result<T, Error> {
    let text = files::read(path, MAX_FILE)?;
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|error| Error::Syntax { path: path.to_owned(), why: error.to_string() })?;
    let bytes = match schema::message(name) {
        Some(shape) => schema::from_json(shape, &value)
            .map_err(|source| Error::Load { path: path.to_owned(), source })?,
        None => Vec::new(),
    };
    T::decode(bytes.as_slice())
        .map_err(|error| Error::Syntax { path: path.to_owned(), why: error.to_string() })
}

/// A version 4 UUID.
fn random_uuid() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::Answer { what: format!("no randomness: {error}") })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn yaml_and_json_are_read_alike_and_a_uid_is_made_up() {
        for text in [
            "metadata: {name: p, namespace: n}\nlog_directory: /l\n",
            r#"{"metadata":{"name":"p","namespace":"n"},"log_directory":"/l"}"#,
        ] {
            let file = file(text);
            let config = pod(&file.path().display().to_string()).unwrap();
            assert_eq!((config.log_directory.as_str(), config.metadata.unwrap().uid.len()), ("/l", 36));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let said = |text: &str| container(&file(text).path().display().to_string()).unwrap_err();
        assert!(matches!(said("a: [1\n"), Error::Syntax { why, .. } if why.contains("line")));
        assert!(matches!(said("metadata: {name: x}"), Error::Incomplete { what: "image is not set", .. }));
        assert!(matches!(said("metadata: {name: x, attempt: y}"), Error::Load { .. }));
        assert!(matches!(container("/nonexistent/x").unwrap_err(), Error::NoFile { .. }));
    }
}
