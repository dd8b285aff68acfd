//! Bringing in an artifact: the blobs that are missing, each verified, then the entry that makes it visible.

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use ochre_archive::VerifyingReader;
use ochre_types::{Digest, ImageId};
use tokio::sync::mpsc;

use super::error::ArtifactError;
use super::layout::{Layout, NewArtifact, StagedBlob};
use crate::images::Service;
use crate::pull::blocking;
use crate::pull::error::PullError;
use crate::pull::layer::PieceReader;
use crate::pull::progress::Progress;
use crate::pull::resolve::Found;
use crate::registry::blob::Download;
use crate::registry::client::RegistryClient;

/// Blobs that are downloaded at the same time.
const PARALLEL: usize = 3;
/// Pieces in flight between network and disk.
const PIECES: usize = 16;

impl Service {
    /// Keeps the artifact behind a manifest under `name`, which no image has any more then.
    pub(crate) async fn pull_artifact(
        &self,
        found: Found,
        sources: &[Arc<RegistryClient>],
        name: String,
        progress: &Arc<Progress>,
    ) -> Result<ImageId, PullError> {
        let layout = &self.artifacts;
        let blobs = std::iter::once(&found.manifest.config).chain(&found.manifest.layers);
        let mut needed: Vec<(Digest, u64)> = blobs.map(|blob| (blob.digest.clone(), blob.size)).collect();
        needed.sort();
        needed.dedup();
        let missing: Vec<(Digest, u64)> =
            needed.iter().filter(|(digest, size)| !layout.has(digest, *size)).cloned().collect();
        progress.expect(missing.iter().map(|(_, size)| *size).sum(), needed.len());
        progress.add_layers(needed.len() - missing.len());
        let staged = stream::iter(missing)
            .map(|wanted| fetch(layout, sources, wanted, progress))
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        let new = NewArtifact { name: name.clone(), manifest: found.chosen.1, needed, staged };
        let (layout, store) = (Arc::clone(layout), self.config.store.clone());
        blocking(move || {
            let id = layout.add(new)?;
            if let Some(image) = store.image_by_name(&name)? {
                let rest = image.names.iter().filter(|known| **known != name).cloned().collect();
                store.set_image_names(&image.id, rest)?;
            }
            Ok(id)
        })
        .await
    }
}

async fn fetch(
    layout: &Arc<Layout>,
    sources: &[Arc<RegistryClient>],
    (digest, size): (Digest, u64),
    progress: &Progress,
) -> Result<StagedBlob, PullError> {
    let (sink, pieces) = mpsc::channel(PIECES);
    let (layout, wanted) = (Arc::clone(layout), digest.clone());
    let writing = tokio::task::spawn_blocking(move || write(&layout, wanted, size, PieceReader::new(pieces)));
    let received = Download { digest: &digest, size, progress }.run(sources, sink).await;
    let written = writing.await.map_err(|_| PullError::Stopped)?;
    // A download that broke off looks like a short blob to the other end: it is the cause, so it is reported.
    received?;
    let staged = written?;
    progress.add_layers(1);
    Ok(staged)
}

/// Writes and verifies a blob. Blocking.
fn write(layout: &Layout, digest: Digest, size: u64, pieces: PieceReader) -> Result<StagedBlob, PullError> {
    let failed = |source| ArtifactError::io("write", layout.blob(&digest))(source);
    let mut file = std::fs::File::from(layout.stage(digest.algorithm().name())?);
    let mut input = VerifyingReader::new(pieces, digest.clone(), Some(size));
    let copied = io::copy(&mut input, &mut file).and_then(|_| file.flush()).and_then(|()| file.sync_data());
    match (copied, input.finish()) {
        (Err(error), _) if error.raw_os_error().is_some() => Err(failed(error).into()),
        (_, Err(source)) => Err(PullError::LayerBytes { layer: digest, source }),
        (Err(error), Ok(_)) => Err(failed(error).into()),
        (Ok(()), Ok(_)) => Ok(StagedBlob { file: file.into(), digest }),
    }
}
