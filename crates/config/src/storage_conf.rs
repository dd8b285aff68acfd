//! What storage.conf says, as far as it sets defaults of `[crio]` (containers-storage.conf(5)).

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use crate::document::Document;
use crate::error::ConfigError;
use crate::options::Table;
use crate::options::root::RootConfig;
use crate::value::Given;

/// `[storage]` keys and the options they are defaults of.
const KEYS: [(&str, &str); 4] = [
    ("graphroot", "root"),
    ("runroot", "runroot"),
    ("driver", "storage_driver"),
    ("imagestore", "imagestore"),
];

/// Keys of `[storage.options.overlay]`, and of `[storage.options]` in older files, that become driver options.
const DRIVER_KEYS: [&str; 7] =
    ["mountopt", "mount_program", "size", "inodes", "ignore_chown_errors", "skip_mount_home", "force_mask"];

/// Lays a storage.conf over the defaults. Returns the refusal of its driver where that is none of ours.
pub(crate) fn apply(
    document: &Document<'_>,
    root: &mut RootConfig,
) -> Result<Option<ConfigError>, ConfigError> {
    let mut refused_driver = None;
    let parsed = document.parse()?;
    let Some(DeValue::Table(storage)) = parsed.get_ref().get("storage").map(|value| value.get_ref()) else {
        return Ok(None);
    };
    for (key, option) in KEYS {
        let Some(value) = storage.get(key).filter(|value| value.get_ref().as_str() != Some("")) else {
            continue;
        };
        let given = Given::Toml(value.get_ref());
        let Some(Err(right)) = root.set(option, given) else { continue };
        let origin = document.origin(value.span());
        let refused =
            ConfigError::Invalid { origin, option: format!("storage.{key}"), value: given.shown(), right };
        match value.get_ref() {
            DeValue::String(driver) if key == "driver" => {
                root.storage_driver = driver.to_string();
                refused_driver = Some(refused);
            }
            _ => return Err(refused),
        }
    }
    root.storage_option.0 = driver_options(storage);
    Ok(refused_driver)
}

fn driver_options(storage: &DeTable<'_>) -> Vec<String> {
    let Some(DeValue::Table(options)) = storage.get("options").map(|value| value.get_ref()) else {
        return Vec::new();
    };
    let overlay = match options.get("overlay").map(|value| value.get_ref()) {
        Some(DeValue::Table(overlay)) => Some(overlay),
        _ => None,
    };
    let mut driver_options = Vec::new();
    if let Some(DeValue::Array(stores)) = options.get("additionalimagestores").map(|value| value.get_ref()) {
        let stores = stores.iter().filter_map(|store| store.get_ref().as_str()).map(PathBuf::from);
        driver_options.extend(stores.map(|store| format!("overlay.imagestore={}", store.display())));
    }
    for key in DRIVER_KEYS {
        let value = overlay.and_then(|overlay| overlay.get(key)).or_else(|| options.get(key));
        if let Some(text) = value.and_then(|value| value.get_ref().as_str()).filter(|text| !text.is_empty()) {
            driver_options.push(format!("overlay.{key}={text}"));
        }
    }
    driver_options
}
