//! A layout in a tar archive, unpacked into a private directory for the time of the import.
//!
//! The directory is locked (`flock`) as long as its import runs. A crash leaves it behind unlocked, and the next start
//! removes it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ochre_archive::worker::{Worker, WorkerError};
use ochre_archive::{Applied, ApplyOptions, Limits, apply_layer};
use ochre_sys::rooted::Root;
use rustix::fs::{FlockOperation, OFlags};

use super::layout::LayoutError;

/// Most members: a thousand images with layers and documents of their own.
const MEMBERS_MAX: u64 = 100_000;
/// How the directories begin.
const PREFIX: &str = "import-";

/// An unpacked archive. Dropping it removes it.
pub(super) struct Unpacked {
    path: PathBuf,
    _lock: File,
}

/// Removes what imports left behind that did not end. Blocking.
pub(crate) fn sweep(temp_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(temp_dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && lock(&entry.path()).is_ok() {
            remove(&entry.path());
        }
    }
}

fn lock(directory: &Path) -> std::io::Result<File> {
    let file = File::open(directory)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!(path = %directory.display(), %error, "an unpacked archive could not be removed");
    }
}

impl Unpacked {
    /// Unpacks `archive` (plain, gzip or zstd) below `temp_dir`, in a worker (`unpacker`; without one in this process).
    /// Blocking.
    pub(super) fn from(
        archive: &Path,
        temp_dir: &Path,
        unpacker: Option<&Path>,
    ) -> Result<Self, LayoutError> {
        let failed = |place: &Path| {
            let place = place.display().to_string();
            move |source| LayoutError::Read { place, source }
        };
        // A FIFO in the archive's place must not hold the import up.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(archive).map_err(failed(archive))?;
        if !file.metadata().map_err(failed(archive))?.is_file() {
            return Err(LayoutError::NotARegularFile { place: archive.display().to_string() });
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(temp_dir).map_err(failed(temp_dir))?;
        let path = temp_dir.join(format!("{PREFIX}{}", ochre_types::ImageId::generate().short()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        let unpacked = Self { _lock: lock(&path).map_err(failed(&path))?, path };
        let root = Root::open(&unpacked.path).map_err(failed(&unpacked.path))?;
        let applied = apply(file, &root, unpacker)
            .map_err(|source| LayoutError::Archive { source: Box::new(source) })?;
        match applied.replaced {
            0 => Ok(unpacked),
            count => Err(LayoutError::Ambiguous { count }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The way layers are unpacked, without devices and without keeping the archive's form.
fn apply(mut archive: File, root: &Root, unpacker: Option<&Path>) -> Result<Applied, WorkerError> {
    let limits = Limits { max_entries: MEMBERS_MAX, ..Limits::default() };
    let options = ApplyOptions { limits, device_nodes: false };
    let Some(program) = unpacker else { return Ok(apply_layer(archive, root, None, &options)?) };
    let nowhere = File::options().write(true).open("/dev/null");
    let nowhere = nowhere.map_err(|source| WorkerError::Feed { source })?;
    Worker::start(program, root.as_fd(), nowhere.as_fd(), &options)?.run(&mut archive)
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_import_uses_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["import-dead", "import-alive", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let alive = lock(&dir.path().join("import-alive")).unwrap();
        sweep(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        assert!(!left("import-dead") && left("import-alive") && left("other"));
        drop(alive);
        sweep(&dir.path().join("none"));
    }
}
