//! containers-auth.json(5) and Docker's `config.json`.
//!
//! ```json
//! { "auths": { "quay.io/team": { "auth": "<base64>" } }, "credHelpers": { "ecr.example": "ecr-login" } }
//! ```
//!
//! The entry with the longest path wins. A file that does not exist is empty; one that cannot be read is an error,
//! since going on without its credentials would turn "wrong permissions" into a puzzling "access denied".

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ochre_types::Secret;
use serde::Deserialize;

use super::{AuthError, Credentials, decode_basic, registry_of_key};
use crate::reference::Reference;

const FILE_MAX: u64 = 4 << 20;

/// The files in which credentials are looked up, first match wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthFiles(Vec<PathBuf>);

impl AuthFiles {
    /// Only this file (CRI-O's `global_auth_file`).
    pub fn only(path: PathBuf) -> Self {
        Self(vec![path])
    }

    /// These files, in this order.
    pub fn from_paths(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// The places of containers-auth.json(5), as far as the variables given are known.
    pub fn standard(runtime_dir: Option<&Path>, config_home: Option<&Path>, home: Option<&Path>) -> Self {
        let runtime = runtime_dir.map(|dir| dir.join("containers/auth.json"));
        let config = config_home.map(Path::to_owned).or_else(|| Some(home?.join(".config")));
        let paths = [
            runtime,
            Some("/run/containers/0/auth.json".into()),
            config.map(|dir| dir.join("containers/auth.json")),
            home.map(|dir| dir.join(".docker/config.json")),
        ];
        Self(paths.into_iter().flatten().collect())
    }

    /// The credentials for `reference`. Blocking.
    ///
    /// # Errors
    /// A file that cannot be read or understood, or that leaves this registry to a program.
    pub fn lookup(&self, reference: &Reference) -> Result<Option<Credentials>, AuthError> {
        for path in &self.0 {
            if let Some(file) = File::read(path)?
                && let Some(found) = file.credentials(path, reference)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl File {
    fn read(path: &Path) -> Result<Option<Self>, AuthError> {
        let failed = |source| AuthError::Read { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(AuthError::TooLarge { path: path.to_owned(), limit: FILE_MAX });
        }
        let parsed = serde_json::from_slice(&bytes).map_err(|error| AuthError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        });
        bytes.fill(0);
        parsed.map(Some)
    }

    fn credentials(&self, path: &Path, reference: &Reference) -> Result<Option<Credentials>, AuthError> {
        let registry = reference.domain();
        if let Some(program) = self.cred_helpers.get(registry) {
            return Err(self.left_to(path, registry, program));
        }
        for place in places(reference) {
            let entry = self.auths.iter().find(|(key, _)| registry_of_key(key) == place);
            if let Some((key, entry)) = entry
                && let Some(found) = entry.credentials(path, key)?
            {
                return Ok(Some(found));
            }
        }
        // Docker leaves an empty `auths` entry behind for a registry whose credentials the store holds.
        let stored = self.auths.keys().any(|key| registry_of_key(key) == registry);
        if stored && !self.creds_store.is_empty() {
            return Err(self.left_to(path, registry, &self.creds_store));
        }
        Ok(None)
    }

    fn left_to(&self, path: &Path, registry: &str, program: &str) -> AuthError {
        AuthError::CredentialProgram {
            path: path.to_owned(),
            registry: registry.to_owned(),
            program: program.to_owned(),
        }
    }
}

impl Entry {
    fn credentials(&self, path: &Path, key: &str) -> Result<Option<Credentials>, AuthError> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer(Secret::new(self.registrytoken.as_str()))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(Secret::new(self.identitytoken.as_str()))));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        decode_basic(&self.auth, &format!("{key} in {}", path.display())).map(Some)
    }
}

/// `host/a/b`, `host/a`, `host`.
fn places(reference: &Reference) -> Vec<String> {
    let full = reference.repository();
    let cuts = full.match_indices('/').map(|(at, _)| at).rev();
    std::iter::once(full.len()).chain(cuts).map(|end| full[..end].to_owned()).collect()
}
