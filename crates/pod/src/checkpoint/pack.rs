//! From the work directory, the bundle and the writable layer to one archive in CRI-O's layout.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ochre_types::{ContainerId, Timestamp};
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, major, minor};
use serde_json::json;

use super::archive::{Archive, Kind, Meta};
use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;

/// CRIU's images, in the work directory and in the archive.
pub(super) const IMAGES: &str = "checkpoint";
/// What the container has changed.
const CHANGES: &str = "rootfs-diff.tar";
/// Where the log goes, by the name of the annotation that has its path.
const LOG: &str = "io.kubernetes.cri-o.LogPath";
/// Directories deeper than that fail the checkpoint; each costs a descriptor.
const DEEPEST: usize = 256;

/// Writes the archive beside its place and moves it there; nothing stays of a failure.
pub(super) fn pack(
    engine: &Engine,
    container: &Container,
    work: &Path,
    location: &Path,
) -> Result<(), Error> {
    let deleted = changes(engine, container, &work.join(CHANGES))?;
    let part = Part { path: part(location, &container.id) };
    let failed = |source| Error::io("writing checkpoint", &part.path)(source);
    let file = create(&part.path).map_err(failed)?;
    let mut archive = Archive::new(BufWriter::new(file));
    let texts = texts(engine, container, &deleted)?;
    let mut write = || -> io::Result<()> {
        for (name, text) in &texts {
            archive.add_text(name, meta(Timestamp::now()), text)?;
        }
        for name in ["stats-dump", "dump.log", CHANGES] {
            add_file(&mut archive, &work.join(name), name)?;
        }
        if let Some(log) = container.made().and_then(|made| made.log_path.as_ref()) {
            add_file(&mut archive, log, LOG)?;
        }
        archive.add(Path::new(IMAGES), Kind::Directory, Meta { mode: 0o700, ..meta(Timestamp::now()) })?;
        let images = open_dir(rustix::fs::CWD, &work.join(IMAGES))?;
        tree(&mut archive, &images, Path::new(IMAGES), DEEPEST, &mut Vec::new())
    };
    write().map_err(failed)?;
    let file = archive.finish().map_err(failed)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&part.path, location).map_err(Error::io("placing checkpoint", location))
}

/// Where the archive is written before it is whole.
pub(super) fn part(location: &Path, id: &ContainerId) -> PathBuf {
    let mut name = location.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", id.short()));
    location.with_file_name(name)
}

/// A file that is removed unless it has left for its place.
struct Part {
    path: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone to its place, or never made.
        drop(std::fs::remove_file(&self.path));
    }
}

fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn meta(at: Timestamp) -> Meta {
    Meta { mode: 0o600, uid: 0, gid: 0, modified: at.nanos() / 1_000_000_000 }
}

/// The documents about the container.
fn texts(
    engine: &Engine,
    container: &Container,
    deleted: &[String],
) -> Result<[(&'static str, Vec<u8>); 4], Error> {
    let spec: Spec = crate::bundle::read(engine, container)?;
    let made = container.made();
    let handler = engine.node.handlers.get(&container.sandbox.handler)?;
    let config = json!({
        "id": container.id,
        "name": container.config.metadata.name,
        "rootfsImage": made.map(|made| made.image_name.as_str()),
        "rootfsImageRef": made.map(|made| made.image_id.to_string()),
        "rootfsImageName": container.config.user_specified_image,
        "runtime": handler.name,
        "createdTime": rfc3339(container.created_at),
        "checkpointedTime": rfc3339(Timestamp::now()),
        "restored": false,
    });
    let binds: Vec<_> = spec
        .mounts()
        .iter()
        .flatten()
        .filter(|mount| mount.typ().as_deref() == Some("bind"))
        .map(|mount| {
            let is_dir = mount.source().as_ref().is_some_and(|source| source.is_dir());
            let kind = if is_dir { "directory" } else { "file" };
            json!({ "source": mount.source(), "destination": mount.destination(), "file_type": kind })
        })
        .collect();
    Ok([
        ("config.dump", config.to_string().into_bytes()),
        ("spec.dump", json!(spec).to_string().into_bytes()),
        ("bind.mounts", json!(binds).to_string().into_bytes()),
        ("deleted.files", json!(deleted).to_string().into_bytes()),
    ])
}

/// `2026-11-21T08:00:00.000000000Z`, by Howard Hinnant's days-to-civil rule.
fn rfc3339(at: Timestamp) -> String {
    let nanos = at.nanos().max(0);
    let (days, second) = (nanos / 86_400_000_000_000, nanos / 1_000_000_000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", nanos % 1_000_000_000)
}

/// Writes the writable layer as an archive; returns what the container has deleted.
fn changes(engine: &Engine, container: &Container, path: &Path) -> Result<Vec<String>, Error> {
    let layer = engine.node.store.container_changes(&container.id)?;
    let failed = |source| Error::io("writing", path)(source);
    let mut archive = Archive::new(BufWriter::new(create(path).map_err(failed)?));
    let mut deleted = Vec::new();
    tree(&mut archive, &layer, Path::new(""), DEEPEST, &mut deleted).map_err(failed)?;
    archive.finish().map_err(failed)?;
    Ok(deleted)
}

/// Adds a regular file if it is there; a link in its place is not followed.
fn add_file(archive: &mut Archive<BufWriter<File>>, path: &Path, name: &str) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(());
    }
    let own = Meta { mode: 0o600, modified: found.mtime(), ..Meta::default() };
    archive.add_file(Path::new(name), own, found.len(), file)
}

