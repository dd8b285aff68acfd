//! One table of records: its JSON files, its lock, and the snapshot readers are served from.
//!
//! Readers never wait. [`Table::current`] compares the lock's token and the files' identities with those of the
//! snapshot, and reads again only when something changed *and* the shared lock is free at once; during somebody's write
//! the last snapshot is served. Writers hold the exclusive lock, start from fresh rows, and publish what they wrote.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ochre_sys::atomic::{self, Durability};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lock::{Exclusive, LockFile, Shared, Token};
use crate::Error;

/// No store comes near it: a record is about a kilobyte.
const FILE_LIMIT: u64 = 256 << 20;

/// A kind of record and what readers want of it.
pub(crate) trait Record: Serialize + DeserializeOwned + Clone {
    /// A record as readers see it.
    type Item;
    /// What a snapshot offers to readers.
    type View;

    /// Unique in the table.
    fn key(&self) -> &str;

    /// `None` for a record that is not shown.
    fn item(&self) -> Option<Self::Item>;

    /// Builds what readers see, from the items in the order of the files.
    fn view(items: Vec<Arc<Self::Item>>) -> Self::View;
}

/// A record and the file it lies in. Rows are shared between snapshots, so that a write costs what it changes: neither
/// the item nor the text of an unchanged record is made again.
#[derive(Debug)]
pub(crate) struct Row<R: Record> {
    /// Index into the table's files.
    pub(crate) file: usize,
    pub(crate) record: R,
    item: OnceLock<Option<Arc<R::Item>>>,
    text: OnceLock<String>,
}

/// Records at one moment.
pub(crate) struct Snapshot<R: Record> {
    version: Version,
    rows: Vec<Arc<Row<R>>>,
    pub(crate) view: R::View,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Version {
    token: Token,
    files: Vec<Option<FileIdentity>>,
}

/// Every write replaces the file, so a change shows even when the clock is coarse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A record file of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableFile {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

/// Records of one kind with their lock.
pub(crate) struct Table<R: Record> {
    dir: PathBuf,
    files: &'static [TableFile],
    lock: LockFile,
    snapshot: RwLock<Arc<Snapshot<R>>>,
}

/// The exclusive lock of a table and its rows. Changes reach the disk with [`Writer::save`].
pub(crate) struct Writer<'a, R: Record> {
    table: &'a Table<R>,
    lock: Exclusive<'a>,
    pub(crate) rows: Vec<Arc<Row<R>>>,
}

impl<R: Record> Table<R> {
    /// Opens the table in `dir`, which exists, and reads it once.
    pub(crate) fn open(dir: PathBuf, lock: &str, files: &'static [TableFile]) -> Result<Self, Error> {
        let lock = LockFile::open(dir.join(lock))?;
        Self::load_first(dir, lock, files)
    }

    /// Opens the table of a store that is only read.
    pub(crate) fn open_read_only(
        dir: PathBuf,
        lock: &str,
        files: &'static [TableFile],
    ) -> Result<Self, Error> {
        let lock = LockFile::open_read_only(dir.join(lock));
        Self::load_first(dir, lock, files)
    }

    fn load_first(dir: PathBuf, lock: LockFile, files: &'static [TableFile]) -> Result<Self, Error> {
        let empty = Snapshot { version: Version::default(), rows: Vec::new(), view: R::view(Vec::new()) };
        let table = Self { dir, files, lock, snapshot: RwLock::new(Arc::new(empty)) };
        // podman may hold the lock for minutes. Files are replaced whole, so each is consistent without it; what the
        // write that is going on changes is noticed by the next reader.
        let held = table.lock.try_shared()?;
        table.reload(&held)?;
        Ok(table)
    }

    /// The records as others see them now, or as they were before the write that is going on.
    pub(crate) fn current(&self) -> Result<Arc<Snapshot<R>>, Error> {
        let known = Arc::clone(&self.snapshot.read());
        if self.version()? == known.version {
            return Ok(known);
        }
        match self.lock.try_shared()? {
            Some(held) => self.reload(&held),
            None => Ok(known),
        }
    }

    /// Holds off writers. The rows seen through [`Table::current`] are fresh and stay so.
    pub(crate) fn read(&self) -> Result<(Shared, Arc<Snapshot<R>>), Error> {
        let held = self.lock.shared()?;
        let snapshot = self.reload(&held)?;
        Ok((held, snapshot))
    }

