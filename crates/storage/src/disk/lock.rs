//! Lock files and the token of the last writer.
//!
//! Locks are taken in this order and given back in any: `storage.lock`, `layers.lock`, `images.lock`,
//! `containers.lock`, `mountpoints.lock`. It is the order of containers/storage, so two programs cannot wait for each
//! other. The first 64 bytes of a lock file identify the last write; a writer replaces them *before* it writes the
//! records, so that a reader sees a change even when the writer died in between.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ochre_sys::lock::{self, Kind};
use parking_lot::{Mutex, MutexGuard};

use crate::Error;

/// How long a lock may be held by others before an operation gives up. podman holds `layers.lock` while it unpacks a
/// layer, which takes minutes for large ones.
const PATIENCE: Duration = Duration::from_secs(300);

/// Length of the token; other versions of the Go code expect it never to change.
const TOKEN_LENGTH: usize = 64;

/// The last write to what a lock protects. Empty before the first one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Token(Vec<u8>);

/// One lock file.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    /// Only reads tokens; `None` for a store that is read only and has no lock file.
    peek: Option<File>,
    /// Threads of this process queue here instead of polling the file.
    queue: Mutex<()>,
}

/// A shared lock; given back when dropped. Without a file for a read-only store that has none.
#[derive(Debug)]
pub(crate) struct Shared {
    _file: Option<File>,
}

/// An exclusive lock; given back when dropped.
#[derive(Debug)]
pub(crate) struct Exclusive<'a> {
    // Declared first: the file lock goes before the next thread of this process is let in.
    file: File,
    path: &'a Path,
    _queue: MutexGuard<'a, ()>,
}

impl LockFile {
    /// Opens a lock file, making it if it is missing.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let peek = Some(open_for_writing(&path)?);
        Ok(Self { path, peek, queue: Mutex::new(()) })
    }

    /// Opens the lock file of a store that may lie on a read-only file system.
    pub(crate) fn open_read_only(path: PathBuf) -> Self {
        let peek = File::open(&path).ok();
        Self { path, peek, queue: Mutex::new(()) }
    }

    /// The token now, without any lock: good enough to notice a change.
    pub(crate) fn peek(&self) -> Result<Token, Error> {
        self.peek.as_ref().map_or_else(|| Ok(Token::default()), |file| read_token(file, &self.path))
    }

    /// Waits for everybody else to finish.
    pub(crate) fn exclusive(&self) -> Result<Exclusive<'_>, Error> {
        let late = || Error::LockTimeout { path: self.path.clone(), waited: PATIENCE };
        self.exclusive_within(PATIENCE)?.ok_or_else(late)
    }

    /// Waits for everybody else to finish, but not longer than that. `None` when they did not.
    pub(crate) fn exclusive_within(&self, patience: Duration) -> Result<Option<Exclusive<'_>>, Error> {
        let Some(queue) = self.queue.try_lock_for(patience) else { return Ok(None) };
        let file = open_for_writing(&self.path)?;
        let locked =
            lock::lock_within(&file, Kind::Exclusive, patience).map_err(Error::io("lock", &self.path))?;
        Ok(locked.then_some(Exclusive { file, path: &self.path, _queue: queue }))
    }

    /// Waits for writers to finish.
    pub(crate) fn shared(&self) -> Result<Shared, Error> {
        let Some(file) = self.open_for_reading()? else { return Ok(Shared { _file: None }) };
        if !lock::lock_within(&file, Kind::Shared, PATIENCE).map_err(Error::io("lock", &self.path))? {
            return Err(Error::LockTimeout { path: self.path.clone(), waited: PATIENCE });
        }
        Ok(Shared { _file: Some(file) })
    }

    /// `None` while somebody writes.
    pub(crate) fn try_shared(&self) -> Result<Option<Shared>, Error> {
        let Some(file) = self.open_for_reading()? else { return Ok(Some(Shared { _file: None })) };
        let locked = lock::try_lock(&file, Kind::Shared).map_err(Error::io("lock", &self.path))?;
        Ok(locked.then_some(Shared { _file: Some(file) }))
    }

    fn open_for_reading(&self) -> Result<Option<File>, Error> {
        // Each lock needs an open file description of its own.
        if self.peek.is_none() {
            return Ok(None);
        }
        File::open(&self.path).map(Some).map_err(Error::io("open", &self.path))
    }
}

impl Exclusive<'_> {
    /// Announces a write. Call it before the records are written.
    pub(crate) fn announce_write(&self) -> Result<Token, Error> {
        let token = new_token();
        self.file.write_all_at(&token.0, 0).map_err(Error::io("write", self.path))?;
        Ok(token)
    }
}

fn open_for_writing(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    options.open(path).map_err(Error::io("open", path))
}

fn read_token(file: &File, path: &Path) -> Result<Token, Error> {
    let mut bytes = vec![0; TOKEN_LENGTH];
    let mut filled = 0;
    while filled < TOKEN_LENGTH {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    bytes.truncate(filled);
    Ok(Token(bytes))
}

/// Time, counter and process id make the token unique on this host, random bytes across process namespaces.
fn new_token() -> Token {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut bytes = vec![0; TOKEN_LENGTH];
    bytes[..8].copy_from_slice(&ochre_types::Timestamp::now().nanos().to_le_bytes());
    bytes[8..16].copy_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    bytes[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    // Two random identifiers would do; a generator that fails leaves zeros, and the rest is unique on this host.
    if getrandom::fill(&mut bytes[20..]).is_err() {
        bytes[20..].fill(0);
    }
    Token(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_changes_the_64_bytes_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = LockFile::open(dir.path().join("x.lock")).unwrap();
        let before = file.peek().unwrap();
        drop(file.exclusive().unwrap());
        assert_eq!(file.peek().unwrap(), before);
        let written = file.exclusive().unwrap().announce_write().unwrap();
        assert_ne!(written, before);
        assert_eq!(file.peek().unwrap(), written);
        assert_eq!(std::fs::metadata(dir.path().join("x.lock")).unwrap().len(), 64);
        let again = file.exclusive().unwrap().announce_write().unwrap();
        assert_ne!(again, written);
    }

    #[test]
    fn readers_do_not_wait_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let file = LockFile::open(dir.path().join("x.lock")).unwrap();
        let writer = file.exclusive().unwrap();
        assert!(file.try_shared().unwrap().is_none());
        drop(writer);
        assert!(file.try_shared().unwrap().is_some());
    }
}
