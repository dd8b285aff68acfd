//! What can be wrong with keys, and with signatures.

use std::io;
use std::path::PathBuf;

use ochre_types::Digest;

/// Why a key or certificate that a policy names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than such a file can be.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// It holds something else.
    #[error("{place} does not hold {wanted}")]
    Content {
        /// The file, or the policy's field.
        place: String,
        /// What was wanted.
        wanted: &'static str,
    },
}

/// Why one signature is not accepted. What a signature says is shown shortened.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The payload could not be fetched as promised.
    #[error("the payload {digest} is not what its descriptor promises: {reason}")]
    Fetch {
        /// Digest of the payload by its descriptor.
        digest: Digest,
        /// What the registry gave instead.
        reason: String,
    },
    /// More or larger payloads than are looked at.
    #[error("the payload {digest} is passed over: {reason}")]
    PassedOver {
        /// Digest of the payload by its descriptor.
        digest: Digest,
        /// Which limit it exceeds.
        reason: &'static str,
    },
    /// A part is missing.
    #[error("the annotation {annotation} is missing")]
    Missing {
        /// Which.
        annotation: &'static str,
    },
    /// A part is not base64.
    #[error("the annotation {annotation} is not base64")]
    Encoding {
        /// Which.
        annotation: &'static str,
    },
    /// No key that is trusted made it.
    #[error("it is not by a key that the policy trusts")]
    WrongKey,
    /// What is signed is not of cosign's form.
    #[error("the signed payload is malformed")]
    Payload {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// What is signed is something else than an image.
    #[error("the signed payload is of type {found:?}")]
    PayloadType {
        /// Its type.
        found: String,
    },
    /// It is for another name.
    #[error("it is for {signed:?}")]
    Identity {
        /// The name in it.
        signed: String,
    },
    /// It is for another image.
    #[error("it is for the digest {signed:?}, the manifest is {actual}")]
    Digest {
        /// The digest in it.
        signed: String,
        /// The manifest's own.
        actual: Digest,
    },
    /// The log's promise is malformed.
    #[error("the promise of the transparency log cannot be used: {reason}")]
    LogForm {
        /// What is wrong.
        reason: &'static str,
    },
    /// No log that is trusted made the promise.
    #[error("the promise of the transparency log is not by a log that the policy trusts")]
    LogKey,
    /// The log's promise is about something else.
    #[error("the transparency log promised something else: another {differs}")]
    LogEntry {
        /// What differs: `key or certificate`, `signature`, `payload`.
        differs: &'static str,
    },
    /// The certificate is not by the authority, or not for signing, or not of the time.
    #[error("the certificate is not accepted: {reason}")]
    Certificate {
        /// Why.
        reason: String,
    },
    /// The certificate is for somebody else.
    #[error("the certificate is for {found:?}, not for {expected:?}")]
    Subject {
        /// By the policy.
        expected: String,
        /// By the certificate.
        found: String,
    },
}

/// What a stranger wrote, at a length and in characters that a message can bear.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
