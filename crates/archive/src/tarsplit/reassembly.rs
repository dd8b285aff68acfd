//! A layer directory and its tar-split put together: the archive again, byte for byte.
//!
//! Other programs write tar-splits too, and a layer directory may have been changed behind the store's back. So lines
//! are bounded, names are resolved inside the directory, and every file must have the size and the checksum that its
//! line promises. Whether the whole is the right archive says the digest that comes back.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use ochre_sys::rooted::Root;
use rustix::fs::{FileType, OFlags};

use super::{FILE, SEGMENT, crc64};
use crate::rebuild::{Hashed, RebuildError, Rebuilt};

/// Longest line. containers/storage writes padding in pieces of 1 MiB, ochre what a reader buffer holds.
const LINE_MAX: u64 = 16 << 20;
const BUFFER: usize = 128 * 1024;

#[derive(serde::Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u8,
    name: Option<String>,
    name_raw: Option<String>,
    size: Option<u64>,
    payload: Option<String>,
    position: u64,
}

/// Writes the archive of the layer directory `content` to `output`, by its `tar_split` (gzipped JSON lines).
///
/// # Errors
/// A tar-split that is none, files that are not what it says, errors of reading and writing.
pub fn reassemble(
    tar_split: impl Read,
    content: &Root,
    output: &mut dyn Write,
) -> Result<Rebuilt, RebuildError> {
    let mut lines = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(BufReader::new(tar_split)));
    let mut output = Hashed::new(output);
    let (mut text, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    for position in 0.. {
        text.clear();
        let read = lines
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut text)
            .map_err(|source| RebuildError::TarSplit { source })?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_MAX {
            return Err(RebuildError::Line { position, reason: "it is too long" });
        }
        let line: Line =
            serde_json::from_slice(&text).map_err(|source| RebuildError::Syntax { position, source })?;
        if line.position != position {
            return Err(RebuildError::Line { position, reason: "it is out of order" });
        }
        match line.kind {
            SEGMENT => output.write(&decoded(line.payload.as_deref(), position)?)?,
            FILE => file(&line, content, &mut output, &mut buffer)?,
            _ => return Err(RebuildError::Line { position, reason: "its type is unknown" }),
        }
    }
    Ok(output.finish())
}

fn decoded(text: Option<&str>, position: u64) -> Result<Vec<u8>, RebuildError> {
    text.and_then(|text| STANDARD.decode(text).ok())
        .ok_or(RebuildError::Line { position, reason: "its payload is not base64" })
}

fn file(line: &Line, content: &Root, output: &mut Hashed<'_>, buffer: &mut [u8]) -> Result<(), RebuildError> {
    let size = line.size.unwrap_or_default();
    if size == 0 {
        return Ok(());
    }
    let position = line.position;
    let name = match (&line.name_raw, &line.name) {
        (Some(raw), _) => decoded(Some(raw), position)?,
        (None, Some(name)) => name.as_bytes().to_vec(),
        (None, None) => return Err(RebuildError::Line { position, reason: "it has no name" }),
    };
    let path = PathBuf::from(OsStr::from_bytes(&name));
    let failed = |source: io::Error| RebuildError::File { path: path.clone(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = content.open_at(&path, flags, 0).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(RebuildError::Changed { path });
    }
    // One byte more than promised tells a file that has grown.
    let mut file = std::fs::File::from(file).take(size.saturating_add(1));
    let (mut crc, mut length) = (0, 0);
    loop {
        let count = match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(failed)?,
        };
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > size {
            return Err(RebuildError::Changed { path });
        }
        crc = crc64(crc, &buffer[..count]);
        output.write(&buffer[..count])?;
    }
    if length != size || decoded(line.payload.as_deref(), position)? != crc.to_be_bytes() {
        return Err(RebuildError::Changed { path });
    }
    Ok(())
}
