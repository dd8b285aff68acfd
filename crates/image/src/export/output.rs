//! Where an export goes: a directory or a tar archive, made beside its place under another name and renamed when it is
//! complete and on the disk. Dropped before that, nothing of it is left.
//!
//! A member's name is often its digest, known only when it is written. In a directory it is renamed then; in an archive
//! the space of its header is left free and filled in.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ochre_archive::tar::{BLOCK, Heading, padding, write_end};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::error::ExportError;

const BUFFER: usize = 128 * 1024;
/// A member of a directory that has no name yet.
const UNNAMED: &str = "unnamed";
/// What shows that a directory is a layout.
const MARKER: &str = "oci-layout";

/// Whether the output is a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Directory,
    Archive,
}

/// An output that is being written.
pub(super) struct Output {
    path: PathBuf,
    temporary: PathBuf,
    replace: bool,
    archive: Option<BufWriter<File>>,
    /// Names written so far.
    names: Vec<String>,
    finished: bool,
}

impl Output {
    /// Starts the output for `path`; what is there is only replaced if wanted.
    pub(super) fn create(path: &Path, shape: Shape, replace: bool) -> Result<Self, ExportError> {
        match std::fs::symlink_metadata(path) {
            Ok(_) if !replace => return Err(ExportError::Exists),
            Ok(found) if shape == Shape::Archive && !found.is_file() => {
                return Err(ExportError::NotReplaced { expected: "archive" });
            }
            Ok(_) if shape == Shape::Directory && !path.join(MARKER).is_file() => {
                return Err(ExportError::NotReplaced { expected: "OCI image layout" });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        let name = path.file_name().ok_or(ExportError::NoName)?.to_string_lossy();
        let name: String = name.chars().take(40).collect();
        let unique = ochre_types::ImageId::generate();
        let temporary = parent(path).join(format!(".{name}.{}.partial", unique.short()));
        let archive = match shape {
            Shape::Directory => {
                std::fs::DirBuilder::new().mode(0o700).create(&temporary)?;
                None
            }
            Shape::Archive => Some(BufWriter::with_capacity(BUFFER, create(&temporary)?)),
        };
        let path = path.to_owned();
        let output = Self { path, temporary, replace, archive, names: Vec::new(), finished: false };
        if shape == Shape::Directory {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(output.temporary.join("blobs/sha256"))?;
        }
        Ok(output)
    }

    /// Writes a member; `write` returns its name. Content of a name that is there already is dropped.
    pub(super) fn member<T>(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<(String, T), ExportError>,
    ) -> Result<T, ExportError> {
        let name = match &mut self.archive {
            Some(archive) => {
                let start = archive.stream_position()?;
                archive.write_all(&[0; BLOCK])?;
                let (name, result) = write(archive)?;
                let size = archive.stream_position()? - start - BLOCK as u64;
                if self.names.contains(&name) {
                    archive.seek(SeekFrom::Start(start))?;
                    archive.get_ref().set_len(start)?;
                    return Ok(result);
                }
                archive.write_all(padding(size))?;
                archive.flush()?;
                let heading =
                    Heading { flag: b'0', name: name.as_bytes(), mode: 0o644, size, ..Heading::default() };
                archive.get_ref().write_all_at(&heading.blocks(), start)?;
                (name, result)
            }
            None => {
                let unnamed = self.temporary.join(UNNAMED);
                let mut file = BufWriter::with_capacity(BUFFER, create(&unnamed)?);
                let (name, result) = write(&mut file)?;
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                std::fs::rename(unnamed, self.temporary.join(&name))?;
                (name, result)
            }
        };
        self.names.push(name.0);
        Ok(name.1)
    }

    /// Puts the output into its place.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        if let Some(mut archive) = self.archive.take() {
            write_end(&mut archive)?;
            archive.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        } else {
            for directory in ["blobs/sha256", "blobs", ""] {
                File::open(self.temporary.join(directory))?.sync_all()?;
            }
        }
        self.rename()?;
        self.finished = true;
        File::open(parent(&self.path))?.sync_all()?;
        Ok(())
    }

    fn rename(&self) -> Result<(), ExportError> {
        let (from, to) = (&self.temporary, &self.path);
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) if self.replace => {}
            Err(Errno::EXIST) => return Err(ExportError::Exists),
            // Network file systems cannot say "unless it exists".
            Err(Errno::INVAL) if self.replace || std::fs::symlink_metadata(to).is_err() => {}
            Err(Errno::INVAL) => return Err(ExportError::Exists),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        if from.is_dir() && to.exists() {
            rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(io::Error::from)?;
            // The old layout has the temporary name now.
            std::fs::remove_dir_all(from)?;
        } else {
            std::fs::rename(from, to)?;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.archive = None;
        let removed = match self.temporary.is_dir() {
            true => std::fs::remove_dir_all(&self.temporary),
            false => std::fs::remove_file(&self.temporary),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.temporary.display(), %error, "an unfinished export could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Images may hold secrets; who may read them decides the operator.
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
