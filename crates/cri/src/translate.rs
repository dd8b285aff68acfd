//! Between protobuf and the engine's words.
//!
//! Requests are taken apart without `..`: when the API grows a field, the build stops here and somebody decides.

pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod signal;
pub(crate) mod stats;
pub(crate) mod status;

use std::collections::BTreeMap;

use crate::failure::Failure;

/// Labels and annotations come back byte for byte, so only their size can be wrong.
pub(crate) fn check_map(field: &'static str, map: &BTreeMap<String, String>) -> Result<(), Failure> {
    // Kubernetes allows 256 KiB of annotations for an object; an engine of its size keeps a few times that.
    const LIMIT: usize = 1 << 20;
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > LIMIT {
        return Err(Failure::invalid(field, format!("of {size} bytes"), "at most 1 MiB in all"));
    }
    Ok(())
}
