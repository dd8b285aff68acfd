//! One layer: from its source into a staged directory of the store.
//!
//! ```text
//!  network task ─► channel of 16 pieces ─► blocking thread: VerifyingReader ─► unpack worker ─► staging
//! ```
//!
//! A layer that two pulls want at the same time is fetched once. What they share is the *staged* layer, which depends
//! on nothing else; each commits its own chain from the bottom, and whoever comes first commits the shared one. So no
//! pull ever waits for another one's commit, and there is no order in which they could wait for each other.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ochre_archive::worker::{Worker, WorkerError};
use ochre_archive::{Applied, ApplyOptions, VerifyingReader, apply_layer};
use ochre_storage::{LayerDigests, LayerStaging, Store};
use ochre_sys::rooted::Root;
use ochre_types::{Digest, ErrorKind, LayerId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::error::PullError;
use super::progress::Progress;
use crate::registry::blob::Download;
use crate::registry::client::RegistryClient;

/// Pieces in flight between network and unpacking; each is at most 64 KiB.
const PIECES: usize = 16;

/// A layer that is to be brought in.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: LayerId,
    pub(crate) parent: Option<LayerId>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
}

/// An unpacked and verified layer that is not visible yet.
pub(crate) struct Unpacked {
    staging: LayerStaging,
    digests: LayerDigests,
}

/// A staged layer that several pulls may hold; the first to commit takes it out.
#[derive(Clone)]
pub(crate) struct Staged(Arc<Mutex<Option<Unpacked>>>);

impl Staged {
    pub(crate) fn new(unpacked: Option<Unpacked>) -> Self {
        Self(Arc::new(Mutex::new(unpacked)))
    }

    /// Makes the layer visible unless it is already. Blocking. The lock is held meanwhile: who comes second must find
    /// the layer in the store.
    pub(crate) fn commit(&self, store: &Store, wanted: &Wanted) -> Result<(), PullError> {
        let mut slot = self.0.lock();
        if let Some(Unpacked { staging, digests }) = slot.take() {
            staging.commit(digests)?;
        } else if store.layer(&wanted.id)?.is_none() {
            return Err(PullError::LayerLost { layer: wanted.digest.clone() });
        }
        Ok(())
    }
}

type Outcome = Result<Staged, Arc<PullError>>;

/// A fetch that runs; it ends when the last pull lets go of it.
pub(crate) struct Fetch {
    outcome: watch::Receiver<Option<Outcome>>,
    task: AbortHandle,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The fetches that run, by the layer's place in the store and its blob.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<HashMap<(LayerId, Digest), Weak<Fetch>>>);

/// Where a pull takes layers from.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) store: Store,
    pub(crate) sources: Vec<Arc<RegistryClient>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) unpacker: Option<PathBuf>,
}

impl Fetches {
    /// Stages a layer, together with whoever else is at it. When somebody else's fetch fails (their registry, their
    /// credentials), ours is tried.
    pub(crate) async fn stage(
        &self,
        wanted: &Wanted,
        origin: &Origin,
    ) -> Result<(Staged, Arc<Fetch>), PullError> {
        loop {
            let (fetch, ours) = self.join_or_start(wanted, origin);
            let mut outcome = fetch.outcome.clone();
            let result = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
            match result {
                Some(Ok(staged)) => return Ok((staged, fetch)),
                Some(Err(_)) | None if !ours => {}
                Some(Err(error)) => return Err(Arc::try_unwrap(error).unwrap_or_else(PullError::Shared)),
                None => return Err(PullError::Stopped),
            }
        }
    }

    fn join_or_start(&self, wanted: &Wanted, origin: &Origin) -> (Arc<Fetch>, bool) {
        let mut running = self.0.lock();
        running.retain(|_, fetch| fetch.strong_count() > 0);
        let key = (wanted.id.clone(), wanted.digest.clone());
        let known = running.get(&key).and_then(Weak::upgrade).filter(|fetch| {
            let failed = matches!(*fetch.outcome.borrow(), Some(Err(_)));
            let died = fetch.task.is_finished() && fetch.outcome.borrow().is_none();
            !(failed || died)
        });
        if let Some(fetch) = known {
            return (fetch, false);
        }
        let (sender, outcome) = watch::channel(None);
        let (wanted, origin) = (wanted.clone(), origin.clone());
        let task = tokio::spawn(async move {
            let result = download(wanted, origin).await.map_err(Arc::new);
            // Without receivers the fetch has been dropped and this task with it.
            sender.send(Some(result)).ok();
        });
        let fetch = Arc::new(Fetch { outcome, task: task.abort_handle() });
        running.insert(key, Arc::downgrade(&fetch));
        (fetch, true)
    }
}

