//! What must be known to disconnect a pod from a CNI network, written down before the first plugin runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::state_dir;

/// How a pod was connected. Opaque to callers, who may store it and hand it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    pub(crate) sandbox: SandboxId,
    pub(crate) netns: PathBuf,
    pub(crate) network: Network,
}

/// The kind of network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(crate) enum Network {
    /// The built-in bridge: its leases say the rest.
    Native,
    /// Plugins.
    Cni(Box<CniRecord>),
}

/// What plugins were given, since DEL must be given the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CniRecord {
    /// The network list.
    pub(crate) config: Value,
    pub(crate) args: Vec<(String, String)>,
    pub(crate) capability_args: Map<String, Value>,
    /// Missing in the copy written before the ADD; libcni's cache has it then.
    pub(crate) result: Option<Value>,
}

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let dir = state_dir.join("attachments");
        state_dir::create(&dir).map_err(|source| Error::State { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    /// Plugins keep state over reboots, so this must as well.
    pub(crate) fn store(&self, record: &AttachmentRecord) -> Result<(), Error> {
        let failed = |source| Error::State { path: self.path(&record.sandbox), source };
        let content = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let dir = File::open(&self.dir).map_err(failed)?;
        let name = format!("{}.json", record.sandbox);
        atomic::write(dir, &name, &content, 0o600, Durability::Synced).map_err(failed)
    }

    /// The record of a pod; `None` if there is none, or one that cannot be understood: then the caller's copy and
    /// libcni's cache still count.
    pub(crate) fn load(&self, sandbox: &SandboxId) -> Result<Option<AttachmentRecord>, Error> {
        let path = self.path(sandbox);
        match state_dir::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::State { path, source }),
        }
    }

    pub(crate) fn remove(&self, sandbox: &SandboxId) -> Result<(), Error> {
        let path = self.path(sandbox);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::State { path, source }),
            _ => Ok(()),
        }
    }

    /// The pods with a record.
    pub(crate) fn owners(&self) -> Result<Vec<SandboxId>, Error> {
        let found = state_dir::records(&self.dir)
            .map_err(|source| Error::State { path: self.dir.clone(), source })?;
        Ok(found.into_iter().map(|(sandbox, _)| sandbox).collect())
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.dir.join(format!("{sandbox}.json"))
    }
}
