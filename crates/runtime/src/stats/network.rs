//! Counters of network interfaces, from `/proc/<pid>/net/dev` (proc_pid_net(5)).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ochre_sys::namespace::{Kind, in_namespace};

use super::StatsError;
use crate::bounded::read_bounded;

/// 130 bytes per interface: room for 8000 of them, all of them a pod's own doing.
const MAX_TABLE: u64 = 1 << 20;

/// Counters of one interface since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceStats {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Received packets that were dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Send errors.
    pub tx_errors: u64,
    /// Packets to be sent that were dropped.
    pub tx_dropped: u64,
}

/// The interfaces of a pinned network namespace, without loopback. Takes a thread of its own; where a process of the
/// pod is known, [`network_stats_of_process`] is cheaper.
///
/// # Errors
/// [`StatsError::Gone`] when the pin is gone, otherwise what failed.
pub fn network_stats(namespace: &Path) -> Result<Vec<InterfaceStats>, StatsError> {
    let table = File::open(namespace)
        .and_then(|file| {
            in_namespace(file, Kind::Net, || read_bounded(Path::new("/proc/thread-self/net/dev"), MAX_TABLE))
        })
        .and_then(|table| table);
    interfaces(table, namespace)
}

/// The interfaces that a process sees, without loopback.
///
/// # Errors
/// [`StatsError::Gone`] when the process is gone, otherwise what failed.
pub fn network_stats_of_process(pid: i32) -> Result<Vec<InterfaceStats>, StatsError> {
    let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
    interfaces(read_bounded(&path, MAX_TABLE), &path)
}

fn interfaces(table: io::Result<Vec<u8>>, path: &Path) -> Result<Vec<InterfaceStats>, StatsError> {
    match table {
        Ok(table) => Ok(parse(&String::from_utf8_lossy(&table))),
        // A process that ends between opening and reading makes the read EINVAL.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            Err(StatsError::Gone { path: path.to_path_buf() })
        }
        Err(source) => Err(StatsError::Read { path: path.to_path_buf(), source }),
    }
}

/// Two lines of headings, then `name: rx_bytes packets errs drop fifo frame compressed multicast tx_bytes packets errs …`.
pub(super) fn parse(table: &str) -> Vec<InterfaceStats> {
    table.lines().skip(2).filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

fn interface(line: &str) -> Option<InterfaceStats> {
    let (name, counters) = line.rsplit_once(':')?;
    let counters: Vec<u64> = counters.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(InterfaceStats {
        name: name.trim().to_owned(),
        rx_bytes: *counters.first()?,
        rx_packets: *counters.get(1)?,
        rx_errors: *counters.get(2)?,
        rx_dropped: *counters.get(3)?,
        tx_bytes: *counters.get(8)?,
        tx_packets: *counters.get(9)?,
        tx_errors: *counters.get(10)?,
        tx_dropped: *counters.get(11)?,
    })
}
