//! Layers: looking them up, and adding them.
//!
//! ```text
//!   begin_layer --> LayerStaging --(unpack into root(), write tar_split())--> commit
//!                       |                                                       |  staged content synced (syncfs)
//!                       | dropped                                               |  lock; record flagged incomplete
//!                       v                                                       |  directory and tar-split moved in
//!                    removed                                                    v  record final, lock given back
//! ```
//!
//! A crash before the lock leaves a staging directory whose lock is free: the next start removes it. A crash after it
//! leaves a record flagged incomplete, which the next start, or podman, removes with its directory.

use std::fs::{self, File};
use std::sync::Arc;

use ochre_sys::rooted::Root;
use ochre_types::{Digest, LayerId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::disk::layers::{LayerRecord, STABLE};
use crate::disk::table::Writer;
use crate::disk::text;
use crate::overlay::dirs::{Discarded, Staged, remove_if_present, remove_tree};
use crate::store::Store;
use crate::{Error, store};

/// gzip in containers/storage's numbering of compressions.
const GZIP: i64 = 2;

/// A complete layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its identifier.
    pub id: LayerId,
    /// The layer below.
    pub parent: Option<LayerId>,
    /// Digest of the blob it was unpacked from, as it came over the wire.
    pub compressed_digest: Option<Digest>,
    /// Size of that blob in bytes; 0 when unknown.
    pub compressed_size: i64,
    /// Digest of the uncompressed archive.
    pub diff_id: Option<Digest>,
    /// Size of the uncompressed archive in bytes; -1 or 0 when unknown.
    pub diff_size: i64,
    /// When the record was made; `None` for times Go calls zero.
    pub created: Option<Timestamp>,
    /// SELinux label for mounts; empty for none.
    pub mount_label: String,
}

/// What is known of a layer once it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDigests {
    /// Digest of the blob as it came; `None` if there was none.
    pub compressed_digest: Option<Digest>,
    /// Its size in bytes.
    pub compressed_size: i64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Its size in bytes.
    pub diff_size: i64,
    /// Owners that occur in the layer.
    pub uids: Vec<u32>,
    /// Groups that occur in the layer.
    pub gids: Vec<u32>,
    /// When the layer was made.
    pub created: Timestamp,
}

/// A layer that is being unpacked. Dropping it without [`LayerStaging::commit`] removes it.
pub struct LayerStaging {
    store: Store,
    id: LayerId,
    parent: Option<LayerId>,
    staged: Staged,
    root: Root,
    tar_split: File,
}

/// The identifier containers/image gives a layer: the hexadecimal part of the diff id for the lowest one, above it the
/// SHA-256 of the parent's identifier, `+`, and the hexadecimal part of the diff id.
pub fn chain_layer_id(parent: Option<&LayerId>, diff_id: &Digest) -> LayerId {
    let hashed = |text: String| {
        let sum = Digest::sha256(&Sha256::digest(text.as_bytes()).into());
        LayerId::try_from(sum.hex().to_owned())
    };
    let id = match parent {
        None => LayerId::try_from(diff_id.hex().to_owned()).or_else(|_| hashed(diff_id.hex().to_owned())),
        Some(parent) => hashed(format!("{parent}+{}", diff_id.hex())),
    };
    // Invariant: the hexadecimal form of a SHA-256 is an identifier. A diff id of another length (SHA-512) takes the
    // `or_else` above.
    id.unwrap_or_else(|invalid| unreachable!("{invalid}"))
}

impl Layer {
    /// `None` for identifiers that are not ours to understand; the record is kept all the same.
    pub(crate) fn from_record(record: &LayerRecord) -> Option<Self> {
        let parent = match record.parent.as_str() {
            "" => None,
            parent => Some(parent.parse().ok()?),
        };
        Some(Self {
            id: record.id.parse().ok()?,
            parent,
            compressed_digest: record.compressed_digest.parse().ok(),
            compressed_size: record.compressed_size,
            diff_id: record.diff_digest.parse().ok(),
            diff_size: record.diff_size,
            created: text::parse_time(&record.created),
            mount_label: record.mount_label.clone(),
        })
    }
}

