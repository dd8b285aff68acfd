//! Where artifacts lie: an OCI image layout (image-layout.md) in the place and form that CRI-O and podman use.
//!
//! ```text
//!   <root>/artifacts/oci-layout          {"imageLayoutVersion":"1.0.0"}
//!   <root>/artifacts/index.json          one entry per name; the name in an annotation of the entry
//!   <root>/artifacts/index.lock          fcntl lock around every change
//!   <root>/artifacts/blobs/<alg>/<hex>   manifests, configurations and files
//! ```
//!
//! A blob is written into a file without a name and gets its name when it is complete and on disk, so a crash leaves
//! nothing. The index names an artifact only after its blobs; a crash before that leaves blobs that the next pull uses.
//! Unknown fields of the index survive. Blobs are removed when no entry of the index needs them any more.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ochre_sys::atomic::{self, Durability};
use ochre_sys::lock::{self, Kind};
use ochre_sys::rooted::Root;
use ochre_types::{Digest, ImageId};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde_json::{Value, json};

use super::error::ArtifactError;
use super::{Artifact, Content};
use crate::images::sha256;
use crate::manifest::{Document, MANIFEST_MAX};

const INDEX: &str = "index.json";
const LOCK: &str = "index.lock";
const LAYOUT: &str = "oci-layout";
/// The annotation with an entry's name (OCI image specification, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Largest index; thousands of artifacts.
const INDEX_MAX: u64 = 16 << 20;
/// How long a change waits for another program's.
const PATIENCE: Duration = Duration::from_secs(60);

/// The store of artifacts.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    /// Manifests by digest, read once.
    known: Mutex<HashMap<Digest, Arc<Content>>>,
}

/// A complete blob without a name.
#[derive(Debug)]
pub(crate) struct StagedBlob {
    pub(crate) file: OwnedFd,
    pub(crate) digest: Digest,
}

/// An artifact to be kept.
#[derive(Debug)]
pub(crate) struct NewArtifact {
    pub(crate) name: String,
    pub(crate) manifest: Vec<u8>,
    /// Digest and size of everything the manifest names.
    pub(crate) needed: Vec<(Digest, u64)>,
    pub(crate) staged: Vec<StagedBlob>,
}

