//! Statistics as the API shows them.

use std::sync::Arc;

use ochre_cri_api as api;
use ochre_image::FsUsage;
use ochre_pod::{Container, ContainerStats, Sandbox, SandboxStats};
use ochre_runtime::stats::{InterfaceStats, Pressure, PressureLine};

use super::status::{container_metadata, sandbox_metadata};

fn number(value: u64) -> Option<api::UInt64Value> {
    Some(api::UInt64Value { value })
}

fn pressure(pressure: Option<&Pressure>) -> Option<api::PsiStats> {
    let line = |line: &PressureLine| api::PsiData {
        // CRI counts nanoseconds, the kernel microseconds.
        total: line.total_us.saturating_mul(1000),
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    pressure.map(|p| api::PsiStats { full: Some(line(&p.full)), some: Some(line(&p.some)) })
}

/// One container; without numbers when it does not run.
pub(crate) fn container(
    container: &Container,
    stats: Option<&ContainerStats>,
    filesystem: &FsUsage,
) -> api::ContainerStats {
    let attributes = api::ContainerAttributes {
        id: container.id.to_string(),
        metadata: Some(container_metadata(container)),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
    };
    let Some(stats) = stats else {
        return api::ContainerStats { attributes: Some(attributes), ..Default::default() };
    };
    let timestamp = stats.timestamp.nanos();
    let memory = &stats.cgroup.memory;
    api::ContainerStats {
        attributes: Some(attributes),
        cpu: Some(cpu(stats)),
        memory: Some(self::memory(stats)),
        writable_layer: stats.layer.map(|layer| api::FilesystemUsage {
            timestamp: layer.timestamp.nanos(),
            fs_id: Some(api::FilesystemIdentifier {
                mountpoint: filesystem.mountpoint.to_string_lossy().into_owned(),
            }),
            used_bytes: number(layer.bytes),
            inodes_used: number(layer.inodes),
        }),
        swap: memory.swap_usage.map(|used| api::SwapUsage {
            timestamp,
            swap_available_bytes: memory.swap_limit.and_then(|limit| number(limit.saturating_sub(used))),
            swap_usage_bytes: number(used),
        }),
        io: stats.cgroup.io_pressure.as_ref().map(|io| api::IoUsage { timestamp, psi: pressure(Some(io)) }),
    }
}

fn cpu(stats: &ContainerStats) -> api::CpuUsage {
    api::CpuUsage {
        timestamp: stats.timestamp.nanos(),
        usage_core_nano_seconds: number(stats.cgroup.cpu.usage_ns),
        usage_nano_cores: stats.nano_cores.and_then(number),
        psi: pressure(stats.cgroup.cpu_pressure.as_ref()),
    }
}

fn memory(stats: &ContainerStats) -> api::MemoryUsage {
    let memory = &stats.cgroup.memory;
    api::MemoryUsage {
        timestamp: stats.timestamp.nanos(),
        working_set_bytes: number(memory.working_set),
        available_bytes: memory.available.and_then(number),
        usage_bytes: number(memory.usage),
        rss_bytes: number(memory.anon),
        page_faults: number(memory.page_faults),
        major_page_faults: number(memory.major_page_faults),
        psi: pressure(stats.cgroup.memory_pressure.as_ref()),
    }
}

fn interface(stats: &InterfaceStats) -> api::NetworkInterfaceUsage {
    api::NetworkInterfaceUsage {
        name: stats.name.clone(),
        rx_bytes: number(stats.rx_bytes),
        rx_errors: number(stats.rx_errors),
        tx_bytes: number(stats.tx_bytes),
        tx_errors: number(stats.tx_errors),
    }
}

/// The use of all containers; `None` until it is known of one.
fn nano_cores(stats: &SandboxStats) -> Option<u64> {
    stats.containers.iter().filter_map(|(_, stats)| stats.nano_cores).reduce(u64::saturating_add)
}

/// What the containers of a pod use together, and the pressure of the pod's own group.
fn sums(stats: &SandboxStats) -> api::LinuxPodSandboxStats {
    let timestamp = stats.timestamp.nanos();
    let sum =
        |of: fn(&ContainerStats) -> u64| stats.containers.iter().map(|(_, stats)| of(stats)).sum::<u64>();
    api::LinuxPodSandboxStats {
        cpu: Some(api::CpuUsage {
            timestamp,
            usage_core_nano_seconds: number(sum(|s| s.cgroup.cpu.usage_ns)),
            usage_nano_cores: nano_cores(stats).and_then(number),
            psi: pressure(stats.pressure.cpu.as_ref()),
        }),
        memory: Some(api::MemoryUsage {
            timestamp,
            working_set_bytes: number(sum(|s| s.cgroup.memory.working_set)),
            available_bytes: None,
            usage_bytes: number(sum(|s| s.cgroup.memory.usage)),
            rss_bytes: number(sum(|s| s.cgroup.memory.anon)),
            page_faults: number(sum(|s| s.cgroup.memory.page_faults)),
            major_page_faults: number(sum(|s| s.cgroup.memory.major_page_faults)),
            psi: pressure(stats.pressure.memory.as_ref()),
        }),
        process: Some(api::ProcessUsage { timestamp, process_count: number(sum(|s| s.cgroup.pids.current)) }),
        io: stats.pressure.io.as_ref().map(|io| api::IoUsage { timestamp, psi: pressure(Some(io)) }),
        ..Default::default()
    }
}

/// One pod: the sum of its containers, its interfaces, and the containers themselves.
pub(crate) fn sandbox(sandbox: &Sandbox, stats: &SandboxStats, filesystem: &FsUsage) -> api::PodSandboxStats {
    let mut interfaces: Vec<_> = stats.interfaces.iter().filter(|i| i.name != "lo").map(interface).collect();
    let default_interface = interfaces.iter().position(|i| i.name == "eth0").map(|at| interfaces.remove(at));
    let rows: Vec<_> = stats
        .containers
        .iter()
        .map(|(one, stats): &(Arc<Container>, ContainerStats)| container(one, Some(stats), filesystem))
        .collect();
    api::PodSandboxStats {
        attributes: Some(api::PodSandboxAttributes {
            id: sandbox.id.to_string(),
            metadata: Some(sandbox_metadata(&sandbox.config)),
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
        }),
        linux: Some(api::LinuxPodSandboxStats {
            network: Some(api::NetworkUsage {
                timestamp: stats.timestamp.nanos(),
                default_interface,
                interfaces,
            }),
            containers: rows,
            ..sums(stats)
        }),
        windows: None,
    }
}
