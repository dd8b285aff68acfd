//! Records come back as they were written, or are set aside; they never stop the daemon.

use std::collections::BTreeMap;

use ochre_runtime::config::{
    ContainerConfig, ContainerMetadata, ContainerSecurity, NamespaceOptions, Resources, RunAs, SandboxConfig,
    SandboxMetadata,
};
use ochre_runtime::namespaces::PodNamespaces;
use ochre_types::ImageId;

use super::latest::{ContainerPhase, ImageRecord, SandboxPhase, UserRecord, VolumeRecord};
use super::*;

pub(crate) fn sandbox() -> latest::Sandbox {
    latest::Sandbox {
        id: SandboxId::generate(),
        boot_id: "boot".into(),
        created_at: 5,
        phase: SandboxPhase::Ready,
        config: SandboxConfig {
            metadata: SandboxMetadata {
                name: "n".into(),
                namespace: "ns".into(),
                uid: "u".into(),
                attempt: 2,
            },
            handler: String::new(),
            hostname: "h".into(),
            log_directory: String::new(),
            dns: None,
            port_mappings: Vec::new(),
            labels: BTreeMap::from([("a".into(), "\u{1F980} \"quoted\"".into())]),
            annotations: BTreeMap::new(),
            cgroup_parent: String::new(),
            sysctls: BTreeMap::new(),
            namespaces: NamespaceOptions::default(),
            privileged: false,
            run_as: RunAs::default(),
            selinux: None,
            seccomp: None,
            overhead: None,
            resources: None,
        },
        handler: "ochre".into(),
        namespaces: PodNamespaces::default(),
        ips: vec!["10.0.0.7".parse().unwrap()],
        pause_pid: None,
        log_directory: "/var/log".into(),
        updated: None,
    }
}

fn container(sandbox: &latest::Sandbox) -> latest::Container {
    latest::Container {
        id: ContainerId::generate(),
        sandbox: sandbox.id.clone(),
        created_at: 6,
        phase: ContainerPhase::Live { pid: 7, started_at: 8 },
        config: ContainerConfig {
            metadata: ContainerMetadata { name: "c".into(), attempt: 0 },
            image: "i".into(),
            user_specified_image: String::new(),
            command: vec!["x".into()],
            args: Vec::new(),
            working_dir: String::new(),
            envs: vec![("K".into(), vec![0xff, 0])],
            mounts: Vec::new(),
            devices: Vec::new(),
            cdi_devices: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            log_path: String::new(),
            stdin: false,
            stdin_once: false,
            tty: true,
            stop_signal: None,
            resources: Resources::default(),
            security: ContainerSecurity::default(),
        },
        image: ImageRecord { id: ImageId::generate(), name: "i".into(), reference: "r".into() },
        log_path: None,
        stop_signal: 15,
        user: UserRecord::default(),
        cgroups_path: "/crio/x".into(),
        volumes: vec![VolumeRecord { place: 3, image: ImageId::generate() }],
    }
}

#[test]
fn records_come_back_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let records = Records::open(directory.path()).unwrap();
    let pod = sandbox();
    let inside = container(&pod);
    records.put_sandbox(&pod, Durability::Synced).unwrap();
    records.put_container(&inside, Durability::Volatile).unwrap();
    let (loaded, bad) = records.load().unwrap();
    assert!(bad.is_empty());
    assert_eq!(loaded[0].sandbox.config, pod.config);
    assert_eq!(loaded[0].sandbox.ips, pod.ips);
    assert_eq!(loaded[0].containers[0].config, inside.config);
    assert_eq!(loaded[0].containers[0].phase, inside.phase);
    assert_eq!(loaded[0].containers[0].volumes, inside.volumes);
    records.remove_container(&pod.id, &inside.id).unwrap();
    records.remove_container(&pod.id, &inside.id).unwrap();
    records.remove_sandbox(&pod.id).unwrap();
    records.remove_sandbox(&pod.id).unwrap();
    assert!(records.load().unwrap().0.is_empty());
}

#[test]
fn every_flipped_byte_of_a_record_is_found_and_the_record_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let records = Records::open(directory.path()).unwrap();
    let pod = sandbox();
    let inside = container(&pod);
    records.put_sandbox(&pod, Durability::Volatile).unwrap();
    let path = directory.path().join("pods").join(pod.id.as_str()).join(format!("{}.json", inside.id));
    records.put_container(&inside, Durability::Volatile).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() - 1 {
        let mut damaged = good.clone();
        damaged[at] ^= 0x15;
        std::fs::write(&path, &damaged).unwrap();
        let (loaded, bad) = records.load().unwrap();
        assert_eq!((loaded[0].containers.len(), bad.len()), (0, 1), "byte {at}");
        assert!(!path.exists(), "byte {at}");
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert_eq!(records.load().unwrap().1.len(), 1);
}

#[test]
fn a_record_of_a_newer_version_is_set_aside_and_a_folder_without_one_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let records = Records::open(directory.path()).unwrap();
    let empty = directory.path().join("pods/empty");
    std::fs::create_dir(&empty).unwrap();
    let newer = directory.path().join("pods/newer");
    std::fs::create_dir(&newer).unwrap();
    std::fs::write(newer.join("pod.json"), r#"{"version":2,"checksum":0,"body":{}}"#).unwrap();
    let (loaded, bad) = records.load().unwrap();
    assert!(loaded.is_empty());
    assert!(bad[0].to_string().contains("version 2 is newer"), "{}", bad[0]);
    assert!(!empty.exists() && newer.join("pod.bad").exists());
}
