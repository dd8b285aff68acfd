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
mod decompress;
mod pipeline;
pub mod tar;
mod tarsplit;
mod verify;
pub mod worker;

pub use apply::{Applied, ApplyOptions, Error, Limits, apply_layer};
pub use decompress::{Compression, DecompressError, Decompressor};
pub use verify::{VerifyError, VerifyingReader};