fn open_dir(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, path, flags, Mode::empty())?)
}

/// Adds everything in a directory. Overlay's marks of deleted files are told in `deleted` instead.
fn tree(
    archive: &mut Archive<BufWriter<File>>,
    directory: &OwnedFd,
    prefix: &Path,
    depth: usize,
    deleted: &mut Vec<String>,
) -> io::Result<()> {
    let Some(depth) = depth.checked_sub(1) else { return Err(io::ErrorKind::QuotaExceeded.into()) };
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = prefix.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let own = owner(&found);
        let device = (major(found.st_rdev), minor(found.st_rdev));
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                archive.add(&path, Kind::Directory, own)?;
                let child =
                    open_dir(directory.as_fd(), Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())))?;
                tree(archive, &child, &path, depth, deleted)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
                archive.add_file(&path, own, u64::try_from(found.st_size).unwrap_or(0), file)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
                let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes())).to_owned();
                archive.add(&path, Kind::Symlink(&target), own)?;
            }
            FileType::Fifo => archive.add(&path, Kind::Fifo, own)?,
            FileType::CharacterDevice if device == (0, 0) => {
                deleted.push(format!("/{}", path.to_string_lossy()));
            }
            FileType::CharacterDevice => archive.add(&path, Kind::Character(device.0, device.1), own)?,
            FileType::BlockDevice => archive.add(&path, Kind::Block(device.0, device.1), own)?,
            // A socket is nothing without its process, which makes it again.
            FileType::Socket | FileType::Unknown => {}
        }
    }
    Ok(())
}

fn owner(found: &Stat) -> Meta {
    Meta { mode: found.st_mode & 0o7777, uid: found.st_uid, gid: found.st_gid, modified: found.st_mtime }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_827_696, "2000-02-29T12:34:56"),
            (1_740_787_199, "2025-02-28T23:59:59"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            let text = rfc3339(Timestamp::from_nanos(seconds * 1_000_000_000 + 5));
            assert_eq!(text, format!("{expected}.000000005Z"));
        }
    }

    #[test]
    fn a_layer_is_packed_without_its_whiteouts_which_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layer");
        std::fs::create_dir_all(layer.join("a/b")).unwrap();
        std::fs::write(layer.join("a/b/new"), "text").unwrap();
        std::os::unix::fs::symlink("../new", layer.join("a/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            layer.join("a/gone"),
            FileType::CharacterDevice,
            Mode::empty(),
            rustix::fs::makedev(0, 0),
        )
        .unwrap();
        let tar = dir.path().join("x.tar");
        let mut archive = Archive::new(BufWriter::new(create(&tar).unwrap()));
        let mut deleted = Vec::new();
        let opened = open_dir(rustix::fs::CWD, &layer).unwrap();
        tree(&mut archive, &opened, Path::new(""), 4, &mut deleted).unwrap();
        archive.finish().unwrap();
        assert_eq!(deleted, ["/a/gone"]);
        let listed = std::process::Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut names: Vec<_> = listed.lines().map(|line| line.trim_end_matches('/')).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "a/b", "a/b/new", "a/link"]);
        assert_eq!(std::fs::metadata(&tar).unwrap().mode() & 0o777, 0o600);
        let mut again = Archive::new(BufWriter::new(create(&tar).unwrap()));
        assert!(tree(&mut again, &opened, Path::new(""), 1, &mut deleted).is_err(), "deeper than allowed");
    }
}