impl Store {
    /// A complete layer of this store or of an additional one. Never waits for writers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and I/O errors of reading the records.
    pub fn layer(&self, id: &LayerId) -> Result<Option<Arc<Layer>>, Error> {
        if let Some(layer) = self.opened.layers.current()?.view.get(id) {
            return Ok(Some(Arc::clone(layer)));
        }
        for store in &self.opened.additional {
            if let Some(layer) = store.layers.current()?.view.get(id) {
                return Ok(Some(Arc::clone(layer)));
            }
        }
        Ok(None)
    }

    /// Starts a layer. Its parent needs to exist only when the layer is committed, so layers of one image can be
    /// unpacked at the same time.
    ///
    /// # Errors
    /// [`Error::LayerExists`] when a complete layer has the identifier; I/O errors.
    pub fn begin_layer(&self, id: LayerId, parent: Option<LayerId>) -> Result<LayerStaging, Error> {
        if self.layer(&id)?.is_some() {
            return Err(Error::LayerExists { id });
        }
        let staged = self.opened.overlay.dirs.stage()?;
        let diff = staged.layer().join("diff");
        let root = Root::open(&diff).map_err(Error::io("open", diff))?;
        let path = staged.tar_split();
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let tar_split = options.write(true).create_new(true).open(&path).map_err(Error::io("make", path))?;
        Ok(LayerStaging { store: self.clone(), id, parent, staged, root, tar_split })
    }
}

impl std::fmt::Debug for LayerStaging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerStaging")
            .field("id", &self.id)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

impl LayerStaging {
    /// The layer's identifier.
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// The layer's content. Unpack here.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Takes the gzipped tar-split stream as it comes. If nothing is written, the layer has none, and podman rebuilds its
    /// archive from the files.
    pub fn tar_split(&self) -> impl std::io::Write + '_ {
        &self.tar_split
    }

    /// The file behind [`LayerStaging::tar_split`], for a process that writes it.
    pub fn tar_split_file(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.tar_split)
    }

    /// Takes back what was written to [`LayerStaging::tar_split`]: the layer has none then.
    ///
    /// # Errors
    /// An I/O error.
    pub fn drop_tar_split(&mut self) -> Result<(), Error> {
        self.tar_split.set_len(0).map_err(Error::io("empty", self.staged.tar_split()))
    }

    /// Makes the layer visible. Its content is on the disk before its record is. If somebody else committed the same
    /// layer meanwhile, theirs is returned and this one removed.
    ///
    /// # Errors
    /// [`Error::ParentMissing`]; [`Error::LayerConflict`] when a layer of that identifier has other content;
    /// [`Error::LockTimeout`]; I/O errors, among them `ENOSPC` and `EIO` of writing back the content.
    pub fn commit(self, digests: LayerDigests) -> Result<Arc<Layer>, Error> {
        let opened = &self.store.opened;
        let dirs = &opened.overlay.dirs;
        if let Some(parent) = &self.parent {
            dirs.attach(&self.staged, &self.id, parent)?;
        }
        // A descriptor from before the unpacking: `syncfs` reports the write-back errors since it was opened (Linux 5.8).
        rustix::fs::syncfs(&self.tar_split).map_err(Error::io("sync", self.staged.layer()))?;

        let mut layers = opened.layers.write()?;
        if let Some(row) = layers.get(self.id.as_str())
            && !row.record.is_incomplete()
        {
            return self.existing(&row.record, &digests);
        }
        self.check_parent(&layers)?;
        layers.remove(self.id.as_str());
        let mut record = self.record(&digests);
        record.set_incomplete(true);
        layers.push(STABLE, record);
        layers.save(STABLE)?;
        let replaced = match self.install() {
            Ok(replaced) => replaced,
            Err(error) => {
                // Undone here if possible; otherwise the flag has it undone later.
                let ids = [self.id.to_string()];
                discard_layers(&self.store, &mut layers, &ids)?.into_iter().for_each(Discarded::remove);
                forget_layers(&mut layers, &ids)?;
                return Err(error);
            }
        };
        layers.change(self.id.as_str(), |record| record.set_incomplete(false));
        layers.save(STABLE)?;
        drop(layers);
        replaced.remove();
        self.store.layer(&self.id)?.ok_or_else(|| Error::LayerNotFound { id: self.id.clone() })
    }

    fn install(&self) -> Result<Discarded, Error> {
        let opened = &self.store.opened;
        let replaced = opened.overlay.dirs.install(&self.staged, &self.id)?;
        let (from, to) = (self.staged.tar_split(), store::tar_split_path(opened, self.id.as_str()));
        let written = self.tar_split.metadata().map_err(Error::io("read", &from))?.len() > 0;
        if written {
            fs::rename(from, &to).map_err(Error::io("move tar-split to", to))?;
        }
        Ok(replaced)
    }

    fn existing(&self, record: &LayerRecord, digests: &LayerDigests) -> Result<Arc<Layer>, Error> {
        let layer = Layer::from_record(record).ok_or_else(|| Error::LayerNotFound { id: self.id.clone() })?;
        if layer.diff_id.as_ref() != Some(&digests.diff_id) {
            let (id, wanted) = (self.id.clone(), digests.diff_id.clone());
            return Err(Error::LayerConflict { id, existing: layer.diff_id, wanted });
        }
        Ok(Arc::new(layer))
    }

    fn check_parent(&self, layers: &Writer<'_, LayerRecord>) -> Result<(), Error> {
        let Some(parent) = &self.parent else { return Ok(()) };
        let own = layers.get(parent.as_str()).is_some_and(|row| !row.record.is_incomplete());
        if own || store::in_additional_store(&self.store.opened, parent)? {
            return Ok(());
        }
        Err(Error::ParentMissing { id: self.id.clone(), parent: parent.clone() })
    }

    fn record(&self, digests: &LayerDigests) -> LayerRecord {
        let compressed = digests.compressed_digest.as_ref();
        LayerRecord {
            id: self.id.to_string(),
            parent: self.parent.as_ref().map(LayerId::to_string).unwrap_or_default(),
            created: text::time(digests.created),
            compressed_digest: compressed.map(Digest::to_string).unwrap_or_default(),
            compressed_size: digests.compressed_size,
            diff_digest: digests.diff_id.to_string(),
            diff_size: digests.diff_size,
            compression: if compressed.is_some_and(|digest| *digest != digests.diff_id) { GZIP } else { 0 },
            uids: digests.uids.clone(),
            gids: digests.gids.clone(),
            ..LayerRecord::default()
        }
    }
}

