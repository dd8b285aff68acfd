//! The signatures that admitted an image, kept with it, and the second look at them when a container is to run it.
//!
//! They are kept as containers/image keeps them, so that its tools find them: all of one manifest in a row, under
//! `signature-<hex of the manifest's digest>` (and `signatures`, those of the last pull), their lengths in the
//! image's metadata. The second look needs no registry. It trusts nothing but the policy of that moment: the manifest's
//! digest, that the manifest is of this very image, and the signatures are all verified again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ochre_storage::Store;
use ochre_types::{Digest, ImageId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::attachment::SIMPLE_SIGNING;
use super::{CERTIFICATE, CHAIN, Demand, SET, SIGNATURE, SignatureError, Untrusted};
use crate::manifest::{Descriptor, Document, OCI_MANIFEST};
use crate::policy::PolicyError;
use crate::pull::error::PullError;

/// In front of a sigstore signature, to tell it from one of GPG.
const FORMAT: &[u8] = b"\0sigstore-json\n";
/// Fields of the metadata: lengths of the signatures of the last pull, and by digest.
const LAST: &str = "signature-sizes";
const BY_DIGEST: &str = "signatures-sizes";
/// Most bytes of signatures that are read again.
const KEPT_MAX: usize = 16 << 20;

/// A signature that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    mime_type: String,
    payload: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What a record has of signatures.
pub(crate) struct Items {
    pub(crate) big_data: Vec<(String, Vec<u8>)>,
    pub(crate) metadata: String,
}

impl Kept {
    pub(super) fn new(payload: &[u8], layer: &Descriptor) -> Self {
        let known = [SIGNATURE, CERTIFICATE, CHAIN, SET];
        let annotations = known.into_iter().filter_map(|name| Some((name, layer.annotation(name)?)));
        Self {
            mime_type: SIMPLE_SIGNING.to_owned(),
            payload: STANDARD.encode(payload),
            annotations: annotations.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
        }
    }

    fn blob(&self) -> Vec<u8> {
        [FORMAT, json!(self).to_string().as_bytes()].concat()
    }
}

/// What to record of `kept`, signatures of the manifest `digest`, beside what `metadata` says so far.
pub(crate) fn items(kept: &[Kept], digest: &Digest, metadata: &str) -> Items {
    // Foreign metadata that is no object is of no use to anybody.
    let mut fields: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
    let mut big_data = Vec::new();
    if !kept.is_empty() {
        let blobs: Vec<_> = kept.iter().map(Kept::blob).collect();
        let sizes: Value = blobs.iter().map(Vec::len).collect();
        let all = blobs.concat();
        big_data.push(("signatures".to_owned(), all.clone()));
        big_data.push((key(digest), all));
        fields.insert(LAST.to_owned(), sizes.clone());
        let by_digest = fields.entry(BY_DIGEST).or_insert_with(|| json!({}));
        if !by_digest.is_object() {
            *by_digest = json!({});
        }
        by_digest[digest.to_string()] = sizes;
    }
    Items { big_data, metadata: Value::Object(fields).to_string() }
}

fn key(digest: &Digest) -> String {
    format!("signature-{}", digest.hex())
}

/// Whether the image `id` has signatures kept that meet `demands`. Blocking.
///
/// # Errors
/// It has not; errors of the store.
pub(crate) fn verify_stored(store: &Store, id: &ImageId, demands: &[Demand]) -> Result<(), PullError> {
    let Some(image) = store.image(id)? else {
        return Err(ochre_storage::Error::ImageNotFound { id: id.clone() }.into());
    };
    let mut open: Vec<(&Demand, Vec<SignatureError>)> =
        demands.iter().map(|demand| (demand, Vec::new())).collect();
    for digest in &image.digests {
        if open.is_empty() {
            return Ok(());
        }
        let Some(manifest) = manifest_of(store, id, digest) else { continue };
        for kept in read(store, id, &image.metadata, digest) {
            let Ok(payload) = STANDARD.decode(&kept.payload) else { continue };
            let annotation = |name: &str| kept.annotations.get(name).map(String::as_str);
            let signature = Untrusted { payload: &payload, annotation: &annotation };
            open.retain_mut(|(demand, rejections)| match demand.check(&signature, &manifest) {
                Ok(()) => false,
                Err(rejection) => {
                    rejections.push(rejection);
                    true
                }
            });
        }
    }
    let Some((demand, rejections)) = open.into_iter().next() else { return Ok(()) };
    let (name, scope) = (demand.image.to_string(), demand.scope.clone());
    let digest = image.digest.clone().unwrap_or_else(|| crate::images::sha256(&[]));
    Err(match rejections.is_empty() {
        true => PolicyError::Unsigned {
            image: name,
            digest,
            scope,
            reason: "no signature is kept with it here; pulling it again fetches one".to_owned(),
        },
        false => PolicyError::NotAccepted { image: name, digest, scope, rejections },
    }
    .into())
}

/// The manifest with that digest, if it is one of this very image: its configuration's digest is the image's id.
fn manifest_of(store: &Store, id: &ImageId, digest: &Digest) -> Option<Vec<u8>> {
    let bytes = store.big_data(id, &format!("manifest-{digest}")).ok()?;
    if crate::images::sha256(&bytes) != *digest {
        return None;
    }
    // OCI's form may leave its type out.
    let document = Document::parse(&bytes, None).or_else(|_| Document::parse(&bytes, Some(OCI_MANIFEST)));
    match document.ok()? {
        Document::Image(manifest) => (manifest.config.digest.hex() == id.as_str()).then_some(bytes),
        Document::Index(_) => None,
    }
}

/// The sigstore signatures kept for a manifest. The store is shared with other programs: what cannot be read is no
/// signature.
fn read(store: &Store, id: &ImageId, metadata: &str, digest: &Digest) -> Vec<Kept> {
    let fields: Value = serde_json::from_str(metadata).unwrap_or_default();
    let sizes = fields[BY_DIGEST][digest.to_string()].as_array().cloned().unwrap_or_default();
    let all = store.big_data(id, &key(digest)).unwrap_or_default();
    let mut rest = if all.len() <= KEPT_MAX { all.as_slice() } else { &[] };
    let mut found = Vec::new();
    for size in sizes {
        let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
        let Some((blob, after)) = size.and_then(|size| rest.split_at_checked(size)) else { break };
        rest = after;
        let kept = blob.strip_prefix(FORMAT).and_then(|json| serde_json::from_slice::<Kept>(json).ok());
        found.extend(kept.filter(|kept| kept.mime_type == SIMPLE_SIGNING));
    }
    found
}
