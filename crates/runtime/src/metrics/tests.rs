use std::collections::HashSet;

use super::details::{devices_v1, devices_v2};
use super::*;
use crate::config::Resources;
use crate::stats::{CgroupStats, InterfaceStats, Pressure};
use ochre_types::Timestamp;

fn all() -> Groups {
    Groups::from_words(["all"])
}

/// A reading in which everything has a value.
fn full<T>(with: impl FnOnce(ContainerReading<'_>) -> T) -> T {
    let pressure = Some(Pressure::default());
    let cgroup = CgroupStats {
        cpu_pressure: pressure,
        memory_pressure: pressure,
        io_pressure: pressure,
        ..Default::default()
    };
    let details = Details {
        cache: Some(1),
        mapped_file: Some(2),
        kernel: Some(3),
        max_usage: Some(4),
        failures: Some(5),
        own_faults: Some(6),
        own_major_faults: Some(7),
        huge_pages: vec![HugePages { size: "2MB".into(), usage: 8, max_usage: Some(9) }],
        devices: vec![DeviceIo { major: 999, minor: 7, read_bytes: 10, ..Default::default() }],
        processes: vec![1, 2],
    };
    let processes = Processes { descriptors: Some(1), sockets: Some(2), open_files_limit: Some(3) };
    let disk = Disk { used: Some(1), ..Default::default() };
    let limits = Resources { cpu_quota: 20_000, memory_limit: 64 << 20, ..Default::default() };
    with(ContainerReading {
        at: Timestamp::from_nanos(7_900_000_000),
        started_at: Timestamp::from_nanos(3_000_000_000),
        cgroup: &cgroup,
        details: &details,
        processes: Some(&processes),
        disk: Some(&disk),
        limits: &limits,
    })
}

#[test]
fn the_table_is_sorted_and_complete_in_itself() {
    let table: Vec<_> = descriptors(all()).collect();
    assert_eq!(table.len(), 56);
    assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(table.iter().all(|row| row.name.starts_with("container_") && !row.help.is_empty()));
}

#[test]
fn every_described_metric_has_samples_with_its_labels() {
    let mut metrics = full(|reading| of_container(all(), &reading));
    let interface = InterfaceStats { name: "eth0".into(), ..Default::default() };
    metrics.extend(of_network(all(), &[interface]));
    for metric in &metrics {
        assert_eq!(metric.labels.len(), metric.descriptor.labels.len(), "{metric:?}");
    }
    let told: HashSet<_> = metrics.iter().map(|metric| metric.descriptor.name).collect();
    let silent: Vec<_> = descriptors(all()).map(|row| row.name).filter(|name| !told.contains(name)).collect();
    assert!(silent.is_empty(), "{silent:?}");
    // The same name with the same labels twice would be one metric too many.
    let samples: HashSet<_> = metrics.iter().map(|m| (m.descriptor.name, m.labels.clone())).collect();
    assert_eq!(samples.len(), metrics.len());
}

#[test]
fn only_the_groups_asked_for_are_described_and_told() {
    assert_eq!(
        descriptors(Groups::default()).map(|row| row.name).collect::<Vec<_>>(),
        ["container_last_seen"]
    );
    assert_eq!(full(|reading| of_container(Groups::default(), &reading)).len(), 1);
    for (word, group) in WORDS {
        let groups = Groups::from_words([word]);
        let described: HashSet<_> = descriptors(groups).map(|row| row.name).collect();
        assert!(descriptors(groups).any(|row| row.group == Some(group)), "{word}");
        let told = full(|reading| of_container(groups, &reading));
        assert!(told.iter().all(|metric| described.contains(metric.descriptor.name)), "{word}");
    }
}

#[test]
fn values_that_a_machine_does_not_have_are_not_told() {
    let told = full(|reading| {
        let (cgroup, details) = (CgroupStats::default(), Details::default());
        let bare =
            ContainerReading { cgroup: &cgroup, details: &details, processes: None, disk: None, ..reading };
        of_container(all(), &bare)
    });
    let told: HashSet<_> = told.iter().map(|metric| metric.descriptor.name).collect();
    for absent in [
        "container_pressure_cpu_waiting_seconds_total",
        "container_memory_max_usage_bytes",
        "container_fs_usage_bytes",
        "container_sockets",
        "container_hugetlb_usage_bytes",
    ] {
        assert!(!told.contains(absent), "{absent}");
    }
    assert!(told.contains("container_memory_usage_bytes"));
}

#[test]
fn limits_and_times_are_told_in_the_units_of_their_names() {
    let told = full(|reading| of_container(all(), &reading));
    let value = |name: &str| told.iter().find(|metric| metric.descriptor.name == name).unwrap().value;
    assert_eq!(value("container_last_seen"), 7);
    assert_eq!(value("container_start_time_seconds"), 3);
    assert_eq!(value("container_spec_cpu_period"), 100_000);
    assert_eq!(value("container_spec_cpu_quota"), 20_000);
    assert_eq!(value("container_spec_memory_limit_bytes"), 64 << 20);
    assert_eq!(value("container_spec_memory_swap_limit_bytes"), 64 << 20);
}

#[test]
fn block_devices_are_read_from_both_versions() {
    let expected = DeviceIo { major: 8, minor: 16, read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 };
    let bytes = "8:16 Read 1\n8:16 Write 2\n8:16 Sync 9\n8:16 Total 3\nTotal 3\n";
    let operations = "8:16 Read 3\n8:16 Write 4\n";
    assert_eq!(devices_v1(bytes, operations), [expected]);
    assert_eq!(devices_v2("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"), [expected]);
    for garbage in ["", "x", "8:16", "8:16 Read", "8:16 Read x", "a:b Read 1", ":", "8: Read 1"] {
        assert!(devices_v1(garbage, garbage).iter().all(|device| device.read_bytes == 0), "{garbage}");
        assert!(devices_v2(garbage).iter().all(|device| device.read_bytes == 0), "{garbage}");
    }
}

#[test]
fn the_soft_limit_of_open_files_is_found() {
    let limits =
        "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024      524288     files\n";
    assert_eq!(processes::open_files(limits), Some(1024));
    assert_eq!(processes::open_files("Max open files unlimited unlimited files\n"), None);
    assert_eq!(processes::open_files(""), None);
}

#[test]
fn own_descriptors_and_sockets_are_counted() {
    let own = i32::try_from(std::process::id()).unwrap();
    let before = Processes::read(&[own], own);
    let _sockets: Vec<_> = (0..5).map(|_| std::os::unix::net::UnixDatagram::unbound().unwrap()).collect();
    let after = Processes::read(&[own, i32::MAX], own);
    // Other tests open and close files meanwhile.
    assert!(after.sockets.unwrap() >= 5, "{before:?} {after:?}");
    assert!(after.descriptors.unwrap() > after.sockets.unwrap());
    assert!(after.open_files_limit.is_some());
}
