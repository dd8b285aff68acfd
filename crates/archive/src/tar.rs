//! A strict tar reader: one meaning per archive, or none.
//!
//! The dialects are those of Go's `archive/tar`, by which every container engine reads layers: V7, ustar, PAX
//! (POSIX.1-2001 `pax`, with `SCHILY.xattr.*` and GNU sparse formats 0.0, 0.1 and 1.0), GNU (long names, base-256
//! numbers, old sparse files). Where readers are known to disagree, so that a scanner and an engine could see
//! different files in the same bytes, the archive is refused instead of interpreted.
//!
//! ```text
//!             ┌──────────── x (PAX), L, K (GNU long name, link), g (global) ───────────┐
//!             ▼                                                                        │
//!   start ─▶ header block ──▶ entry ──▶ stored content ──▶ padding to 512 ──▶ header block
//!             │ zero block, and only zeros from there on
//!             ▼
//!           end of archive (also: end of input at a block boundary, as Go has it)
//! ```
//!
//! `header`, `pax` and `sparse` are pure functions of bytes; only `reader` reads. `writer` is the
//! other direction, for the archives that this crate makes.

mod entry;
mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use entry::{Entry, Extent, Kind, ModificationTime};
pub use error::{Fault, TarError};
pub use reader::Reader;
pub use writer::{Heading, padding, write_end};

/// Size of a tar block in bytes.
pub const BLOCK: usize = 512;
