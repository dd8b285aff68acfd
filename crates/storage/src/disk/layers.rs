//! `layers.json` and `volatile-layers.json`.

use std::collections::HashMap;
use std::sync::Arc;

use ochre_sys::atomic::Durability;
use ochre_types::LayerId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::{Record, TableFile};
use super::text::{is_zero, null_is_empty};
use crate::Layer;
use crate::id_map::IdMapRecord;

/// The lock file.
pub(crate) const LOCK: &str = "layers.lock";

/// Layers of images.
pub(crate) const STABLE: usize = 0;
/// Layers of volatile containers.
pub(crate) const VOLATILE: usize = 1;

/// The record files, in the order of [`STABLE`] and [`VOLATILE`].
pub(crate) const FILES: &[TableFile] = &[
    TableFile { name: "layers.json", durability: Durability::Synced },
    TableFile { name: "volatile-layers.json", durability: Durability::Volatile },
];

/// The flag of a layer that is being made or removed. Whoever holds the lock and sees it may remove the layer.
const INCOMPLETE: &str = "incomplete";

/// A layer as written. Field names and omissions are those of the Go library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) parent: String,
    #[serde(default, rename = "mountlabel", skip_serializing_if = "String::is_empty")]
    pub(crate) mount_label: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) created: String,
    #[serde(default, rename = "compressed-diff-digest", skip_serializing_if = "String::is_empty")]
    pub(crate) compressed_digest: String,
    #[serde(default, rename = "compressed-size", skip_serializing_if = "is_zero")]
    pub(crate) compressed_size: i64,
    #[serde(default, rename = "diff-digest", skip_serializing_if = "String::is_empty")]
    pub(crate) diff_digest: String,
    #[serde(default, rename = "diff-size", skip_serializing_if = "is_zero")]
    pub(crate) diff_size: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) compression: i64,
    #[serde(
        default,
        rename = "uidset",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) uids: Vec<u32>,
    #[serde(
        default,
        rename = "gidset",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) gids: Vec<u32>,
    /// Of a container with a user namespace: its files have the ids of the host.
    #[serde(
        default,
        rename = "uidmap",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) uid_map: Vec<IdMapRecord>,
    #[serde(
        default,
        rename = "gidmap",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) gid_map: Vec<IdMapRecord>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Map::is_empty")]
    pub(crate) flags: Map<String, Value>,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// Complete layers by id.
pub(crate) type LayerIndex = HashMap<LayerId, Arc<Layer>>;

impl LayerRecord {
    /// Whether the layer is being made or removed.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.flags.get(INCOMPLETE) == Some(&Value::Bool(true))
    }

    /// Marks the layer as being made or removed, or as complete.
    pub(crate) fn set_incomplete(&mut self, incomplete: bool) {
        if incomplete {
            self.flags.insert(INCOMPLETE.to_owned(), Value::Bool(true));
        } else {
            self.flags.shift_remove(INCOMPLETE);
        }
    }
}

impl Record for LayerRecord {
    type Item = Layer;
    type View = LayerIndex;

    fn key(&self) -> &str {
        &self.id
    }

    fn item(&self) -> Option<Layer> {
        if self.is_incomplete() { None } else { Layer::from_record(self) }
    }

    fn view(items: Vec<Arc<Layer>>) -> LayerIndex {
        items.into_iter().map(|layer| (layer.id.clone(), layer)).collect()
    }
}
