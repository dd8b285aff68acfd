//! How a container's first process ended.

use crate::Timestamp;

/// The end of a container. Never changes once reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status, or 128 plus the signal number when a signal ended the process.
    pub code: i32,
    /// When the monitor reaped the process.
    pub finished_at: Timestamp,
    /// Whether the kernel's OOM killer killed a process of the container.
    pub oom_killed: bool,
}
