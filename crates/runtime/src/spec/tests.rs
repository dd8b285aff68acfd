//! Whole specifications, and the helpers that make ordinary requests for the other tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::cgroup::Version;
use crate::clamp::Held;
use crate::config::{
    ContainerMetadata, ContainerSecurity, Mount, NamespaceMode, Resources, RunAs, SandboxMetadata,
    SecurityProfile,
};

/// An ordinary pod.
pub(crate) fn sandbox() -> SandboxConfig {
    SandboxConfig {
        metadata: SandboxMetadata {
            name: "web".into(),
            namespace: "shop".into(),
            uid: "u-1".into(),
            attempt: 0,
        },
        handler: String::new(),
        hostname: "web".into(),
        log_directory: String::new(),
        dns: None,
        port_mappings: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        cgroup_parent: String::new(),
        sysctls: BTreeMap::new(),
        namespaces: crate::config::NamespaceOptions::default(),
        privileged: false,
        run_as: RunAs::default(),
        selinux: None,
        seccomp: None,
        overhead: None,
        resources: None,
    }
}

/// An ordinary container.
pub(crate) fn container() -> ContainerConfig {
    let mut security = ContainerSecurity::default();
    security.namespaces.pid = NamespaceMode::Container;
    ContainerConfig {
        metadata: ContainerMetadata { name: "server".into(), attempt: 1 },
        image: "example.test/web:1".into(),
        user_specified_image: String::new(),
        command: Vec::new(),
        args: Vec::new(),
        working_dir: String::new(),
        envs: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: "server_1.log".into(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: None,
        resources: Resources::default(),
        security,
    }
}

/// A volume without frills.
pub(super) fn volume(host_path: &str, container_path: &str) -> Mount {
    Mount {
        container_path: container_path.into(),
        host_path: host_path.into(),
        image: None,
        image_sub_path: String::new(),
        readonly: false,
        recursive_readonly: false,
        selinux_relabel: false,
        propagation: crate::config::Propagation::Private,
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        options: Vec::new(),
    }
}

/// Everything an input borrows.
pub(super) struct Fixture {
    pub(super) dir: TempDir,
    pub(super) sandbox: SandboxConfig,
    pub(super) container: ContainerConfig,
    pub(super) image: ImageDefaults,
    pub(super) node: NodeDefaults,
    pub(super) features: HandlerRules,
    ids: (ContainerId, SandboxId),
    rootfs: PathBuf,
    run_dir: PathBuf,
    files: SandboxFiles,
    namespaces: NamespacePaths,
    pub(super) volumes: BTreeMap<usize, VolumeDirectory>,
    pub(super) volume_dir: PathBuf,
    pub(super) allowed_annotations: Vec<String>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, run_dir) = (dir.path().join("root"), dir.path().join("run"));
        std::fs::create_dir_all(rootfs.join("etc")).unwrap();
        std::fs::create_dir(&run_dir).unwrap();
        std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        std::fs::write(rootfs.join("etc/group"), "root:x:0:\n").unwrap();
        let volume_dir = dir.path().join("volumes");
        let names = ["CHOWN", "KILL"];
        Self {
            dir,
            sandbox: sandbox(),
            container: container(),
            image: ImageDefaults { cmd: vec!["/bin/server".into()], ..ImageDefaults::default() },
            node: NodeDefaults {
                capabilities: names.iter().map(|name| capabilities::parse(name).unwrap()).collect(),
                add_inheritable: false,
                env: Vec::new(),
                ulimits: Vec::new(),
                devices: DeviceRules::default(),
                image_volumes: ImageVolumes::default(),
                pids_limit: -1,
                read_only: false,
                sources: SourceRules::default(),
                security: SecurityDefaults::default(),
                cgroup: CgroupFacts { version: Version::V2, swap: true, hugetlb: false },
                held: Held::everything(),
                passed_annotations: Vec::new(),
            },
            features: HandlerRules {
                idmap: false,
                rro: false,
                host_devices: HostDevices::All,
                min_memory: DEFAULT_MIN_MEMORY,
            },
            ids: ("c".repeat(64).parse().unwrap(), "b".repeat(64).parse().unwrap()),
            rootfs,
            run_dir,
            files: SandboxFiles {
                resolv_conf: "/pod/resolv.conf".into(),
                hostname: "/pod/hostname".into(),
                hosts: Some("/pod/hosts".into()),
                shm: Some("/pod/shm".into()),
            },
            namespaces: NamespacePaths {
                network: Some("/ns/net".into()),
                ipc: Some("/ns/ipc".into()),
                uts: Some("/ns/uts".into()),
                pid: None,
                user: None,
            },
            volumes: BTreeMap::new(),
            volume_dir,
            allowed_annotations: Vec::new(),
        }
    }

    pub(super) fn build(&self) -> Result<Built, Error> {
        super::container(&self.input())
    }

    pub(super) fn input(&self) -> ContainerInput<'_> {
        ContainerInput {
            id: &self.ids.0,
            sandbox_id: &self.ids.1,
            sandbox: &self.sandbox,
            container: &self.container,
            image: &self.image,
            rootfs: &self.rootfs,
            cgroups_path: "/kubepods/pod1/crio-1",
            namespaces: &self.namespaces,
            files: &self.files,
            node: &self.node,
            features: self.features,
            handler_seccomp: None,
            run_dir: &self.run_dir,
            volumes: &self.volumes,
            volume_dir: &self.volume_dir,
            allowed_annotations: &self.allowed_annotations,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.rootfs
    }

    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self.build().unwrap().spec).unwrap()
    }
}

