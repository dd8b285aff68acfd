//! `images.json`.

use std::collections::HashMap;
use std::sync::Arc;

use ochre_sys::atomic::Durability;
use ochre_types::ImageId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::{Record, TableFile};
use super::text::null_is_empty;
use crate::Image;

/// The lock file.
pub(crate) const LOCK: &str = "images.lock";

/// The one record file.
pub(crate) const FILES: &[TableFile] = &[TableFile { name: "images.json", durability: Durability::Synced }];

/// An image as written. Field names and omissions are those of the Go library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) digest: String,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    /// Newest first.
    #[serde(
        default,
        rename = "names-history",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) names_history: Vec<String>,
    #[serde(default, rename = "layer", skip_serializing_if = "String::is_empty")]
    pub(crate) top_layer: String,
    /// Copies of the top layer for other id mappings.
    #[serde(
        default,
        rename = "mapped-layers",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) mapped_layers: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) metadata: String,
    #[serde(
        default,
        rename = "big-data-names",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) big_data_names: Vec<String>,
    #[serde(
        default,
        rename = "big-data-sizes",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "HashMap::is_empty"
    )]
    pub(crate) big_data_sizes: HashMap<String, i64>,
    #[serde(
        default,
        rename = "big-data-digests",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "HashMap::is_empty"
    )]
    pub(crate) big_data_digests: HashMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) created: String,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// Images in the order of the file, and by id and name.
#[derive(Debug, Default)]
pub(crate) struct ImageIndex {
    pub(crate) all: Arc<Vec<Arc<Image>>>,
    pub(crate) by_id: HashMap<ImageId, Arc<Image>>,
    pub(crate) by_name: HashMap<String, Arc<Image>>,
}

impl Record for ImageRecord {
    type Item = Image;
    type View = ImageIndex;

    fn key(&self) -> &str {
        &self.id
    }

    fn item(&self) -> Option<Image> {
        Image::from_record(self)
    }

    fn view(all: Vec<Arc<Image>>) -> ImageIndex {
        let by_id = all.iter().map(|image| (image.id.clone(), Arc::clone(image))).collect();
        let by_name =
            all.iter().flat_map(|i| i.names.iter().map(|name| (name.clone(), Arc::clone(i)))).collect();
        ImageIndex { all: Arc::new(all), by_id, by_name }
    }
}
