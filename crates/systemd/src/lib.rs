//! A minimal blocking D-Bus client for the handful of calls a container engine makes to systemd.
//!
//! ```text
//! Bus::system ──> private socket (root, no broker between) ─┐
//!             └─> system bus socket (Hello, AddMatch, …) ───┴─> Bus
//! Bus::start_transient_scope ──> StartTransientUnit ──> job path ──> JobRemoved "done"
//! ```
//!
//! Connections are meant to live for one or a few calls: systemd sends every signal to whoever is connected to its
//! private socket, and an idle reader would make it queue them. Everything has a deadline and a size limit; a peer
//! that answers rubbish is an error, never a panic and never a hang.

mod bus;
mod error;
mod property;
mod units;
mod wire;

pub use bus::Bus;
pub use error::Error;
pub use property::{KillMode, ManagedOom, OomPolicy, Property};

/// Whether systemd is PID 1 of this machine, told as `sd_booted(3)` does: `/run/systemd/system` is a directory.
pub fn running() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|meta| meta.is_dir())
}
