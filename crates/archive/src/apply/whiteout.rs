//! Which members are files and which say what is gone (OCI image specification, layer.md, "Whiteouts").
//!
//! `.wh.name` hides `name` of the layers below, `.wh..wh..opq` hides everything of the layers below in its directory.
//! Other names that start with `.wh..wh.` are AUFS's own bookkeeping in old layers and mean nothing.

use super::error::{Error, shown};
use super::path::EntryPath;
use crate::tar::Kind;

const PREFIX: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a member is to the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file, directory and so on.
    Member,
    /// Hides one name, see [`hidden_name`].
    Whiteout,
    /// Hides what lies below its directory.
    Opaque,
    /// Bookkeeping of AUFS.
    Ignored,
}

/// Tells what a member means by its name; whiteouts must be files (AUFS made them hard links).
pub(super) fn meaning(path: &EntryPath, kind: Kind) -> Result<Meaning, Error> {
    let refused = || Err(Error::Whiteout { path: shown(path.bytes()) });
    let mut parents = path.parent().split(|byte| *byte == b'/');
    if let Some(parent) = parents.find(|parent| parent.starts_with(PREFIX)) {
        return if parent.starts_with(AUFS) && parent != OPAQUE { Ok(Meaning::Ignored) } else { refused() };
    }
    let name = path.name();
    let meaning = match name.strip_prefix(PREFIX) {
        None => return Ok(Meaning::Member),
        Some(_) if name == OPAQUE => Meaning::Opaque,
        Some(_) if name.starts_with(AUFS) => return Ok(Meaning::Ignored),
        Some(b"" | b"." | b"..") => return refused(),
        Some(_) => Meaning::Whiteout,
    };
    match kind {
        Kind::File | Kind::HardLink => Ok(meaning),
        Kind::Symlink | Kind::Directory | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
            refused()
        }
    }
}

/// The name that a [`Meaning::Whiteout`] hides.
pub(super) fn hidden_name(path: &EntryPath) -> &[u8] {
    path.name().strip_prefix(PREFIX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_one_thing() {
        for (name, kind, expected) in [
            ("a/b", Kind::File, Some(Meaning::Member)),
            ("a.wh.b", Kind::File, Some(Meaning::Member)),
            ("a/.wh.b", Kind::File, Some(Meaning::Whiteout)),
            (".wh..b", Kind::HardLink, Some(Meaning::Whiteout)),
            ("a/.wh..wh..opq", Kind::File, Some(Meaning::Opaque)),
            (".wh..wh.plnk", Kind::Directory, Some(Meaning::Ignored)),
            (".wh..wh.plnk/99.1", Kind::File, Some(Meaning::Ignored)),
            ("a/.wh..wh..opq", Kind::Directory, None),
            ("a/.wh..wh..opq", Kind::Symlink, None),
            ("a/.wh.b", Kind::Directory, None),
            ("a/.wh.b", Kind::Fifo, None),
            ("a/.wh.", Kind::File, None),
            ("a/.wh..", Kind::File, None),
            ("a/.wh...", Kind::File, None),
            ("a/.wh.b/c", Kind::File, None),
            ("a/.wh..wh..opq/c", Kind::File, None),
        ] {
            assert_eq!(
                meaning(&EntryPath::of(name.as_bytes()).unwrap(), kind).ok(),
                expected,
                "{name} {kind:?}"
            );
        }
    }
}
