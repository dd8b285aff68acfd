//! Names of archive members, made relative and clean.
//!
//! `/a//./b/` and `./a/x/../b` are both `a/b`, as Go's `filepath.Clean` has it. A `..` that would climb above the
//! root is refused rather than cut off: no honest archive has one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::{Error, shown};

/// A clean relative path; empty for the root itself. The buffer is reused from member to member.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct EntryPath {
    clean: Vec<u8>,
}

impl EntryPath {
    /// Cleans `raw`, a member's name or the target of a hard link.
    pub(super) fn of(raw: &[u8]) -> Result<Self, Error> {
        let mut path = Self::default();
        path.set(raw)?;
        Ok(path)
    }

    /// Like [`of`](Self::of), in place.
    pub(super) fn set(&mut self, raw: &[u8]) -> Result<(), Error> {
        self.clean.clear();
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." if self.clean.is_empty() => return Err(Error::Escapes { path: shown(raw) }),
                b".." => self.clean.truncate(self.last_start().saturating_sub(1)),
                name => {
                    if !self.clean.is_empty() {
                        self.clean.push(b'/');
                    }
                    self.clean.extend_from_slice(name);
                }
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.clean
    }

    pub(super) fn is_root(&self) -> bool {
        self.clean.is_empty()
    }

    /// Everything before the last component; empty for the root.
    pub(super) fn parent(&self) -> &[u8] {
        self.clean.get(..self.last_start().saturating_sub(1)).unwrap_or_default()
    }

    /// The last component; empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.clean.get(self.last_start()..).unwrap_or_default()
    }

    fn last_start(&self) -> usize {
        self.clean.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
    }
}

pub(super) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(os(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_climbing_is_refused() {
        for (raw, clean) in [
            ("a", Some("a")),
            ("./a", Some("a")),
            ("/a/b/", Some("a/b")),
            ("//a//.//b", Some("a/b")),
            ("a/../b", Some("b")),
            ("a/b/../../c", Some("c")),
            ("a/x/../b", Some("a/b")),
            (".", Some("")),
            ("./", Some("")),
            ("/", Some("")),
            ("a/..", Some("")),
            ("..a/...", Some("..a/...")),
            ("..", None),
            ("/..", None),
            ("../a", None),
            ("a/../../b", None),
            ("./../a", None),
        ] {
            let path = EntryPath::of(raw.as_bytes());
            assert_eq!(
                path.ok().map(|path| path.clean),
                clean.map(|clean| clean.as_bytes().to_vec()),
                "{raw}"
            );
        }
        let path = EntryPath::of(b"/usr/lib/x").unwrap();
        assert_eq!((path.parent(), path.name()), (&b"usr/lib"[..], &b"x"[..]));
        let top = EntryPath::of(b"x").unwrap();
        assert_eq!((top.parent(), top.name()), (&b""[..], &b"x"[..]));
    }
}