/// Capabilities are a set in the library, so their order changes from run to run.
fn sorted(mut spec: Value) -> Value {
    let sets = spec["process"]["capabilities"].as_object_mut().unwrap();
    for (_, list) in sets {
        list.as_array_mut().unwrap().sort_by_key(|name| name.as_str().unwrap().to_owned());
    }
    spec
}

#[test]
fn an_ordinary_container_becomes_exactly_this() {
    let mut fixture = Fixture::new();
    fixture.container.resources.memory_limit = 64 << 20;
    fixture.container.security.masked_paths = vec!["/proc/kcore".into()];
    fixture.container.security.readonly_paths = vec!["/proc/sys".into()];
    let spec = sorted(fixture.json());
    let root = fixture.root().to_str().unwrap();
    let run = fixture.run_dir.to_str().unwrap();
    assert_eq!(spec["ociVersion"], "1.0.2");
    assert_eq!(spec["root"], json!({ "path": root, "readonly": false }));
    assert_eq!(spec.get("hostname"), None);
    let granted = json!(["CAP_CHOWN", "CAP_KILL"]);
    assert_eq!(
        spec["process"],
        json!({
            "terminal": false,
            "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
            "args": ["/bin/server"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=web", "HOME=/root"],
            "cwd": "/",
            "capabilities": {
                "bounding": granted, "effective": granted, "inheritable": [], "permitted": granted, "ambient": []
            },
            "rlimits": [],
            "noNewPrivileges": false,
            "oomScoreAdj": 0
        })
    );
    assert_eq!(
        spec["linux"],
        json!({
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": { "limit": 67_108_864, "swap": 67_108_864 },
                "pids": { "limit": 4194304 }
            },
            "cgroupsPath": "/kubepods/pod1/crio-1",
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "network", "path": "/ns/net" },
                { "type": "ipc", "path": "/ns/ipc" }, { "type": "uts", "path": "/ns/uts" }, { "type": "cgroup" }
            ],
            "devices": [],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"]
        })
    );
    let shown: Vec<String> = spec["mounts"].as_array().unwrap().iter().map(line).collect();
    assert_eq!(
        shown,
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm bind /pod/shm rbind,rprivate,nosuid,noexec,nodev,rw",
            "/etc/resolv.conf bind /pod/resolv.conf rbind,rprivate,nosuid,noexec,nodev,rw",
            "/etc/hostname bind /pod/hostname rbind,rprivate,nosuid,noexec,nodev,rw",
            &format!("/run/.containerenv bind {run}/containerenv rbind,rprivate,nosuid,noexec,nodev,rw"),
            "/etc/hosts bind /pod/hosts rbind,rprivate,nosuid,noexec,nodev,rw",
            "/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,relatime,ro",
        ]
    );
    let annotation = |key: &str| spec["annotations"][key].as_str().unwrap_or("absent").to_owned();
    assert_eq!(annotation("io.kubernetes.cri-o.ContainerType"), "container");
    assert_eq!(annotation("io.kubernetes.cri-o.Name"), "k8s_server_web_shop_u-1_1");
    assert_eq!(annotation("io.container.manager"), "cri-o");
}

