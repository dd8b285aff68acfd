//! The protocol between the daemon and the pod monitor.
//!
//! A unix stream socket (`<dir>/monitor.sock`, 0600) carries length-prefixed frames in both directions; descriptors
//! travel beside them (`SCM_RIGHTS`). The daemon sends [`Request`]s with ids of its choice; the monitor answers each with
//! one [`Reply`] of the same id, in any order, and sends [`Notice`]s to every connection with id 0.
//!
//! ```text
//! frame:  u32 length of what follows (little endian, at most 1 MiB)
//!         u8  descriptors that belong to the frame (a bit each, see `wire::Roles`)
//!         u8  kind of message      u32 request id      body
//! ```
//!
//! The exit record that outlives the monitor is in [`exit_record`]. The `client` feature adds the daemon's side on tokio.

#[cfg(feature = "client")]
pub mod client;
pub mod exit_record;
pub mod mark;
pub mod message;
pub mod wire;

pub use message::{
    Adopt, Attach, ContainerSnapshot, ContainerState, Create, Exec, ExecExit, Failure, FailureKind, Notice,
    Reply, Request, RuntimeCommand, Snapshot, StdinMode, Stdio,
};
pub use wire::{Descriptors, Frame, Malformed, Roles};

/// The version of the protocol; both sides refuse any other.
pub const PROTOCOL: u32 = 2;

/// The name of the monitor's socket in its directory.
pub const SOCKET: &str = "monitor.sock";

/// The name of the file in the monitor's directory that collects what it and its runtimes print on stderr.
pub const LOG: &str = "monitor.log";