/// Takes layers out of the store: records flagged, mounts undone, directories and tar-split files gone. The flagged
/// records stay until [`forget_layers`], so that a crash before that is noticed. The directories that come back are to
/// be removed once no lock is held. Layers that are not on record are passed over.
pub(crate) fn discard_layers(
    store: &Store,
    layers: &mut Writer<'_, LayerRecord>,
    ids: &[String],
) -> Result<Vec<Discarded>, Error> {
    let opened = &store.opened;
    flag(layers, ids, true)?;
    let mut discarded = Vec::new();
    for id in ids {
        // A record whose identifier is none has no directory that this crate would touch.
        let Ok(layer) = id.parse::<LayerId>() else { continue };
        store.release(&layer)?;
        discarded.push(opened.overlay.dirs.discard(&layer)?);
        remove_if_present(&store::tar_split_path(opened, id))?;
        remove_tree(&opened.layers.dir().join(id))?;
    }
    Ok(discarded)
}

/// Removes the records of discarded layers, when nothing on record names them any more.
pub(crate) fn forget_layers(layers: &mut Writer<'_, LayerRecord>, ids: &[String]) -> Result<(), Error> {
    let mut files: Vec<usize> = ids.iter().filter_map(|id| layers.get(id)).map(|row| row.file).collect();
    files.sort_unstable();
    files.dedup();
    for id in ids {
        layers.remove(id);
    }
    files.into_iter().try_for_each(|file| layers.save(file))
}

/// Sets or clears the flag of layers, and writes what changed.
pub(crate) fn flag(
    layers: &mut Writer<'_, LayerRecord>,
    ids: &[String],
    incomplete: bool,
) -> Result<(), Error> {
    let mut files: Vec<usize> = Vec::new();
    for id in ids {
        let Some(row) = layers.get(id) else { continue };
        if row.record.is_incomplete() != incomplete {
            files.push(row.file);
            layers.change(id, |record| record.set_incomplete(incomplete));
        }
    }
    files.sort_unstable();
    files.dedup();
    files.into_iter().try_for_each(|file| layers.save(file))
}
