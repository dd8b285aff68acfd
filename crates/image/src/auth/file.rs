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

use super::{AuthError, CredentialSource, Credentials, decode_basic, program, registry_of_key};
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

    /// The credentials for `reference`: of these files, and of the credential programs that `helpers` of registries.conf
    /// names, in that order ([`FILES`] stands for the files; an empty list is the files alone). Blocking; programs may run.
    ///
    /// # Errors
    /// A file that cannot be read or understood, or a program that fails.
    pub fn lookup(
        &self,
        reference: &Reference,
        helpers: &[String],
    ) -> Result<Option<Credentials>, AuthError> {
        self.search(reference, helpers, |place| match &place {
            Place::Entry { path, key, entry } => entry.credentials(path, key),
            Place::Program { name, server, .. } => program::ask(name, server),
        })
    }

    /// Where [`AuthFiles::lookup`] would look first: nothing is asked and no secret decoded. Blocking.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn find(
        &self,
        reference: &Reference,
        helpers: &[String],
    ) -> Result<Option<CredentialSource>, AuthError> {
        self.search(reference, helpers, |place| Ok(Some(place.source())))
    }

    /// Goes through the places where credentials may be, until `take` finds some.
    fn search<T>(
        &self,
        reference: &Reference,
        helpers: &[String],
        take: impl Fn(Place<'_>) -> Result<Option<T>, AuthError>,
    ) -> Result<Option<T>, AuthError> {
        let files = [FILES.to_owned()];
        for helper in if helpers.is_empty() { &files } else { helpers } {
            let found = match helper.as_str() {
                FILES => self.search_files(reference, &take)?,
                name => take(Place::Program { named_by: None, name, server: reference.domain() })?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn search_files<T>(
        &self,
        reference: &Reference,
        take: impl Fn(Place<'_>) -> Result<Option<T>, AuthError>,
    ) -> Result<Option<T>, AuthError> {
        for path in &self.0 {
            let Some(file) = File::read(path)? else { continue };
            for place in file.places(path, reference) {
                if let Some(found) = take(place)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

/// In the list of helpers: the authentication files themselves (containers-registries.conf(5)).
const FILES: &str = "containers-auth.json";

/// A place that may hold credentials.
enum Place<'a> {
    Entry { path: &'a Path, key: &'a str, entry: &'a Entry },
    Program { named_by: Option<&'a Path>, name: &'a str, server: &'a str },
}

impl Place<'_> {
    fn source(&self) -> CredentialSource {
        match self {
            Self::Entry { path, key, .. } => {
                CredentialSource::File { path: (*path).to_owned(), key: (*key).to_owned() }
            }
            Self::Program { named_by, name, .. } => CredentialSource::Program {
                program: format!("docker-credential-{name}"),
                named_by: named_by.map(Path::to_owned),
            },
        }
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

    /// The places of this file for a reference, the closest first.
    fn places<'a>(&'a self, path: &'a Path, reference: &'a Reference) -> Vec<Place<'a>> {
        let registry = reference.domain();
        let mut places = Vec::new();
        if let Some(name) = self.cred_helpers.get(registry) {
            places.push(Place::Program { named_by: Some(path), name, server: registry });
        }
        for prefix in prefixes(reference) {
            if let Some((key, entry)) = self.auths.iter().find(|(key, _)| registry_of_key(key) == prefix)
                && !entry.is_empty()
            {
                places.push(Place::Entry { path, key, entry });
            }
        }
        // Docker leaves an empty `auths` entry behind for a registry whose credentials the store holds, under the key
        // that the store knows it by.
        let stored = self.auths.keys().find(|key| registry_of_key(key) == registry);
        if let Some(key) = stored.filter(|_| !self.creds_store.is_empty()) {
            places.push(Place::Program { named_by: Some(path), name: &self.creds_store, server: key });
        }
        places
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.auth.is_empty() && self.identitytoken.is_empty() && self.registrytoken.is_empty()
    }

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
fn prefixes(reference: &Reference) -> Vec<String> {
    let full = reference.repository();
    let cuts = full.match_indices('/').map(|(at, _)| at).rev();
    std::iter::once(full.len()).chain(cuts).map(|end| full[..end].to_owned()).collect()
}