async fn download(wanted: Wanted, origin: Origin) -> Result<Staged, PullError> {
    let (sink, pieces) = mpsc::channel(PIECES);
    let (store, layer, unpacker) = (origin.store.clone(), wanted.clone(), origin.unpacker.clone());
    let unpacking = tokio::task::spawn_blocking(move || {
        let input = PieceReader::new(pieces);
        unpack(&store, unpacker.as_deref(), &layer, input)
    });
    let download = Download { digest: &wanted.digest, size: wanted.size, progress: &origin.progress };
    let received = download.run(&origin.sources, sink).await;
    let unpacked = unpacking.await.map_err(|_| PullError::Stopped)?;
    // A download that broke off looks like a truncated archive to the other end: it is the cause, so it is reported.
    received?;
    let staged = Staged::new(unpacked?);
    origin.progress.add_layers(1);
    Ok(staged)
}

/// Unpacks `input` in a worker (`unpacker`, without one in this process) and verifies everything that was promised about
/// it. Blocking. `None`: the layer exists by now.
pub(crate) fn unpack(
    store: &Store,
    unpacker: Option<&Path>,
    wanted: &Wanted,
    input: impl Read + Send,
) -> Result<Option<Unpacked>, PullError> {
    let layer = wanted.digest.clone();
    let mut staging = match store.begin_layer(wanted.id.clone(), wanted.parent.clone()) {
        Err(ochre_storage::Error::LayerExists { .. }) => return Ok(None),
        staging => staging?,
    };
    let mut input = VerifyingReader::new(input, wanted.digest.clone(), Some(wanted.size));
    let applied = apply(&staging, unpacker, &mut input)
        .map_err(|source| PullError::Unpack { layer: layer.clone(), source });
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) if error.kind() == ErrorKind::Exhausted => return Err(error),
        // Content that does not unpack: was it damaged on the way, or is the image like that? The digest knows.
        Err(error) => {
            return match io::copy(&mut input, &mut io::sink()).map(|_| input.finish()) {
                Ok(Err(source)) => Err(PullError::LayerBytes { layer, source }),
                Ok(Ok(_)) | Err(_) => Err(error),
            };
        }
    };
    input.finish().map_err(|source| PullError::LayerBytes { layer: layer.clone(), source })?;
    if applied.diff_id != wanted.diff_id {
        let (expected, actual) = (wanted.diff_id.clone(), applied.diff_id);
        return Err(PullError::DiffId { layer, expected, actual });
    }
    if applied.replaced > 0 {
        // The archive cannot be put together again from files that were replaced; podman makes another one without it.
        staging.drop_tar_split()?;
    }
    let digests = LayerDigests {
        compressed_digest: Some(layer),
        compressed_size: i64::try_from(wanted.size).unwrap_or(i64::MAX),
        diff_id: applied.diff_id,
        diff_size: i64::try_from(applied.diff_size).unwrap_or(i64::MAX),
        uids: applied.uids,
        gids: applied.gids,
        created: Timestamp::now(),
    };
    Ok(Some(Unpacked { staging, digests }))
}

fn apply(
    staging: &LayerStaging,
    unpacker: Option<&Path>,
    input: &mut (impl Read + Send),
) -> Result<Applied, WorkerError> {
    let options = ApplyOptions { device_nodes: true, ..ApplyOptions::default() };
    match unpacker {
        Some(program) => {
            let (root, tar_split) = (staging.root().as_fd(), staging.tar_split_file());
            Worker::start(program, root, tar_split, &options)?.run(input)
        }
        None => {
            let root = staging.root().as_fd().try_clone_to_owned();
            let root = Root::from_fd(root.map_err(|source| WorkerError::Feed { source })?);
            Ok(apply_layer(input, &root, Some(&mut staging.tar_split()), &options)?)
        }
    }
}

/// Reads what comes out of the channel. Blocking.
pub(crate) struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl PieceReader {
    pub(crate) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
