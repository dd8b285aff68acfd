//! From readings to samples.

use std::path::PathBuf;

use ochre_types::Timestamp;

use crate::config::Resources;
use crate::stats::{CgroupStats, InterfaceStats, Pressure};

use super::{Details, DeviceIo, Groups, Metric, Processes, Sheet};

const NANOS: u64 = 1_000_000_000;
const MICROS: u64 = 1_000_000;
/// The kernel's own period and weight, in force where nobody asked for others.
const PERIOD: u64 = 100_000;
const SHARES: u64 = 1024;

/// The file system with a container's writable layer, and what the layer takes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disk {
    /// Device number of the file system.
    pub device: (u32, u32),
    /// Its size, bytes.
    pub size: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Of these, free ones.
    pub inodes_free: u64,
    /// The layer, bytes; `None` when it was not measured yet.
    pub used: Option<u64>,
}

/// Everything that a container's metrics are made from.
#[derive(Debug, Clone, Copy)]
pub struct ContainerReading<'a> {
    /// When it was read.
    pub at: Timestamp,
    /// When the container was started.
    pub started_at: Timestamp,
    /// Its control group.
    pub cgroup: &'a CgroupStats,
    /// More of it.
    pub details: &'a Details,
    /// Its open files; `None` when nobody wants them.
    pub processes: Option<&'a Processes>,
    /// Its file system; `None` when it cannot be asked.
    pub disk: Option<&'a Disk>,
    /// Its limits.
    pub limits: &'a Resources,
}

/// The samples of a container.
pub fn of_container(groups: Groups, reading: &ContainerReading<'_>) -> Vec<Metric> {
    let mut sheet = Sheet::new(groups);
    sheet.add("container_last_seen", &[], seconds(reading.at));
    sheet.cpu(reading.cgroup);
    sheet.memory(reading.cgroup, reading.details);
    for (name, pressure) in [
        ("cpu", &reading.cgroup.cpu_pressure),
        ("io", &reading.cgroup.io_pressure),
        ("memory", &reading.cgroup.memory_pressure),
    ] {
        sheet.pressure(name, pressure.as_ref());
    }
    sheet.add("container_oom_events_total", &[], reading.cgroup.memory.oom_kills);
    for pages in &reading.details.huge_pages {
        sheet.add("container_hugetlb_usage_bytes", &[&pages.size], pages.usage);
        sheet.add("container_hugetlb_max_usage_bytes", &[&pages.size], pages.max_usage);
    }
    if let Some(disk) = reading.disk {
        sheet.disk(disk);
    }
    for device in &reading.details.devices {
        sheet.device(device);
    }
    sheet.processes(reading);
    sheet.limits(reading);
    sheet.metrics
}

/// The samples of a pod: its interfaces.
pub fn of_network(groups: Groups, interfaces: &[InterfaceStats]) -> Vec<Metric> {
    let mut sheet = Sheet::new(groups);
    for interface in interfaces {
        for (name, value) in [
            ("container_network_receive_bytes_total", interface.rx_bytes),
            ("container_network_receive_packets_total", interface.rx_packets),
            ("container_network_receive_packets_dropped_total", interface.rx_dropped),
            ("container_network_receive_errors_total", interface.rx_errors),
            ("container_network_transmit_bytes_total", interface.tx_bytes),
            ("container_network_transmit_packets_total", interface.tx_packets),
            ("container_network_transmit_packets_dropped_total", interface.tx_dropped),
            ("container_network_transmit_errors_total", interface.tx_errors),
        ] {
            sheet.add(name, &[&interface.name], value);
        }
    }
    sheet.metrics
}

impl Sheet {
    fn cpu(&mut self, cgroup: &CgroupStats) {
        let cpu = &cgroup.cpu;
        self.add("container_cpu_user_seconds_total", &[], cpu.user_ns / NANOS);
        self.add("container_cpu_system_seconds_total", &[], cpu.system_ns / NANOS);
        self.add("container_cpu_usage_seconds_total", &["total"], cpu.usage_ns / NANOS);
        self.add("container_cpu_cfs_periods_total", &[], cpu.periods);
        self.add("container_cpu_cfs_throttled_periods_total", &[], cpu.throttled_periods);
        self.add("container_cpu_cfs_throttled_seconds_total", &[], cpu.throttled_ns / NANOS);
    }

