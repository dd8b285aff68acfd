//! Sandboxes and containers: the only crate that holds long-lived state.
//!
//! Each object has one driver task; requests send it commands and wait (`*/driver.rs`). States are pure machines
//! (`*/state.rs`). Each verb is one file that tells its story. What a crash interrupts is in the records (`disk.rs`) and
//! `restore.rs` finishes or undoes it.

mod bundle;
mod container;
mod disk;
mod engine;
mod error;
mod monitor;
mod registry;
mod restore;
mod sandbox;
mod stats;

pub use container::{Container, ContainerState, ExecOutput, ExitReason, Made};
pub use engine::{Node, Paths, Pods};
pub use error::{Error, Shared};
pub use ochre_runtime::config;
pub use sandbox::{Live, Sandbox, SandboxState};
pub use stats::{ContainerStats, LayerUsage, SandboxStats};
