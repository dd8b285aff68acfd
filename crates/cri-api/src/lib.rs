//! Generated protobuf and gRPC code of the CRI v1 API, and nothing else.
//!
//! `proto/api.proto` is the contract as Kubernetes publishes it (v0.37.2, Apache-2.0); `cargo xtask gen` compiles it.
//! Only the `cri` crate and the client see these types.

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::too_many_lines)]
mod runtime_v1;

pub use runtime_v1::*;