impl Layout {
    /// The layout below a store's root; made by the first pull.
    pub(crate) fn new(root: &Path) -> Self {
        Self { path: root.join("artifacts"), known: Mutex::default() }
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Whether a blob of this size is here.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        std::fs::symlink_metadata(self.blob(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// All artifacts with their names.
    pub(crate) fn list(&self) -> Result<Vec<Artifact>, ArtifactError> {
        let Some(index) = self.read_index()? else { return Ok(Vec::new()) };
        let mut all: Vec<Artifact> = Vec::new();
        for entry in entries(&index) {
            // An entry of another kind, or a damaged one, hides no other.
            let Some(digest) = digest_of(entry) else { continue };
            let Some(content) = self.content(&digest) else { continue };
            let Ok(id) = digest.hex().parse::<ImageId>() else { continue };
            let name = name_of(entry).map(str::to_owned);
            match all.iter_mut().find(|known| known.id == id) {
                Some(known) => known.names.extend(name),
                None => all.push(Artifact { id, names: name.into_iter().collect(), content }),
            }
        }
        let mut known = self.known.lock();
        if known.len() > all.len() {
            known.retain(|digest, _| all.iter().any(|one| one.content.digest == *digest));
        }
        Ok(all)
    }

    /// What all artifacts occupy; a blob that several need counts for each.
    pub(crate) fn bytes(&self) -> Result<u64, ArtifactError> {
        Ok(self.list()?.iter().map(|artifact| artifact.content.size).fold(0, u64::saturating_add))
    }

    /// A file without a name on the file system of the blobs.
    pub(crate) fn stage(&self, algorithm: &str) -> Result<OwnedFd, ArtifactError> {
        let directory = self.path.join("blobs").join(algorithm);
        make_dir_all(&directory)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // Readable for everybody: the container's user reads the blob itself. The directories above are for root.
        let file = rustix::fs::openat(CWD, &directory, flags, Mode::from_raw_mode(0o644))
            .map_err(|error| ArtifactError::io("write below", &directory)(error.into()))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))
            .map_err(|error| ArtifactError::io("write below", directory)(error.into()))?;
        Ok(file)
    }

    /// Keeps an artifact under a name, which it takes from whatever had it.
    pub(crate) fn add(&self, new: NewArtifact) -> Result<ImageId, ArtifactError> {
        let digest = sha256(&new.manifest);
        make_dir_all(&self.path.join("blobs/sha256"))?;
        let _held = self.lock(Kind::Exclusive)?;
        for blob in &new.staged {
            self.name_blob(blob)?;
        }
        if let Some((lost, _)) = new.needed.iter().find(|(digest, size)| !self.has(digest, *size)) {
            return Err(ArtifactError::Lost { blob: lost.clone() });
        }
        self.write(&self.path.join("blobs/sha256"), digest.hex(), &new.manifest, 0o644)?;
        if !self.path.join(LAYOUT).exists() {
            self.write(&self.path, LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        }
        let mut index = self.read_unlocked()?.unwrap_or_else(empty_index);
        let named = entries(&index)
            .any(|entry| name_of(entry) == Some(&new.name) && digest_of(entry).as_ref() == Some(&digest));
        if !named {
            unname(&mut index, &new.name);
            if let Some(list) = index.get_mut("manifests").and_then(Value::as_array_mut) {
                // The nameless entry of the same artifact gets the name.
                list.retain(|entry| name_of(entry).is_some() || digest_of(entry).as_ref() != Some(&digest));
                list.push(json!({
                    "mediaType": OCI_MANIFEST, "digest": digest, "size": new.manifest.len(),
                    "annotations": { REF_NAME: new.name },
                }));
            }
            self.write_index(&index)?;
        }
        digest.hex().parse().map_err(|_| ArtifactError::Lost { blob: digest })
    }

    /// Takes a name away from whichever artifact has it. Fine when none has.
    pub(crate) fn forget_name(&self, name: &str) -> Result<(), ArtifactError> {
        let has = |index: &Value| entries(index).any(|entry| name_of(entry) == Some(name));
        if !self.read_index()?.is_some_and(|index| has(&index)) {
            return Ok(());
        }
        let _held = self.lock(Kind::Exclusive)?;
        let Some(mut index) = self.read_unlocked()? else { return Ok(()) };
        unname(&mut index, name);
        self.write_index(&index)
    }

    /// Removes an artifact with all its names and the blobs that nothing else needs. Fine when it is gone.
    pub(crate) fn remove(&self, artifact: &Artifact) -> Result<(), ArtifactError> {
        let _held = self.lock(Kind::Exclusive)?;
        let Some(mut index) = self.read_unlocked()? else { return Ok(()) };
        let digest = &artifact.content.digest;
        if let Some(list) = index.get_mut("manifests").and_then(Value::as_array_mut) {
            list.retain(|entry| digest_of(entry).as_ref() != Some(digest));
        }
        self.write_index(&index)?;
        self.known.lock().remove(digest);
        // What another entry needs can be told only when every one of them can be read.
        let Some(needed) = self.needed(&index) else { return Ok(()) };
        for blob in artifact.content.blobs.iter().chain([digest]).filter(|blob| !needed.contains(*blob)) {
            let path = self.blob(blob);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ArtifactError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn needed(&self, index: &Value) -> Option<BTreeSet<Digest>> {
        let mut needed = BTreeSet::new();
        for entry in entries(index) {
            let digest = digest_of(entry)?;
            needed.extend(self.content(&digest)?.blobs.iter().cloned());
            needed.insert(digest);
        }
        Some(needed)
    }

    /// What a manifest of the layout says. Verified: other programs write here, too.
    fn content(&self, digest: &Digest) -> Option<Arc<Content>> {
        if let Some(known) = self.known.lock().get(digest) {
            return Some(Arc::clone(known));
        }
        let root = Root::open(&self.path.join("blobs").join(digest.algorithm().name())).ok()?;
        let bytes = root.read_limited(Path::new(digest.hex()), MANIFEST_MAX).ok()?;
        if sha256(&bytes) != *digest {
            return None;
        }
        let Ok(Document::Image(manifest)) = Document::parse(&bytes, Some(OCI_MANIFEST)) else { return None };
        let content = Arc::new(Content::of(*manifest, digest.clone(), bytes.len() as u64));
        self.known.lock().insert(digest.clone(), Arc::clone(&content));
        Some(content)
    }

    fn name_blob(&self, blob: &StagedBlob) -> Result<(), ArtifactError> {
        use std::os::fd::AsRawFd as _;
        let path = self.blob(&blob.digest);
        let source = format!("/proc/self/fd/{}", blob.file.as_raw_fd());
        match rustix::fs::linkat(CWD, source, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            // Another pull was faster, or a damaged file is in the way; its size is checked afterwards.
            Err(rustix::io::Errno::EXIST) => return Ok(()),
            Err(error) => return Err(ArtifactError::io("write", path)(error.into())),
        }
        let directory = path.parent().unwrap_or(&self.path);
        std::fs::File::open(directory)
            .and_then(atomic::sync_dir)
            .map_err(ArtifactError::io("sync", directory))
    }

    fn read_index(&self) -> Result<Option<Value>, ArtifactError> {
        match self.read_unlocked() {
            // A program that writes the file in place may be in the middle of it.
            Err(ArtifactError::Index { .. }) => {
                let _held = self.lock(Kind::Shared)?;
                self.read_unlocked()
            }
            index => index,
        }
    }

    fn read_unlocked(&self) -> Result<Option<Value>, ArtifactError> {
        let path = self.path.join(INDEX);
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(ArtifactError::io("open", &path))?,
        };
        let mut text = Vec::new();
        file.take(INDEX_MAX + 1).read_to_end(&mut text).map_err(ArtifactError::io("read", &path))?;
        let bad = |reason: String| ArtifactError::Index { path: path.clone(), reason };
        if text.len() as u64 > INDEX_MAX {
            return Err(bad(format!("it is larger than {INDEX_MAX} bytes")));
        }
        let index: Value = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if index.get("manifests").is_none_or(|list| !list.is_array()) {
            return Err(bad("it has no list of manifests".to_owned()));
        }
        Ok(Some(index))
    }

    fn write_index(&self, index: &Value) -> Result<(), ArtifactError> {
        self.write(&self.path, INDEX, index.to_string().as_bytes(), 0o644)
    }

    fn write(&self, directory: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), ArtifactError> {
        let open = std::fs::File::open(directory).map_err(ArtifactError::io("open", directory))?;
        atomic::write(&open, name, content, mode, Durability::Synced)
            .map_err(ArtifactError::io("write", directory.join(name)))
    }

    /// Closing the file gives the lock back.
    fn lock(&self, kind: Kind) -> Result<OwnedFd, ArtifactError> {
        let path = self.path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| ArtifactError::io("open", &path)(error.into()))?;
        match lock::lock_within(file.as_fd(), kind, PATIENCE) {
            Ok(true) => Ok(file),
            Ok(false) => Err(ArtifactError::Locked),
            Err(error) => Err(ArtifactError::io("lock", path)(error)),
        }
    }
}

fn empty_index() -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] })
}

fn entries(index: &Value) -> impl Iterator<Item = &Value> {
    index.get("manifests").and_then(Value::as_array).into_iter().flatten()
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

/// The entry stays without its name, like an image whose tag moved on; whoever cleans up finds it by its id. Of an
/// artifact with another name left, the entry goes.
fn unname(index: &mut Value, name: &str) {
    let Some(list) = index.get_mut("manifests").and_then(Value::as_array_mut) else { return };
    let others: Vec<Option<Digest>> =
        list.iter().filter(|entry| name_of(entry) != Some(name)).map(digest_of).collect();
    list.retain(|entry| name_of(entry) != Some(name) || !others.contains(&digest_of(entry)));
    for entry in list.iter_mut().filter(|entry| name_of(entry) == Some(name)) {
        if let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(REF_NAME);
        }
    }
}

fn make_dir_all(path: &Path) -> Result<(), ArtifactError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(ArtifactError::io("make", path))
}
