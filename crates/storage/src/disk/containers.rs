//! `containers.json` and `volatile-containers.json`.

use std::collections::HashMap;
use std::sync::Arc;

use ochre_sys::atomic::Durability;
use ochre_types::ContainerId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::{Record, TableFile};
use super::text::null_is_empty;
use crate::Container;
use crate::id_map::IdMapRecord;

/// The lock file.
pub(crate) const LOCK: &str = "containers.lock";

/// Containers of CRI-O, and ours.
pub(crate) const VOLATILE: usize = 1;

/// The record files; podman's containers lie in the first.
pub(crate) const FILES: &[TableFile] = &[
    TableFile { name: "containers.json", durability: Durability::Synced },
    TableFile { name: "volatile-containers.json", durability: Durability::Volatile },
];

/// A container as written. Field names and omissions are those of the Go library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    #[serde(default)]
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) layer: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) metadata: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) created: String,
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

/// Containers in the order of the files, and by id.
#[derive(Debug, Default)]
pub(crate) struct ContainerIndex {
    pub(crate) all: Arc<Vec<Arc<Container>>>,
    pub(crate) by_id: HashMap<ContainerId, Arc<Container>>,
}

impl Record for ContainerRecord {
    type Item = Container;
    type View = ContainerIndex;

    fn key(&self) -> &str {
        &self.id
    }

    fn item(&self) -> Option<Container> {
        Container::from_record(self)
    }

    fn view(all: Vec<Arc<Container>>) -> ContainerIndex {
        let by_id = all.iter().map(|container| (container.id.clone(), Arc::clone(container))).collect();
        ContainerIndex { all: Arc::new(all), by_id }
    }
}
