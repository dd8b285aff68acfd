//! Moves a member's stored bytes out of the archive, and past the tar-split on the way.

use std::io;

use super::error::Error;
use super::path::EntryPath;
use super::whiteout::Meaning;
use crate::pipeline::Stream;
use crate::tar::{Entry, Kind, Reader};
use crate::tarsplit::TarSplit;

/// How the tar-split records one member's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// By name: it can be read from the layer directory again.
    ByName,
    /// As raw bytes, see `crate::tarsplit`.
    Raw,
}

/// The tar-split's view of one member; does nothing where none is written.
pub(super) struct Splitter<'a, 'w> {
    split: Option<&'a mut TarSplit<'w>>,
    record: Record,
}

impl<'a, 'w> Splitter<'a, 'w> {
    pub(super) fn begin(
        mut split: Option<&'a mut TarSplit<'w>>,
        path: &EntryPath,
        entry: &Entry,
        meaning: Meaning,
    ) -> Self {
        let first = split.as_mut().is_some_and(|split| split.claim(path.bytes()));
        let readable = meaning == Meaning::Member && entry.kind == Kind::File && entry.sparse.is_none();
        let record = if first && (readable || entry.stored == 0) { Record::ByName } else { Record::Raw };
        Self { split, record }
    }

    /// The file lies behind a symbolic link of the layer.
    pub(super) fn behind_link(&mut self) {
        self.record = Record::Raw;
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        match (&mut self.split, self.record) {
            (Some(split), Record::Raw) => split.segment(bytes),
            (Some(split), Record::ByName) => {
                split.content(bytes);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    pub(super) fn end(self, entry: &Entry) -> io::Result<()> {
        match (self.split, self.record) {
            (Some(split), Record::ByName) => split.file(&entry.name),
            (Some(_), Record::Raw) | (None, _) => Ok(()),
        }
    }
}

/// Hands what is left of the current member's stored bytes to `take`, piece by piece.
pub(super) fn each_piece(
    archive: &mut Reader<Stream>,
    splitter: &mut Splitter<'_, '_>,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    while let Some(piece) = archive.content()? {
        take(piece)?;
        splitter.piece(piece).map_err(|source| Error::TarSplit { source })?;
        let count = piece.len();
        archive.advance(count);
    }
    Ok(())
}
