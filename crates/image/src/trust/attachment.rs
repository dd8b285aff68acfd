//! Signatures that a registry keeps beside an image: the layers of a manifest with the tag `sha256-<hex>.sig`.
//!
//! All of it is hostile until verified, so there are limits: so many signatures, so many bytes each and together. They
//! are fetched one at a time, held against what is still demanded, and dropped.

use ochre_types::{Digest, ErrorKind};

use super::places::Looked;
use super::{Demand, Kept, SignatureError, Untrusted};
use crate::manifest::{Descriptor, Document, Manifest, ManifestError};
use crate::policy::PolicyError;
use crate::registry::RegistryError;
use crate::registry::client::RegistryClient;

/// The type of cosign's payloads; other attachments (attestations, bundles) are none of ours.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Most signatures of one image that are looked at.
const SIGNATURES_MAX: usize = 64;
/// Largest payload in bytes. Usual ones have some hundreds.
const PAYLOAD_MAX: u64 = 1 << 20;
/// Most bytes of payloads together.
const PAYLOADS_MAX: u64 = 8 << 20;

/// Holds the signatures that `source` has of `manifest` against `demands`, all of which must be met. Returns those that
/// met one.
///
/// # Errors
/// They are not, or the registry did not say.
pub(crate) async fn verify(
    demands: &[Demand],
    (source, looked): (&RegistryClient, Looked),
    manifest: &[u8],
) -> Result<Vec<Kept>, PolicyError> {
    let Some(first) = demands.first() else { return Ok(Vec::new()) };
    let digest = crate::images::sha256(manifest);
    let unsigned = |reason| PolicyError::Unsigned {
        image: first.image.to_string(),
        digest: digest.clone(),
        scope: first.scope.clone(),
        reason,
    };
    let place = source.place();
    match looked {
        Looked::Attachments => {}
        Looked::Nowhere => {
            return Err(unsigned(format!(
                "no file of registries.d sets use-sigstore-attachments for {place}, so no signature is looked for"
            )));
        }
        Looked::LookasideOnly => {
            return Err(unsigned(format!(
                "registries.d gives {place} lookaside storage without use-sigstore-attachments, \
                 and signatures in lookaside storage are not supported"
            )));
        }
    }
    let Some(attached) = attachments(source, &digest, first).await? else {
        return Err(unsigned(format!("{place} has no signature of it")));
    };
    let signatures: Vec<_> =
        attached.layers.into_iter().filter(|layer| layer.media_type == SIMPLE_SIGNING).collect();
    if signatures.is_empty() {
        return Err(unsigned(format!("what {place} has attached to it are no signatures of cosign's kind")));
    }
    let mut check = Check {
        source,
        manifest,
        open: demands.iter().map(|demand| (demand, vec![])).collect(),
        accepted: Vec::new(),
        bytes: 0,
    };
    for (number, signature) in signatures.iter().enumerate() {
        check.with(number, signature).await?;
        if check.open.is_empty() {
            return Ok(check.accepted);
        }
    }
    // The loop above has left at least one open, as there was one to begin with.
    let (demand, rejections) = check.open.swap_remove(0);
    let (image, scope) = (demand.image.to_string(), demand.scope.clone());
    Err(PolicyError::NotAccepted { image, digest, scope, rejections })
}

/// The manifest that lists the signatures; `None`: there is none.
async fn attachments(
    source: &RegistryClient,
    digest: &Digest,
    demand: &Demand,
) -> Result<Option<Manifest>, PolicyError> {
    let image = || demand.image.to_string();
    let tag = format!("sha256-{}.sig", digest.hex());
    let served = match source.manifest(&tag).await {
        Ok(served) => served,
        Err(RegistryError::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(PolicyError::Fetch { image: image(), source }),
    };
    match Document::parse(&served.bytes, served.content_type.as_deref()) {
        Ok(Document::Image(manifest)) => Ok(Some(*manifest)),
        Ok(Document::Index(_)) => {
            let source = ManifestError::Ambiguous { reason: "signatures in an index" };
            Err(PolicyError::Attachments { image: image(), source })
        }
        Err(source) => Err(PolicyError::Attachments { image: image(), source }),
    }
}

/// The state of one check.
struct Check<'a> {
    source: &'a RegistryClient,
    manifest: &'a [u8],
    /// The demands that no signature has met yet, with what was wrong so far.
    open: Vec<(&'a Demand, Vec<SignatureError>)>,
    accepted: Vec<Kept>,
    /// Payload bytes fetched.
    bytes: u64,
}

impl Check<'_> {
    /// Fetches the signature behind `layer` and holds it against what is open.
    async fn with(&mut self, number: usize, layer: &Descriptor) -> Result<(), PolicyError> {
        let digest = || layer.digest.clone();
        let limit = if number >= SIGNATURES_MAX {
            Some("there are too many")
        } else if layer.size > PAYLOAD_MAX {
            Some("it is too large")
        } else if self.bytes + layer.size > PAYLOADS_MAX {
            Some("all together are too large")
        } else {
            None
        };
        if let Some(reason) = limit {
            // One word about all the rest is enough.
            if number <= SIGNATURES_MAX {
                self.reject(|| SignatureError::PassedOver { digest: digest(), reason });
            }
            return Ok(());
        }
        self.bytes += layer.size;
        let payload = match self.source.small_blob(&layer.digest, layer.size).await {
            Ok(payload) => payload,
            Err(source) if matches!(source.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                let image = self.open.first().map(|(demand, _)| demand.image.to_string()).unwrap_or_default();
                return Err(PolicyError::Fetch { image, source });
            }
            Err(error) => {
                self.reject(|| SignatureError::Fetch { digest: digest(), reason: error.to_string() });
                return Ok(());
            }
        };
        let annotation = |name: &str| layer.annotation(name);
        let signature = Untrusted { payload: &payload, annotation: &annotation };
        let (manifest, before) = (self.manifest, self.open.len());
        self.open.retain_mut(|(demand, rejections)| match demand.check(&signature, manifest) {
            Ok(()) => false,
            Err(rejection) => {
                rejections.push(rejection);
                true
            }
        });
        if self.open.len() < before {
            self.accepted.push(Kept::new(&payload, layer));
        }
        Ok(())
    }

    fn reject(&mut self, rejection: impl Fn() -> SignatureError) {
        for (_, rejections) in &mut self.open {
            rejections.push(rejection());
        }
    }
}
