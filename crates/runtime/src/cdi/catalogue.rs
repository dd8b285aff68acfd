//! The devices that the files of a node describe.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};

use super::format::{Document, Edits, Syntax};
use super::name::QualifiedName;
use super::{CdiError, FileError};

/// Largest file.
const FILE_LIMIT: u64 = 4 << 20;
/// Most files of one directory.
const FILES: usize = 1000;

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    files: Vec<File>,
    devices: BTreeMap<QualifiedName, Place>,
    left_out: Vec<FileError>,
}

/// A usable file.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Of the document as a whole, and of its devices.
    common: Edits,
    devices: Vec<Edits>,
}

/// Where a device is described: directory, file and device within it by number.
#[derive(Debug, Clone, Copy)]
struct Place {
    directory: usize,
    file: usize,
    device: usize,
    /// Another file of the same directory that describes it too.
    rival: Option<usize>,
}

impl Catalogue {
    /// Reads all files; what cannot be used is noted and left out.
    pub(super) fn read(directories: &[PathBuf]) -> Self {
        let mut catalogue = Self::default();
        for (number, directory) in directories.iter().enumerate() {
            for path in catalogue.candidates(directory) {
                match read_document(&path) {
                    Ok(document) => catalogue.add(number, path, document),
                    Err(reason) => catalogue.left_out.push(FileError { path, reason }),
                }
            }
        }
        catalogue
    }

    /// Files of a directory by their names' ends. A missing directory has none.
    fn candidates(&mut self, directory: &Path) -> Vec<PathBuf> {
        match list(directory) {
            Ok(files) => files,
            Err(reason) => {
                self.left_out.push(FileError { path: directory.to_path_buf(), reason });
                Vec::new()
            }
        }
    }

    fn add(&mut self, directory: usize, path: PathBuf, document: Document) {
        let file = self.files.len();
        let mut devices = Vec::new();
        for described in document.devices {
            let name = QualifiedName { kind: document.kind.clone(), device: described.name };
            let here = Place { directory, file, device: devices.len(), rival: None };
            devices.push(described.container_edits);
            self.devices
                .entry(name)
                .and_modify(|known| {
                    if known.directory == directory {
                        known.rival = Some(file);
                    } else {
                        *known = here;
                    }
                })
                .or_insert(here);
        }
        self.files.push(File { path, common: document.container_edits, devices });
    }

    /// The edits for these devices: those of a file as a whole once, before its first device.
    pub(super) fn edits(&self, names: &[QualifiedName]) -> Result<Vec<Edits>, CdiError> {
        let mut edits = Vec::new();
        let mut begun = Vec::new();
        for name in names {
            let Some(place) = self.devices.get(name) else {
                return Err(CdiError::Unknown { name: name.to_string(), left_out: self.left_out.clone() });
            };
            let file = &self.files[place.file];
            if let Some(rival) = place.rival {
                let (first, second) = (file.path.clone(), self.files[rival].path.clone());
                return Err(CdiError::Conflict { name: name.to_string(), first, second });
            }
            if !begun.contains(&place.file) {
                begun.push(place.file);
                edits.push(file.common.clone());
            }
            edits.push(file.devices[place.device].clone());
        }
        Ok(edits)
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = match rustix::fs::openat(CWD, directory, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        open => open.map_err(|error| error.to_string())?,
    };
    trust(&rustix::fs::fstat(&open).map_err(|error| error.to_string())?)?;
    let mut files = Vec::new();
    for entry in rustix::fs::Dir::read_from(open.as_fd()).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if syntax(Path::new(name)).is_none() {
            continue;
        }
        files.push(directory.join(name));
        if files.len() > FILES {
            return Err(format!("it holds more than {FILES} files"));
        }
    }
    files.sort();
    Ok(files)
}

fn syntax(path: &Path) -> Option<Syntax> {
    match path.extension()?.to_str()? {
        "json" => Some(Syntax::Json),
        "yaml" => Some(Syntax::Yaml),
        _ => None,
    }
}

fn read_document(path: &Path) -> Result<Document, String> {
    // Opened without blocking, looked at, and only then read: a FIFO would wait for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| error.to_string())?;
    let stat = rustix::fs::fstat(&open).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file".to_owned());
    }
    trust(&stat)?;
    let mut text = Vec::new();
    let mut limited = std::fs::File::from(open).take(FILE_LIMIT + 1);
    limited.read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(format!("it is larger than {FILE_LIMIT} bytes"));
    }
    Document::parse(&text, syntax(path).unwrap_or(Syntax::Json))
}

/// Nobody but root and the engine's own user may have written it.
fn trust(stat: &Stat) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != own {
        return Err(format!("it belongs to user {}, not to root", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err("others than its owner can write to it".to_owned());
    }
    Ok(())
}
