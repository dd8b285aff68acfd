//! Resource usage of a container or pod, read from its control group by held descriptors.
//!
//! [`StatsReader::open`] opens each file once; [`StatsReader::read`] is then one `pread` per file and walks no path. A
//! held descriptor does not keep the group from being removed: the kernel answers ENODEV afterwards, which is
//! [`StatsError::Gone`].
//!
//! | value | v1 | v2 |
//! |---|---|---|
//! | CPU time | `cpuacct.usage`, `cpuacct.stat` | `cpu.stat` |
//! | memory | `memory.usage_in_bytes`, `memory.stat` (`total_…`) | `memory.current`, `memory.stat` |
//! | working set | usage − inactive file pages, as kubelet and cAdvisor define it | the same |
//! | OOM kills | `memory.oom_control` | `memory.events` |
//! | pressure | none | `*.pressure` |

mod network;
pub(crate) mod parse;
mod reader;

use ochre_types::ErrorKind;
use std::path::PathBuf;

pub use network::{InterfaceStats, network_stats, network_stats_of_process};
pub use reader::{GroupPressure, StatsReader, group_pressure};

/// A failed reading.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The group or the process is gone.
    #[error("{path} is gone")]
    Gone {
        /// What was read.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not have the form the kernel documents.
    #[error("{path} has no valid {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The value that was looked for.
        what: &'static str,
    },
}

impl StatsError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Read { .. } | Self::Malformed { .. } => ErrorKind::Internal,
        }
    }
}

/// One reading. A `None` is a value this kernel or this control group version does not have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CgroupStats {
    /// CPU time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidStats,
    /// Block I/O, all devices together.
    pub io: IoStats,
    /// CPU pressure (v2).
    pub cpu_pressure: Option<Pressure>,
    /// Memory pressure (v2).
    pub memory_pressure: Option<Pressure>,
    /// I/O pressure (v2).
    pub io_pressure: Option<Pressure>,
}

/// CPU time since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// All, nanoseconds.
    pub usage_ns: u64,
    /// In user mode, nanoseconds (v1: to 10 ms).
    pub user_ns: u64,
    /// In kernel mode, nanoseconds (v1: to 10 ms).
    pub system_ns: u64,
    /// Enforcement periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period, nanoseconds.
    pub throttled_ns: u64,
}

/// Memory now, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// All charged memory, page cache included.
    pub usage: u64,
    /// Usage without inactive file pages.
    pub working_set: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Page faults since the group was made.
    pub page_faults: u64,
    /// Of these, the ones that needed I/O.
    pub major_page_faults: u64,
    /// The group's own limit; `None` is none.
    pub limit: Option<u64>,
    /// What the limit leaves above the working set; `None` without a limit.
    pub available: Option<u64>,
    /// Swap in use; `None` without swap accounting.
    pub swap_usage: Option<u64>,
    /// Limit of swap alone; `None` is none or no accounting.
    pub swap_limit: Option<u64>,
    /// Processes of the group that the OOM killer killed.
    pub oom_kills: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidStats {
    /// Now.
    pub current: u64,
    /// `None` is no limit.
    pub limit: Option<u64>,
}

/// Block I/O since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Pressure stall information of one resource (Linux `Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// One line of pressure: percent of time over three windows, and the total.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureLine {
    /// Percent of the last 10 s.
    pub avg10: f64,
    /// Percent of the last 60 s.
    pub avg60: f64,
    /// Percent of the last 300 s.
    pub avg300: f64,
    /// Total, microseconds.
    pub total_us: u64,
}

#[cfg(test)]
mod tests;