fn line(mount: &Value) -> String {
    let options: Vec<&str> =
        mount["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()).collect();
    let text = |key: &str| mount[key].as_str().unwrap().to_owned();
    format!("{} {} {} {}", text("destination"), text("type"), text("source"), options.join(","))
}

#[test]
fn a_privileged_container_is_not_held_back_by_anything() {
    let mut fixture = Fixture::new();
    fixture.container.security.privileged = true;
    assert!(matches!(fixture.build(), Err(Error::PrivilegedInPlainPod)));
    fixture.sandbox.privileged = true;
    fixture.container.security.masked_paths = vec!["/proc/kcore".into()];
    fixture.container.security.seccomp = Some(SecurityProfile::RuntimeDefault);
    let spec = fixture.json();
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(spec["process"]["capabilities"][set].as_array().unwrap().len(), 41, "{set}");
    }
    assert_eq!(spec["linux"].get("seccomp"), None);
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"][1], json!({ "allow": true, "access": "rwm" }));
    let devices = spec["linux"]["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["path"] == "/dev/null"));
    assert!(!devices.iter().any(|device| device["path"].as_str().unwrap().starts_with("/dev/pts/")));
    let mounts: Vec<String> = spec["mounts"].as_array().unwrap().iter().map(line).collect();
    assert!(mounts.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,rw".to_owned()));
    assert!(mounts.contains(&"/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,relatime,rw".to_owned()));
}

#[test]
fn an_unknown_user_gets_records_of_its_own() {
    let mut fixture = Fixture::new();
    fixture.container.security.run_as = RunAs { user: Some(1234), group: Some(77), ..RunAs::default() };
    fixture.container.envs = vec![("HOME".into(), b"/srv".to_vec())];
    let spec = fixture.json();
    let mounts: Vec<String> = spec["mounts"].as_array().unwrap().iter().map(line).collect();
    assert!(mounts.iter().any(|mount| mount.starts_with("/etc/passwd bind ")));
    let passwd = std::fs::read_to_string(fixture.run_dir.join("passwd")).unwrap();
    assert_eq!(passwd, "root:x:0:0::/root:/bin/sh\n1234:x:1234:77:1234 user:/srv:/sbin/nologin\n");
    assert_eq!(std::fs::read_to_string(fixture.run_dir.join("group")).unwrap(), "root:x:0:\n77:x:77:\n");
    fixture.container.envs = vec![("HOME".into(), b"/srv:x".to_vec())];
    assert!(matches!(fixture.build(), Err(Error::UserRecord(_))));
}

#[test]
fn working_directories_and_image_volumes_stay_inside_the_root() {
    let mut fixture = Fixture::new();
    let outside = fixture.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.root().join("escape")).unwrap();
    std::os::unix::fs::symlink("../../../..", fixture.root().join("up")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd", fixture.root().join("fds")).unwrap();
    std::fs::create_dir_all(fixture.root().join("proc/self/fd")).unwrap();
    fixture.container.security.run_as.user = Some(1000);
    // A link to a place that only the node has leads nowhere inside the image.
    fixture.image.volumes = vec!["/escape/inner".into()];
    assert!(matches!(fixture.build(), Err(Error::Rootfs { action: "create", .. })));
    fixture.image.volumes = vec!["/up/data".into()];
    fixture.image.working_dir = "/srv/deep".into();
    assert_eq!(fixture.json()["process"]["cwd"], "/srv/deep");
    let made = std::fs::metadata(fixture.root().join("srv/deep")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 1000);
    assert!(fixture.root().join("data").is_dir());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(std::fs::read_link(fixture.root().join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));

    for bad in
        ["relative", "/proc/self/fd/7", "/proc", "//proc/self", "/dev/fd/3", "/a/../../b", "/x\0", "/fds/7"]
    {
        fixture.image.working_dir = bad.into();
        assert!(matches!(fixture.build(), Err(Error::Path { field: "working directory", .. })), "{bad:?}");
    }
    fixture.image.working_dir = String::new();
    for bad in ["/../../var", "data", ""] {
        fixture.image.volumes = vec![bad.into()];
        assert!(matches!(fixture.build(), Err(Error::Path { field: "volume of the image", .. })), "{bad:?}");
    }
}

#[test]
fn an_exec_has_the_containers_identity_and_its_own_arguments() {
    let mut fixture = Fixture::new();
    fixture.container.security.run_as.user = Some(1000);
    let spec = fixture.build().unwrap().spec;
    let process = exec_process(&spec, &["/bin/date".into()], true).unwrap();
    let original = spec.process().as_ref().unwrap();
    assert_eq!((process.user(), process.capabilities()), (original.user(), original.capabilities()));
    assert_eq!(process.args().as_deref().unwrap(), ["/bin/date"]);
    assert!(process.env().as_ref().unwrap().contains(&"TERM=xterm".to_owned()));
    assert_eq!(process.terminal(), Some(true));
    assert!(matches!(exec_process(&spec, &[], false), Err(Error::NoExecCommand)));
}

#[test]
fn a_read_only_node_makes_every_root_read_only() {
    let mut fixture = Fixture::new();
    fixture.node.read_only = true;
    let spec = fixture.json();
    assert_eq!(spec["root"]["readonly"], true);
    let mounts: Vec<String> = spec["mounts"].as_array().unwrap().iter().map(line).collect();
    for path in ["/run", "/tmp", "/var/tmp"] {
        assert!(mounts.contains(&format!("{path} tmpfs tmpfs rw,nosuid,nodev,tmpcopyup")), "{path}");
    }
}

#[test]
fn a_pause_process_has_no_privilege_at_all() {
    let mut fixture = Fixture::new();
    fixture.node.held = Held::everything().with_oom_score_adj_floor(7);
    let input = PauseInput {
        id: &fixture.ids.1,
        sandbox: &fixture.sandbox,
        rootfs: &fixture.rootfs,
        cgroups_path: "/kubepods/pod1/crio-2",
        namespaces: &fixture.namespaces,
        node: &fixture.node,
    };
    let (spec, warnings) = pause(&input).unwrap();
    assert_eq!(warnings, [Warning::OomScoreAdj { wanted: -998, given: 7 }]);
    let spec = serde_json::to_value(spec).unwrap();
    assert_eq!(spec["process"]["oomScoreAdj"], 7);
    assert_eq!(spec["process"]["args"], json!(["/pause", "pause"]));
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(spec["linux"]["resources"]["cpu"]["shares"], 2);
    assert!(spec["linux"]["seccomp"].is_object());
    assert_eq!(spec["linux"]["namespaces"][1], json!({ "type": "pid" }));
}