    /// Waits for the exclusive lock and takes fresh rows.
    pub(crate) fn write(&self) -> Result<Writer<'_, R>, Error> {
        let lock = self.lock.exclusive()?;
        let rows = self.reload(&lock)?.rows.clone();
        Ok(Writer { table: self, lock, rows })
    }

    /// As [`Table::write`], but gives up after `patience`.
    pub(crate) fn write_within(&self, patience: Duration) -> Result<Option<Writer<'_, R>>, Error> {
        let Some(lock) = self.lock.exclusive_within(patience)? else { return Ok(None) };
        let rows = self.reload(&lock)?.rows.clone();
        Ok(Some(Writer { table: self, lock, rows }))
    }

    /// The directory of the table.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads again if needed. The argument proves that no write is going on; publishing happens under the lock, so an
    /// older snapshot never replaces a newer one.
    fn reload<L>(&self, _held: &L) -> Result<Arc<Snapshot<R>>, Error> {
        let version = self.version()?;
        let known = Arc::clone(&self.snapshot.read());
        if version == known.version {
            return Ok(known);
        }
        let mut rows = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            let records: Vec<R> = self.read_file(file.name)?;
            rows.extend(records.into_iter().map(|record| Arc::new(Row::new(index, record))));
        }
        // The Go library keeps the first of two records with one id, too.
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.record.key().to_owned()));
        Ok(self.publish(version, rows))
    }

    fn publish(&self, version: Version, rows: Vec<Arc<Row<R>>>) -> Arc<Snapshot<R>> {
        let view = R::view(rows.iter().filter_map(|row| row.item()).collect());
        let snapshot = Arc::new(Snapshot { version, rows, view });
        *self.snapshot.write() = Arc::clone(&snapshot);
        snapshot
    }

    fn read_file(&self, name: &str) -> Result<Vec<R>, Error> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let mut content = Vec::new();
        file.take(FILE_LIMIT + 1).read_to_end(&mut content).map_err(Error::io("read", &path))?;
        if content.len() as u64 > FILE_LIMIT {
            return Err(Error::TooLarge { path, limit: FILE_LIMIT });
        }
        if content.is_empty() {
            return Ok(Vec::new());
        }
        let records: Option<Vec<R>> =
            serde_json::from_slice(&content).map_err(|source| Error::Corrupt { path, source })?;
        Ok(records.unwrap_or_default())
    }

    fn version(&self) -> Result<Version, Error> {
        let files =
            self.files.iter().map(|file| identity(&self.dir.join(file.name))).collect::<Result<_, _>>()?;
        Ok(Version { token: self.lock.peek()?, files })
    }
}

impl<R: Record> Row<R> {
    fn new(file: usize, record: R) -> Self {
        Self { file, record, item: OnceLock::new(), text: OnceLock::new() }
    }

    fn item(&self) -> Option<Arc<R::Item>> {
        self.item.get_or_init(|| self.record.item().map(Arc::new)).clone()
    }

    fn text(&self) -> Result<&str, serde_json::Error> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let text = serde_json::to_string(&self.record)?;
        Ok(self.text.get_or_init(|| text))
    }
}

impl<R: Record> Writer<'_, R> {
    /// Adds a record to one of the table's files.
    pub(crate) fn push(&mut self, file: usize, record: R) {
        self.rows.push(Arc::new(Row::new(file, record)));
    }

    /// The record of that key.
    pub(crate) fn get(&self, key: &str) -> Option<&Row<R>> {
        self.rows.iter().find(|row| row.record.key() == key).map(Arc::as_ref)
    }

    /// Changes the record of that key, if there is one.
    pub(crate) fn change(&mut self, key: &str, change: impl FnOnce(&mut R)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.record.key() == key) {
            let mut record = row.record.clone();
            change(&mut record);
            *row = Arc::new(Row::new(row.file, record));
        }
    }

    /// Takes a record out. Returns whether it was there.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.record.key() != key);
        self.rows.len() != before
    }

    /// Writes one of the table's files and publishes the rows. On an error the rows on disk count: the next lock reads
    /// them again.
    pub(crate) fn save(&mut self, file: usize) -> Result<(), Error> {
        self.lock.announce_write()?;
        let TableFile { name, durability } = self.table.files[file];
        let path = self.table.dir.join(name);
        let mut content = String::from("[");
        for row in self.rows.iter().filter(|row| row.file == file) {
            if content.len() > 1 {
                content.push(',');
            }
            let text = row.text().map_err(|source| Error::Corrupt { path: path.clone(), source })?;
            content.push_str(text);
        }
        content.push(']');
        let dir = File::open(&self.table.dir).map_err(Error::io("open", &self.table.dir))?;
        atomic::write(&dir, name, content.as_bytes(), 0o600, durability).map_err(Error::io("write", path))?;
        let version = self.table.version()?;
        self.table.publish(version, self.rows.clone());
        Ok(())
    }

    /// Removes temporary files that a writer left when it died. Nobody writes while this lock is held.
    pub(crate) fn sweep_temporary_files(&self) -> Result<(), Error> {
        let dir = &self.table.dir;
        for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let entry = entry.map_err(Error::io("read", dir))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = self.table.files.iter().any(|file| name.starts_with(&format!(".{}.", file.name)));
            if ours && name.ends_with(".tmp") {
                std::fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> Result<Option<FileIdentity>, Error> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(FileIdentity {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests;
