//! Images as the API shows them.

use ochre_cri_api as api;
use ochre_image::{FsUsage, ImageSummary};
use serde_json::json;

pub(crate) fn summary(image: &ImageSummary) -> api::Image {
    api::Image {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        // Clients take a size of 0 for a broken answer.
        size: image.size.max(1),
        uid: image.uid.map(|value| api::Int64Value { value }),
        username: image.username.clone(),
        spec: Some(api::ImageSpec { annotations: image.annotations().clone(), ..Default::default() }),
        pinned: image.pinned,
    }
}

/// `info` of a verbose status, in CRI-O's form.
pub(crate) fn verbose(image: &ImageSummary) -> String {
    let config: serde_json::Value = serde_json::from_slice(image.config_json()).unwrap_or_default();
    json!({ "labels": image.labels(), "imageSpec": config }).to_string()
}

/// The file system of images and containers.
pub(crate) fn filesystem(usage: &FsUsage) -> api::FilesystemUsage {
    api::FilesystemUsage {
        timestamp: usage.timestamp.nanos(),
        fs_id: Some(api::FilesystemIdentifier {
            mountpoint: usage.mountpoint.to_string_lossy().into_owned(),
        }),
        used_bytes: Some(api::UInt64Value { value: usage.bytes }),
        // The store's records do not count inodes; no number is better than a wrong one.
        inodes_used: Some(usage.inodes).filter(|inodes| *inodes > 0).map(|value| api::UInt64Value { value }),
    }
}
