//! Signatures: whether the manifest that a registry served is the one that somebody trusted signed under this name.
//!
//! ```text
//!  policy ─► demands (keys, identity)          registries.d: does this registry keep signatures beside images?
//!                 │                                              │
//!  manifest ──────┼──► tag sha256-<hex>.sig ─► its layers: payload + annotations, one at a time, bounded
//!                 ▼                                              │
//!   each demand: one signature must pass all of  ◄───────────────┘
//!     1. the log's promise (SET), if the policy names a key of Rekor: about this signature, key and payload
//!     2. the key: one of the policy's, or that of a certificate of Fulcio for the right person, valid at the log's time
//!     3. the signature over the payload
//!     4. only then the payload: its type, its name (signedIdentity), its digest = that of the manifest
//! ```
//!
//! The manifest is that of the image itself, also when the name led to an index: a signature of the index says nothing
//! (containers/image has the same rule; `cosign sign --recursive` signs both). Signatures are asked of the place that
//! served the manifest, mirrors included, but the name in them must fit what was requested.
//!
//! Nothing of a signature is believed before step 3, and it is parsed strictly after it. What was accepted is kept with
//! the image, for the second look when a container is to run it.

mod attachment;
mod der;
mod error;
mod fulcio;
mod key;
mod payload;
mod places;
mod rekor;
mod stored;

pub(crate) use attachment::verify;
pub use error::{MaterialError, SignatureError};
pub(crate) use fulcio::Fulcio;
pub(crate) use key::PublicKey;
pub use places::PlacesError;
pub(crate) use places::{Looked, SignaturePlaces};
pub(crate) use stored::{Kept, items, verify_stored};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::policy::identity::Identity;
use crate::reference::Reference;

/// Annotations of a signature (cosign's signature specification).
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const SET: &str = "dev.sigstore.cosign/bundle";

/// A signature that an image must have.
#[derive(Debug)]
pub(crate) struct Demand {
    /// The policy's scope that asks for it.
    pub(crate) scope: String,
    /// The image as requested.
    pub(crate) image: Reference,
    /// Which names in the signature count.
    pub(crate) identity: Identity,
    /// Who may have signed.
    pub(crate) root: TrustRoot,
}

/// Whose signatures count.
#[derive(Debug)]
pub(crate) struct TrustRoot {
    pub(crate) signer: Signer,
    /// Keys of the transparency log; `None`: the signature need not be in a log.
    pub(crate) rekor: Option<Vec<PublicKey>>,
}

/// Who signs.
#[derive(Debug)]
pub(crate) enum Signer {
    /// The holder of one of these keys.
    Keys(Vec<PublicKey>),
    /// Somebody whom Fulcio gave a certificate.
    Fulcio(Fulcio),
}

/// A signature as it came. Nothing in it is true yet.
pub(crate) struct Untrusted<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) annotation: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl Untrusted<'_> {
    fn required(&self, name: &'static str) -> Result<&str, SignatureError> {
        (self.annotation)(name).ok_or(SignatureError::Missing { annotation: name })
    }
}

impl Demand {
    /// Whether `signature` is what is asked for, of `manifest`.
    pub(crate) fn check(&self, signature: &Untrusted<'_>, manifest: &[u8]) -> Result<(), SignatureError> {
        let bytes = STANDARD
            .decode(signature.required(SIGNATURE)?)
            .map_err(|_| SignatureError::Encoding { annotation: SIGNATURE })?;
        let logged = |logs: &[PublicKey], signer: &[u8]| {
            let entry = rekor::Entry { signer, signature: &bytes, payload: signature.payload };
            entry.promised_at(logs, signature.required(SET)?)
        };
        let by_certificate;
        let keys = match &self.root.signer {
            Signer::Fulcio(fulcio) => {
                let certificate = signature.required(CERTIFICATE)?.as_bytes();
                let leaf = fulcio::only_certificate(certificate)?;
                // The policy's parser sees to it that there are keys of a log.
                let time = logged(self.root.rekor.as_deref().unwrap_or_default(), &leaf)?;
                let chain = (signature.annotation)(CHAIN).unwrap_or_default();
                by_certificate = [fulcio.key_of(&leaf, chain.as_bytes(), time)?];
                by_certificate.iter().collect()
            }
            Signer::Keys(keys) => match &self.root.rekor {
                None => keys.iter().collect::<Vec<_>>(),
                Some(logs) => {
                    // The log names the key that signed: only that one counts then.
                    let mut rejection = SignatureError::WrongKey;
                    let mut logged_keys = Vec::new();
                    for key in keys {
                        match logged(logs, key.spki()) {
                            Ok(_) => logged_keys.push(key),
                            Err(error) => rejection = error,
                        }
                    }
                    if logged_keys.is_empty() {
                        return Err(rejection);
                    }
                    logged_keys
                }
            },
        };
        if !keys.iter().any(|key| key.verifies(signature.payload, &bytes)) {
            return Err(SignatureError::WrongKey);
        }
        let payload = payload::Payload::parse(signature.payload)?;
        if !self.identity.accepts(&self.image, payload.name()) {
            return Err(SignatureError::Identity { signed: error::short(payload.name()) });
        }
        payload.check_digest(manifest)
    }
}
