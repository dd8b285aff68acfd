//! Files the user names: read up to a limit, written whole.

use std::io::Read as _;
use std::path::Path;

use crate::error::Error;

/// Reads a text file.
///
/// # Errors
/// When it is missing, larger than `limit` bytes or not text.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoFile { path: path.to_owned() },
        _ => Error::File { path: path.to_owned(), source },
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(failed(std::io::Error::other(format!("larger than {limit} bytes"))));
    }
    Ok(text)
}

/// Writes a text file and the directories above it.
///
/// # Errors
/// When that fails.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
