//! The engine's own OCI runtime: one single-threaded program per verb.
//!
//! ```text
//! cli ─► verbs/<verb> ─┬─► config, spec      what is asked for, checked
//!                      ├─► container         what is known on disk
//!                      ├─► cgroup            groups and limits (v1, v2, systemd)
//!                      └─► namespaces, rootfs, seccomp ─► clone ─► init ─► process ─► exec
//! ```
//!
//! The program is executed by a monitor exactly as it executes runc or crun. A verb either does all it says or leaves
//! nothing behind; `create` hands the container's first process to the caller's subreaper by ending.

pub mod cgroup;
pub mod channel;
pub mod cli;
pub mod config;
pub mod container;
pub mod error;
pub mod hooks;
pub mod idmap;
pub mod init;
pub mod log;
pub mod lsm;
mod main_program;
pub mod namespaces;
pub mod process;
pub mod procfs;
mod protect;
pub mod rootfs;
pub mod seccomp;
pub mod spec;
mod stdio;
pub mod sysctl;
mod verbs;

pub use main_program::main;
