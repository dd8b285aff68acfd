//! The client side of the OCI distribution specification: manifests and blobs of one repository of one registry.
//!
//! ```text
//!  request ─► 401 ─► challenge ─► token (or Basic) ─► request again, once
//!     │  └─► 3xx ─► at most 10 times; another origin sees neither credentials nor client certificate
//!     │  └─► 429, 5xx, broken connection ─► wait (back-off with jitter, or Retry-After up to 60 s), at most 3 tries
//!     ▼
//!  body ─► every read under the progress timeout ─► a broken blob is continued where it broke (Range)
//! ```
//!
//! https is verified. A registry marked `insecure` is asked over unverified https and, when it does not speak TLS,
//! over http. There is no way from https back to http.

pub(crate) mod blob;
mod challenge;
pub(crate) mod client;
mod proxy;
mod redirect;
mod retry;
mod token;
pub(crate) mod transport;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

use ochre_types::{Digest, ErrorKind};

pub use proxy::Proxies;
pub use retry::RetryPolicy;

/// Why a registry did not give what was asked for. URLs are shown without their query: it may hold signatures.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A certificate or key of the registry cannot be used.
    #[error("the certificate file {} cannot be used: {reason}", path.display())]
    Certificate {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A URL that cannot be requested.
    #[error("{url:?} is not a URL that can be requested")]
    Url {
        /// The text.
        url: String,
    },
    /// No connection.
    #[error("connecting to {url}")]
    Connect {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke before or while the answer came.
    #[error("the connection broke during {url}")]
    Exchange {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for the progress timeout.
    #[error("{url}: no data for {} seconds", waited.as_secs_f32())]
    Stalled {
        /// What was asked for.
        url: String,
        /// The timeout.
        waited: Duration,
    },
    /// 429 or 5xx.
    #[error("{url}: the registry answered {status}{detail}")]
    Busy {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The registry's own words, with a colon in front, or nothing.
        detail: String,
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// 401 or 403.
    #[error("{url}: access denied ({status}){detail}")]
    Denied {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The registry's own words, with a colon in front, or nothing.
        detail: String,
    },
    /// 404.
    #[error("{url}: not found{detail}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The registry's own words, with a colon in front, or nothing.
        detail: String,
    },
    /// Another status.
    #[error("{url}: unexpected status {status}{detail}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The registry's own words, with a colon in front, or nothing.
        detail: String,
    },
    /// A redirection that is not followed.
    #[error("{url}: redirected in a way that is not followed: {reason}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// A 401 without a challenge that can be answered.
    #[error("{url}: the registry wants an authentication that is not supported (Bearer and Basic are)")]
    Challenge {
        /// What was asked for.
        url: String,
    },
    /// A token service that credentials must not be sent to.
    #[error("{url}: the token service {realm:?} is refused: {reason}")]
    Realm {
        /// What was asked for.
        url: String,
        /// The service.
        realm: String,
        /// Why.
        reason: &'static str,
    },
    /// The token service answered without a token.
    #[error("{realm}: the answer of the token service holds no token")]
    Token {
        /// The service.
        realm: String,
    },
    /// More bytes than allowed or promised.
    #[error("{url}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content has another digest than asked for or announced.
    #[error("{url}: expected {expected}, the content is {actual}")]
    Digest {
        /// What was asked for.
        url: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The content has another size than its descriptor says.
    #[error("{url}: expected {expected} bytes of {digest}, the registry has {actual}")]
    Size {
        /// What was asked for.
        url: String,
        /// The blob.
        digest: Digest,
        /// Size by the descriptor.
        expected: u64,
        /// Size that came or was announced.
        actual: u64,
    },
}

impl RegistryError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Certificate { .. } => ErrorKind::FailedPrecondition,
            Self::Url { .. } => ErrorKind::InvalidArgument,
            Self::Connect { .. } | Self::Exchange { .. } | Self::Busy { .. } => ErrorKind::Unavailable,
            Self::Stalled { .. } => ErrorKind::Timeout,
            Self::Denied { .. } | Self::Challenge { .. } | Self::Realm { .. } => ErrorKind::Denied,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Status { .. }
            | Self::Redirect { .. }
            | Self::Token { .. }
            | Self::Digest { .. }
            | Self::Size { .. } => ErrorKind::Internal,
        }
    }
}
