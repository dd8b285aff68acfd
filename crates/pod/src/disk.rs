//! Records of pods and containers on disk.
//!
//! ```text
//!   <root>/ochre/pods/<sandbox id>/pod.json               one per sandbox, until it is removed
//!   <root>/ochre/pods/<sandbox id>/<container id>.json    one per container, until it is removed
//!   <root>/ochre/pods/…/*.bad                             records that could not be read; kept for people
//! ```
//!
//! A record is one JSON document with a version and a checksum over its body. The intent is written before the first
//! side effect of an operation: every effect has a path or a name that follows from the id or stands in the record, so
//! undoing needs nothing else. `v1` is the only version so far; `latest` names what the code uses.

pub(crate) mod v1;

pub(crate) use v1 as latest;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_types::{ContainerId, SandboxId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The largest record that is read; far above what a request can carry.
const MAX_RECORD: u64 = 16 << 20;
const POD: &str = "pod.json";

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
}

/// What stands in one sandbox's folder.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The sandbox.
    pub(crate) sandbox: latest::Sandbox,
    /// Its containers.
    pub(crate) containers: Vec<latest::Container>,
}

impl Records {
    /// Opens or makes the directory (0700).
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join("pods");
        make_private(&path)?;
        Ok(Self { path })
    }

    /// Writes a sandbox's record.
    pub(crate) fn put_sandbox(&self, record: &latest::Sandbox, durability: Durability) -> Result<(), Error> {
        let folder = self.path.join(record.id.as_str());
        make_private(&folder)?;
        put(&folder, POD, record, durability)?;
        if durability == Durability::Synced {
            // The folder's own name.
            sync(&self.path)?;
        }
        Ok(())
    }

    /// Writes a container's record; the sandbox's folder exists.
    pub(crate) fn put_container(
        &self,
        record: &latest::Container,
        durability: Durability,
    ) -> Result<(), Error> {
        let folder = self.path.join(record.sandbox.as_str());
        put(&folder, &format!("{}.json", record.id), record, durability)
    }

    /// Removes a container's record; fine when there is none.
    pub(crate) fn remove_container(&self, sandbox: &SandboxId, id: &ContainerId) -> Result<(), Error> {
        let path = self.path.join(sandbox.as_str()).join(format!("{id}.json"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("removing record", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a sandbox's folder with everything in it; fine when there is none.
    pub(crate) fn remove_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        let path = self.path.join(id.as_str());
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("removing record", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Reads everything. A record that cannot be used is renamed to `*.bad` and reported, never a reason to stop.
    pub(crate) fn load(&self) -> Result<(Vec<Loaded>, Vec<Error>), Error> {
        let mut loaded = Vec::new();
        let mut bad = Vec::new();
        for folder in entries(&self.path)? {
            match load_folder(&folder, &mut bad) {
                Ok(Some(one)) => loaded.push(one),
                Ok(None) => {}
                Err(error) => bad.push(error),
            }
        }
        Ok((loaded, bad))
    }
}

fn load_folder(folder: &Path, bad: &mut Vec<Error>) -> Result<Option<Loaded>, Error> {
    let pod = folder.join(POD);
    if !pod.exists() {
        // A crash between making the folder and writing the first record: nothing was done yet.
        drop(std::fs::remove_dir(folder));
        return Ok(None);
    }
    let sandbox: latest::Sandbox = get(&pod).inspect_err(|_| set_aside(&pod))?;
    let mut containers = Vec::new();
    for path in entries(folder)? {
        if path == pod || path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        match get::<latest::Container>(&path) {
            Ok(container) => containers.push(container),
            Err(error) => {
                set_aside(&path);
                bad.push(error);
            }
        }
    }
    Ok(Some(Loaded { sandbox, containers }))
}

fn set_aside(path: &Path) {
    // Left where it is when even that fails; the next start reports it again.
    drop(std::fs::rename(path, path.with_extension("bad")));
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("listing", path))? {
        found.push(entry.map_err(Error::io("listing", path))?.path());
    }
    found.sort();
    Ok(found)
}

pub(crate) fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("making directory", path))
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| atomic::sync_dir(&dir)).map_err(Error::io("syncing", path))
}

fn put(folder: &Path, name: &str, record: &impl Serialize, durability: Durability) -> Result<(), Error> {
    let failed =
        |reason: serde_json::Error| Error::BadRecord { path: folder.join(name), reason: reason.to_string() };
    let body = serde_json::to_string(record).map_err(failed)?;
    let text =
        format!("{{\"version\":{},\"checksum\":{},\"body\":{body}}}\n", latest::VERSION, checksum(&body));
    let dir = File::open(folder).map_err(Error::io("opening", folder))?;
    atomic::write(dir.as_fd(), name, text.as_bytes(), 0o600, durability)
        .map_err(Error::io("writing record", folder.join(name)))
}

/// The envelope of a record; the body stays text until its checksum is known to be right.
#[derive(serde::Deserialize)]
struct Envelope<'a> {
    version: u32,
    checksum: u64,
    #[serde(borrow)]
    body: &'a serde_json::value::RawValue,
}

fn get<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bad = |reason: String| Error::BadRecord { path: path.to_owned(), reason };
    let file = File::open(path).map_err(Error::io("opening record", path))?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_RECORD), &mut text)
        .map_err(Error::io("reading record", path))?;
    let envelope: Envelope<'_> = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if envelope.version != latest::VERSION {
        return Err(bad(format!(
            "version {} is newer than this engine knows ({})",
            envelope.version,
            latest::VERSION
        )));
    }
    if envelope.checksum != checksum(envelope.body.get()) {
        return Err(bad("its checksum does not match: the file is damaged".to_owned()));
    }
    serde_json::from_str(envelope.body.get()).map_err(|e| bad(e.to_string()))
}

/// FNV-1a, 64 bits: finds torn and flipped bytes; it is no protection against intent, which 0700 directories are.
fn checksum(body: &str) -> u64 {
    body.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
pub(crate) mod tests;
