//! Every metric that the engine can tell, by name.
//!
//! Names and labels are cAdvisor's, as the kubelet published them; the help is our own.

use super::MetricKind::{Counter, Gauge};
use super::{Descriptor, Group, MetricKind};

/// The descriptor of a name.
pub(super) fn find(name: &str) -> Option<&'static Descriptor> {
    TABLE.binary_search_by(|descriptor| descriptor.name.cmp(name)).ok().and_then(|at| TABLE.get(at))
}

const fn row(
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    group: Option<Group>,
    labels: &'static [&'static str],
) -> Descriptor {
    Descriptor { name, help, labels, kind, group }
}

/// Sorted by name.
#[rustfmt::skip]
pub(super) static TABLE: [Descriptor; 56] = [
    row("container_blkio_device_usage_total", "Bytes that went to or came from a block device", Counter, Some(Group::DiskIo), &["device", "major", "minor", "operation"]),
    row("container_cpu_cfs_periods_total", "Enforcement periods of the CPU quota that have passed", Counter, Some(Group::Cpu), &[]),
    row("container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up", Counter, Some(Group::Cpu), &[]),
    row("container_cpu_cfs_throttled_seconds_total", "Time spent waiting for the next period of the CPU quota, seconds", Counter, Some(Group::Cpu), &[]),
    row("container_cpu_system_seconds_total", "CPU time in kernel mode, seconds", Counter, Some(Group::Cpu), &[]),
    row("container_cpu_usage_seconds_total", "CPU time, seconds", Counter, Some(Group::Cpu), &["cpu"]),
    row("container_cpu_user_seconds_total", "CPU time in user mode, seconds", Counter, Some(Group::Cpu), &[]),
    row("container_file_descriptors", "Open file descriptors of all processes", Gauge, Some(Group::Process), &[]),
    row("container_fs_inodes_free", "Free inodes of the file system with the writable layer", Gauge, Some(Group::Disk), &["device"]),
    row("container_fs_inodes_total", "Inodes of the file system with the writable layer", Gauge, Some(Group::Disk), &["device"]),
    row("container_fs_limit_bytes", "Size of the file system with the writable layer", Gauge, Some(Group::Disk), &["device"]),
    row("container_fs_reads_bytes_total", "Bytes read from a block device", Counter, Some(Group::DiskIo), &["device"]),
    row("container_fs_reads_total", "Read operations on a block device", Counter, Some(Group::DiskIo), &["device"]),
    row("container_fs_usage_bytes", "Bytes that the writable layer takes on its file system", Gauge, Some(Group::Disk), &["device"]),
    row("container_fs_writes_bytes_total", "Bytes written to a block device", Counter, Some(Group::DiskIo), &["device"]),
    row("container_fs_writes_total", "Write operations on a block device", Counter, Some(Group::DiskIo), &["device"]),
    row("container_hugetlb_max_usage_bytes", "Most bytes of huge pages that were in use", Gauge, Some(Group::Hugetlb), &["pagesize"]),
    row("container_hugetlb_usage_bytes", "Bytes of huge pages in use", Gauge, Some(Group::Hugetlb), &["pagesize"]),
    row("container_last_seen", "When the container was seen last, seconds since the Unix epoch", Gauge, None, &[]),
    row("container_memory_cache", "Bytes of page cache", Gauge, Some(Group::Memory), &[]),
    row("container_memory_failcnt", "How often memory use has met its limit", Counter, Some(Group::Memory), &[]),
    row("container_memory_failures_total", "Page faults, by type and scope", Counter, Some(Group::Memory), &["failure_type", "scope"]),
    row("container_memory_kernel_usage", "Bytes of kernel memory", Gauge, Some(Group::Memory), &[]),
    row("container_memory_mapped_file", "Bytes of files mapped into memory", Gauge, Some(Group::Memory), &[]),
    row("container_memory_max_usage_bytes", "Most bytes of memory that were in use", Gauge, Some(Group::Memory), &[]),
    row("container_memory_rss", "Bytes of anonymous memory", Gauge, Some(Group::Memory), &[]),
    row("container_memory_swap", "Bytes of swap in use", Gauge, Some(Group::Memory), &[]),
    row("container_memory_usage_bytes", "Bytes of memory in use, page cache included", Gauge, Some(Group::Memory), &[]),
    row("container_memory_working_set_bytes", "Bytes of memory in use without inactive page cache", Gauge, Some(Group::Memory), &[]),
    row("container_network_receive_bytes_total", "Bytes received", Counter, Some(Group::Network), &["interface"]),
    row("container_network_receive_errors_total", "Errors while receiving", Counter, Some(Group::Network), &["interface"]),
    row("container_network_receive_packets_dropped_total", "Received packets that were dropped", Counter, Some(Group::Network), &["interface"]),
    row("container_network_receive_packets_total", "Packets received", Counter, Some(Group::Network), &["interface"]),
    row("container_network_transmit_bytes_total", "Bytes sent", Counter, Some(Group::Network), &["interface"]),
    row("container_network_transmit_errors_total", "Errors while sending", Counter, Some(Group::Network), &["interface"]),
    row("container_network_transmit_packets_dropped_total", "Packets to be sent that were dropped", Counter, Some(Group::Network), &["interface"]),
    row("container_network_transmit_packets_total", "Packets sent", Counter, Some(Group::Network), &["interface"]),
    row("container_oom_events_total", "Processes that the OOM killer has killed", Counter, Some(Group::Oom), &[]),
    row("container_pressure_cpu_stalled_seconds_total", "Time in which every task waited for a CPU, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_pressure_cpu_waiting_seconds_total", "Time in which some task waited for a CPU, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_pressure_io_stalled_seconds_total", "Time in which every task waited for I/O, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_pressure_io_waiting_seconds_total", "Time in which some task waited for I/O, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_pressure_memory_stalled_seconds_total", "Time in which every task waited for memory, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_pressure_memory_waiting_seconds_total", "Time in which some task waited for memory, seconds", Counter, Some(Group::Pressure), &[]),
    row("container_processes", "Processes", Gauge, Some(Group::Process), &[]),
    row("container_sockets", "Open sockets of all processes", Gauge, Some(Group::Process), &[]),
    row("container_spec_cpu_period", "Period of the CPU quota, microseconds", Gauge, Some(Group::Spec), &[]),
    row("container_spec_cpu_quota", "CPU quota in each period, microseconds", Gauge, Some(Group::Spec), &[]),
    row("container_spec_cpu_shares", "Weight among CPU users, cgroup v1 scale", Gauge, Some(Group::Spec), &[]),
    row("container_spec_memory_limit_bytes", "Memory limit; 0 is none", Gauge, Some(Group::Spec), &[]),
    row("container_spec_memory_reservation_limit_bytes", "Memory reservation; 0 is none", Gauge, Some(Group::Spec), &[]),
    row("container_spec_memory_swap_limit_bytes", "Limit of memory and swap together; 0 is none", Gauge, Some(Group::Spec), &[]),
    row("container_start_time_seconds", "When the container was started, seconds since the Unix epoch", Gauge, Some(Group::Spec), &[]),
    row("container_threads", "Threads of all processes", Gauge, Some(Group::Process), &[]),
    row("container_threads_max", "Most threads allowed; 0 is no limit", Gauge, Some(Group::Process), &[]),
    row("container_ulimits_soft", "Soft resource limits of the first process", Gauge, Some(Group::Process), &["ulimit"]),
];
