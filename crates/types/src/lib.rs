//! Words every layer shares: identifiers, digests, error kinds, exits and secrets.
//!
//! Nothing here does I/O, and nothing here knows about async, protobuf or the disk.

mod digest;
mod error_kind;
mod exit;
mod ids;
mod secret;
mod timestamp;

pub use digest::{Algorithm, Digest, InvalidDigest};
pub use error_kind::ErrorKind;
pub use exit::Exit;
pub use ids::{ContainerId, ExecId, ImageId, InvalidId, LayerId, SandboxId};
pub use secret::Secret;
pub use timestamp::Timestamp;
