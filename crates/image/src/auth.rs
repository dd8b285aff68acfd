//! Credentials: what a request carries, and what the authentication files of the node hold.
//!
//! Credentials belong to one registry. Those of a request are used for the registry of the requested reference only,
//! never for a mirror; a mirror gets what the files hold for the mirror's own host and path.

mod file;
mod namespaced;
mod program;

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use ochre_types::{ErrorKind, Secret};

use crate::reference::{DOCKER_HUB, Reference};

pub use file::AuthFiles;
pub use namespaced::NamespacedAuth;

/// Longest `auth` value that is decoded.
const AUTH_MAX: usize = 64 << 10;

/// What proves to a registry who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token, exchanged for an access token.
    Identity(Secret),
    /// A bearer token that is sent as it is.
    Bearer(Secret),
}

/// Where credentials come from. Printed, it is part of a sentence; the secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// The request itself.
    Request,
    /// An authentication file.
    File {
        /// The file.
        path: PathBuf,
        /// The key of its entry.
        key: String,
    },
    /// A program, which may know the registry or not.
    Program {
        /// Its name.
        program: String,
        /// The authentication file that names it; `None` for registries.conf.
        named_by: Option<PathBuf>,
    },
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the request"),
            Self::File { path, key } => write!(f, "{} (entry {key})", path.display()),
            Self::Program { program, named_by: Some(path) } => {
                write!(f, "{program}, named by {}", path.display())
            }
            Self::Program { program, named_by: None } => write!(f, "{program}, named by registries.conf"),
        }
    }
}

/// The fields of CRI's `AuthConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Base64 of `user:password`; used when `username` is empty.
    pub auth: Secret,
    /// The registry the credentials are for; empty for "the one of the image".
    pub server_address: String,
    /// Refresh token.
    pub identity_token: Secret,
    /// Access token.
    pub registry_token: Secret,
}

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// `auth` is not base64 of `user:password`. The value itself is a secret and not shown.
    #[error("the `auth` value for {place} is not the base64 form of user:password")]
    Encoding {
        /// A file's entry, or "the request".
        place: String,
    },
    /// An authentication file exists but cannot be read.
    #[error("reading the authentication file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An authentication file is larger than one can be.
    #[error("the authentication file {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// An authentication file is not JSON of the right shape. Its text is not repeated: it holds secrets.
    #[error("the authentication file {} is not valid: line {line}, column {column}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A credential program does not answer.
    #[error("the credential program docker-credential-{program}: {reason}")]
    Program {
        /// The program's suffix.
        program: String,
        /// What happened, without what it answered.
        reason: String,
    },
}

impl AuthError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Encoding { .. } | Self::TooLarge { .. } | Self::Syntax { .. } => ErrorKind::InvalidArgument,
            Self::Read { .. } => ErrorKind::Internal,
            Self::Program { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

impl AuthConfig {
    /// The credentials for pulling `reference`; nothing when the fields are empty or meant for another registry.
    ///
    /// # Errors
    /// An `auth` field that is not base64 of `user:password`.
    pub fn credentials_for(&self, reference: &Reference) -> Result<Option<Credentials>, AuthError> {
        if !self.server_address.is_empty() {
            let host = registry_of_key(&self.server_address);
            if host.split('/').next() != Some(reference.domain()) {
                return Ok(None);
            }
        }
        self.credentials()
    }

    /// The credentials whatever registry they are for.
    ///
    /// # Errors
    /// An `auth` field that is not base64 of `user:password`.
    pub fn credentials(&self) -> Result<Option<Credentials>, AuthError> {
        if !self.registry_token.is_empty() {
            return Ok(Some(Credentials::Bearer(self.registry_token.clone())));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Credentials::Identity(self.identity_token.clone())));
        }
        if !self.username.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok(Some(Credentials::Basic { username, password }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        decode_basic(self.auth.reveal(), "the request").map(Some)
    }
}

/// Decodes `user:password`. Docker pads the password with NULs.
fn decode_basic(auth: &str, place: &str) -> Result<Credentials, AuthError> {
    let refused = || AuthError::Encoding { place: place.to_owned() };
    if auth.len() > AUTH_MAX {
        return Err(refused());
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).map_err(|_| refused())?;
    // The decoded text is a secret as well: held in the type that overwrites it.
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| refused())?);
    let (username, password) = text.reveal().split_once(':').ok_or_else(refused)?;
    if username.is_empty() {
        return Err(refused());
    }
    Ok(Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

/// The registry (with a path, if any) that a key of an authentication file or a server address means.
///
/// Docker writes URLs (`https://index.docker.io/v1/`), the others plain places.
fn registry_of_key(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let place = match bare {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests;