    fn memory(&mut self, cgroup: &CgroupStats, details: &Details) {
        let memory = &cgroup.memory;
        self.add("container_memory_cache", &[], details.cache);
        self.add("container_memory_rss", &[], memory.anon);
        self.add("container_memory_kernel_usage", &[], details.kernel);
        self.add("container_memory_mapped_file", &[], details.mapped_file);
        // Without swap accounting nothing of the group is known to be swapped out.
        self.add("container_memory_swap", &[], memory.swap_usage.unwrap_or(0));
        self.add("container_memory_failcnt", &[], details.failures);
        self.add("container_memory_usage_bytes", &[], memory.usage);
        self.add("container_memory_max_usage_bytes", &[], details.max_usage);
        self.add("container_memory_working_set_bytes", &[], memory.working_set);
        let failures = "container_memory_failures_total";
        self.add(failures, &["pgfault", "container"], details.own_faults);
        self.add(failures, &["pgmajfault", "container"], details.own_major_faults);
        self.add(failures, &["pgfault", "hierarchy"], memory.page_faults);
        self.add(failures, &["pgmajfault", "hierarchy"], memory.major_page_faults);
    }

    fn pressure(&mut self, resource: &str, pressure: Option<&Pressure>) {
        let Some(pressure) = pressure else { return };
        for (name, line) in [("stalled", &pressure.full), ("waiting", &pressure.some)] {
            let name = format!("container_pressure_{resource}_{name}_seconds_total");
            self.add(&name, &[], line.total_us / MICROS);
        }
    }

    fn disk(&mut self, disk: &Disk) {
        let device = device_name(disk.device);
        self.add("container_fs_inodes_free", &[&device], disk.inodes_free);
        self.add("container_fs_inodes_total", &[&device], disk.inodes);
        self.add("container_fs_limit_bytes", &[&device], disk.size);
        self.add("container_fs_usage_bytes", &[&device], disk.used);
    }

    fn device(&mut self, io: &DeviceIo) {
        let device = device_name((io.major, io.minor));
        self.add("container_fs_reads_bytes_total", &[&device], io.read_bytes);
        self.add("container_fs_reads_total", &[&device], io.reads);
        self.add("container_fs_writes_bytes_total", &[&device], io.written_bytes);
        self.add("container_fs_writes_total", &[&device], io.writes);
        let (major, minor) = (io.major.to_string(), io.minor.to_string());
        for (operation, bytes) in [("Read", io.read_bytes), ("Write", io.written_bytes)] {
            let labels = [device.as_str(), &major, &minor, operation];
            self.add("container_blkio_device_usage_total", &labels, bytes);
        }
    }

    fn processes(&mut self, reading: &ContainerReading<'_>) {
        let pids = &reading.cgroup.pids;
        self.add("container_processes", &[], reading.details.processes.len() as u64);
        self.add("container_threads", &[], pids.current);
        self.add("container_threads_max", &[], pids.limit.unwrap_or(0));
        if let Some(open) = reading.processes {
            self.add("container_file_descriptors", &[], open.descriptors);
            self.add("container_sockets", &[], open.sockets);
            self.add("container_ulimits_soft", &["max_open_files"], open.open_files_limit);
        }
    }

    fn limits(&mut self, reading: &ContainerReading<'_>) {
        let limits = reading.limits;
        let set = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        self.add("container_start_time_seconds", &[], seconds(reading.started_at));
        self.add("container_spec_cpu_period", &[], set(limits.cpu_period).unwrap_or(PERIOD));
        self.add("container_spec_cpu_quota", &[], set(limits.cpu_quota));
        self.add("container_spec_cpu_shares", &[], set(limits.cpu_shares).unwrap_or(SHARES));
        let memory = set(limits.memory_limit).unwrap_or(0);
        self.add("container_spec_memory_limit_bytes", &[], memory);
        let reserved = limits.unified.get("memory.low").and_then(|text| text.parse().ok()).unwrap_or(0);
        self.add("container_spec_memory_reservation_limit_bytes", &[], reserved);
        // A limit without a word about swap means no swap.
        let swap = match limits.memory_swap_limit {
            0 => memory,
            both => set(both).unwrap_or(0),
        };
        self.add("container_spec_memory_swap_limit_bytes", &[], swap);
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.nanos()).unwrap_or(0) / NANOS
}

/// `/dev/sda1`, which dashboards look for; the numbers where the device has no node, as that of overlay.
fn device_name((major, minor): (u32, u32)) -> String {
    let link = std::fs::read_link(PathBuf::from(format!("/sys/dev/block/{major}:{minor}")));
    match link.ok().as_deref().and_then(|link| link.file_name()?.to_str()) {
        Some(name) => format!("/dev/{name}"),
        None => format!("{major}:{minor}"),
    }
}
