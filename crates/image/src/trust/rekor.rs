//! The transparency log's promise to have recorded a signature (Rekor's "signed entry timestamp"), checked offline.
//!
//! ```text
//!  bundle { SignedEntryTimestamp, Payload { body, integratedTime, logIndex, logID } }
//!             │                        │        └─ body (base64): hashedrekord 0.0.1 { payload hash, signature, signer }
//!             └── is over ─────────────┘           each must be what lies beside it
//! ```
//!
//! What is signed is the canonical JSON of `Payload` (RFC 8785). Its four fields are read strictly and written again:
//! with plain ASCII strings and integers that a double can hold there is exactly one way to do so.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::SectionKind;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::SignatureError;
use super::key::{PublicKey, only_section};

/// The largest integer of which canonical JSON has one form (RFC 8785 section 3.2.2.3).
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// What must stand in the log.
pub(super) struct Entry<'a> {
    /// The key or certificate of the signer, in DER.
    pub(super) signer: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) payload: &'a [u8],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Bundle {
    signed_entry_timestamp: String,
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    body: String,
    integrated_time: u64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// Rekor's `hashedrekord` 0.0.1. Only what is compared is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: String,
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

impl Payload {
    /// The canonical form; `None` when there is no telling.
    fn canonical(&self) -> Option<String> {
        let Self { body, integrated_time, log_index, log_id } = self;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
        let fits =
            plain(body) && plain(log_id) && *integrated_time <= INTEGER_MAX && *log_index <= INTEGER_MAX;
        fits.then(|| {
            format!(
                r#"{{"body":"{body}","integratedTime":{integrated_time},"logID":"{log_id}","logIndex":{log_index}}}"#
            )
        })
    }
}

impl Entry<'_> {
    /// When one of `logs` recorded this entry, since the epoch, by its promise `bundle`.
    pub(super) fn promised_at(&self, logs: &[PublicKey], bundle: &str) -> Result<Duration, SignatureError> {
        let form = |reason| SignatureError::LogForm { reason };
        let bundle: Bundle = serde_json::from_str(bundle).map_err(|_| form("it is malformed"))?;
        let promise = STANDARD
            .decode(&bundle.signed_entry_timestamp)
            .map_err(|_| form("its signature is not base64"))?;
        let canonical = bundle.payload.canonical().ok_or(form("it has no canonical form"))?;
        if !logs.iter().any(|log| log.verifies(canonical.as_bytes(), &promise)) {
            return Err(SignatureError::LogKey);
        }
        let body = STANDARD.decode(&bundle.payload.body).map_err(|_| form("its body is not base64"))?;
        let body: Body = serde_json::from_slice(&body).map_err(|_| form("its body is malformed"))?;
        if body.kind != "hashedrekord" || body.api_version != "0.0.1" {
            return Err(form("its body is not a hashedrekord 0.0.1"));
        }
        self.compare(&body.spec)?;
        Ok(Duration::from_secs(bundle.payload.integrated_time))
    }

    fn compare(&self, spec: &Spec) -> Result<(), SignatureError> {
        let form = |reason| SignatureError::LogForm { reason };
        let differs = |differs| Err(SignatureError::LogEntry { differs });
        let signer =
            STANDARD.decode(&spec.signature.public_key.content).map_err(|_| form("its key is not base64"))?;
        let (kind, signer) = only_section(&signer).ok_or(form("its key is not PEM"))?;
        if !matches!(kind, SectionKind::PublicKey | SectionKind::Certificate) || signer != self.signer {
            return differs("key or certificate");
        }
        let signature =
            STANDARD.decode(&spec.signature.content).map_err(|_| form("its signature is not base64"))?;
        if signature != self.signature {
            return differs("signature");
        }
        let Hash { algorithm, value } = &spec.data.hash;
        if algorithm != "sha256" {
            return Err(form("its hash is not SHA-256"));
        }
        let actual: String = Sha256::digest(self.payload).iter().map(|byte| format!("{byte:02x}")).collect();
        if *value != actual {
            return differs("payload");
        }
        Ok(())
    }
}
