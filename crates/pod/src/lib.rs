//! Sandboxes and containers: the only crate that holds long-lived state.
//!
//! Each object has one driver task; requests send it commands and wait (`*/driver.rs`). States are pure machines
//! (`*/state.rs`). Each verb is one file that tells its story. What a crash interrupts is in the records (`disk.rs`) and
//! `restore.rs` finishes or undoes it.

mod bundle;
mod checkpoint;
mod container;
mod disk;
mod engine;
mod error;
mod events;
mod metrics;
mod monitor;
mod registry;
mod restore;
mod sandbox;
mod stats;
mod user_namespace;

pub use checkpoint::Checkpoints;
pub use container::{Container, ContainerState, ExecOutput, ExitReason, Made};
pub use container::{Reader, Session, Size, Sizes, Writer};
pub use engine::{Node, Paths, Pods, Reports};
pub use error::{Error, Shared};
pub use events::{Event, EventKind, Lagged, Subject, Subscription};
pub use metrics::{ContainerMetrics, SandboxMetrics};
pub use ochre_runtime::config;
pub use sandbox::{Live, PodResources, Sandbox, SandboxState};
pub use stats::{ContainerStats, LayerUsage, SandboxStats};
