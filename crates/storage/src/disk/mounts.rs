//! `mountpoints.json`: which layers are mounted, where and how often. Lies below the run root, so a reboot voids it.

use std::sync::Arc;

use ochre_sys::atomic::Durability;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::{Record, TableFile};

/// Its lock file.
pub(crate) const LOCK: &str = "mountpoints.lock";

/// Its one file.
pub(crate) const FILES: &[TableFile] =
    &[TableFile { name: "mountpoints.json", durability: Durability::Volatile }];

/// One mounted layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// The layer.
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) count: i64,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

impl Record for MountRecord {
    /// Readers have no use for it: only the kernel knows what is mounted.
    type Item = ();
    type View = ();

    fn key(&self) -> &str {
        &self.id
    }

    fn item(&self) -> Option<()> {
        None
    }

    fn view(_items: Vec<Arc<()>>) {}
}
