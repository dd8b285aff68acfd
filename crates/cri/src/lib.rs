//! The CRI v1 services.
//!
//! `service.rs` names the file of every verb; `rpc/<object>/<verb>.rs` checks and hands over; `translate/` turns
//! protobuf into the engine's words and back; `failure.rs` is the only place where a failure becomes a gRPC code.
//! Protobuf ends here.

mod failure;
mod rpc;
mod service;
mod translate;

pub use service::{About, Service, streams};
