//! The moment an image becomes visible: layers from the bottom, then the record.
//!
//! The record is written as containers/image writes it, so that podman finds what it needs: the manifest under
//! `manifest` and under `manifest-<digest>`, the index it came from under `manifest-<digest>`, the configuration under
//! its digest, and the signatures that admitted it as [`crate::trust`] says; `{}` as metadata when there are none.
//!
//! A crash between two layers leaves layers without an image, which the next pull of the image uses.

use ochre_storage::{NewImage, Store};
use ochre_types::{ImageId, Timestamp};

use super::error::PullError;
use super::layer::{Staged, Wanted};
use super::resolve::{Found, Resolved};

/// Commits `staged` (lowest first) and records the image under `names`. Blocking.
pub(crate) fn commit(
    store: &Store,
    resolved: Resolved,
    staged: &[(Wanted, Staged)],
    names: Vec<String>,
) -> Result<ImageId, PullError> {
    for (wanted, staged) in staged {
        staged.commit(store, wanted)?;
    }
    let id = resolved.id.clone();
    let Found { manifest, chosen, index, signatures } = resolved.found;
    let before = store.image(&id)?.map(|image| image.metadata.clone()).unwrap_or_default();
    let signatures = crate::trust::items(&signatures, &chosen.0, &before);
    let mut big_data = vec![(manifest.config.digest.to_string(), resolved.config_bytes)];
    big_data.extend(index.map(|(digest, bytes)| (format!("manifest-{digest}"), bytes)));
    big_data.extend(signatures.big_data);
    big_data.push((format!("manifest-{}", chosen.0), chosen.1.clone()));
    big_data.push(("manifest".to_owned(), chosen.1));
    store.create_image(NewImage {
        id: id.clone(),
        names,
        top_layer: resolved.layers.last().map(|layer| layer.id.clone()),
        digest: Some(chosen.0),
        big_data,
        created: resolved.config.created.unwrap_or(Timestamp::ZERO),
        metadata: signatures.metadata,
    })?;
    Ok(id)
}
