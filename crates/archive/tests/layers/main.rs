//! Layers of every kind, applied to real directories.
//!
//! All of these need root (owners, device nodes for whiteouts, `trusted.*` attributes), and a temporary directory on a
//! file system with extended attributes. Those that compare with GNU tar or Python need `tar` and `python3`.

// The lint's own exception covers test functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod arbitrary;
mod differential;
mod forge;
mod ground;
mod hostile;
mod metadata;
mod reassembly;
mod whiteouts;
