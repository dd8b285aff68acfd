//! The pod monitor: stdio, logs, terminals, exec, exit codes and OOM events of all containers of one pod.
//!
//! One thread, one epoll loop, no runtime: the process exists as long as its pod does, so every page counts. It is a child
//! subreaper, which makes every container's init its child as soon as the OCI runtime has exited; it therefore knows every
//! exit code, with or without a daemon. The protocol is in `ochre-monitor-api`.
//!
//! ```text
//!  daemon ══ monitor.sock ══▶ connection ─▶ requests ─▶ create / control / exec / adopt ─▶ operation ─▶ OCI runtime
//!                                                                                             │ SIGCHLD
//!  notices ◀── exits ◀── reaping ◀────────────────────────────────────────────────────────────┘
//!  container's pipes or terminal ─▶ streams ─▶ log, attachments
//! ```

mod adopt;
mod buffer;
mod cgroup;
mod connection;
mod container;
mod control;
mod create;
mod error;
mod exec;
mod exits;
mod log;
mod monitor;
mod oom;
mod operation;
mod pause;
mod poll;
mod process;
mod requests;
mod runtime;
mod streams;

pub use error::Error;
pub use monitor::run;
pub use pause::pause;
