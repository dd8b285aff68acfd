//! Layer archives: from the bytes of a registry to a layer directory, in one pass.
//!
//! ```text
//!  blob bytes ─▶ VerifyingReader ─▶ Decompressor ─▶ diff_id hash ─▶ tar::Reader ─▶ apply_layer ─▶ layer directory
//!  (caller)       blob digest        own thread       caller's thread ………………………………………┘  └▶ tar-split
//! ```
//!
//! Everything here is synchronous and treats its input as hostile: sizes, counts and ratios are bounded, paths are
//! resolved by `openat2` from held descriptors, and the bytes hashed are the very bytes used.

mod apply;
mod compress;
mod create;
mod decompress;
mod pipeline;
mod rebuild;
pub mod tar;
mod tarsplit;
mod verify;
pub mod worker;

pub use apply::{Applied, ApplyOptions, Error, Limits, apply_layer};
pub use compress::Compressor;
pub use create::create_archive;
pub use decompress::{Compression, DecompressError, Decompressor};
pub use rebuild::{RebuildError, Rebuilt};
pub use tarsplit::reassembly::reassemble;
pub use verify::{VerifyError, VerifyingReader};
