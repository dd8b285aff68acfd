use std::collections::BTreeMap;
use std::fs::File;

use ochre_sys::namespace::in_namespace;
use ochre_types::ErrorKind;

use super::*;
use crate::config::{IdMapping, NamespaceMode};

const ALL: [PodNamespace; 3] = [PodNamespace::Net, PodNamespace::Ipc, PodNamespace::Uts];
const WITH_USER: [PodNamespace; 4] =
    [PodNamespace::Net, PodNamespace::Ipc, PodNamespace::Uts, PodNamespace::User];

#[test]
fn a_sysctl_is_sorted_into_its_namespace_in_either_notation() {
    for (key, namespace) in [
        ("net.ipv4.ip_forward", PodNamespace::Net),
        ("net/ipv4/ip_forward", PodNamespace::Net),
        ("net.ipv4.conf.eth0/1.rp_filter", PodNamespace::Net),
        ("kernel.shmmax", PodNamespace::Ipc),
        ("kernel.shm_rmid_forced", PodNamespace::Ipc),
        ("kernel/msgmax", PodNamespace::Ipc),
        ("kernel.sem", PodNamespace::Ipc),
        ("fs.mqueue.msg_max", PodNamespace::Ipc),
    ] {
        assert_eq!(Sysctl::new(key, "1").unwrap().namespace(), namespace, "{key}");
    }
}

#[test]
fn hostile_sysctls_are_refused_with_their_reason() {
    for key in [
        "",
        "net",
        "net.",
        ".net.x",
        "net..x",
        "net.ipv4../x",
        "net/../kernel/x",
        "net/./x",
        "net.a b",
        "net.a\nb",
        "net.é",
    ] {
        let error = Sysctl::new(key, "1").unwrap_err();
        assert!(matches!(error, SysctlError::InvalidKey { .. }), "{key}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("invalid sysctl"), "{error}");
    }
    for key in [
        "kernel.hostname",
        "kernel.domainname",
        "vm.swappiness",
        "kernel.semx",
        "fs.file-max",
        "kernel.shm.x",
        "fs.mqueue",
        "network.x",
    ] {
        assert!(matches!(Sysctl::new(key, "1").unwrap_err(), SysctlError::NotNamespaced { .. }), "{key}");
    }
    let long = "1".repeat(5000);
    for value in ["", "1\n2", "1\0", &long] {
        assert!(matches!(Sysctl::new("net.x.y", value).unwrap_err(), SysctlError::InvalidValue { .. }));
    }
}

#[test]
fn requests_win_over_defaults_and_foreign_ones_are_refused() {
    let defaults = [("net.ipv4.ip_forward".into(), "0".into()), ("kernel.sem".into(), "1 2 3 4".into())];
    let requested = BTreeMap::from([("net/ipv4/ip_forward".into(), "1".into())]);
    let merged = merge_sysctls(&defaults, &requested, &[PodNamespace::Net]).unwrap();
    assert_eq!(merged, [Sysctl::new("net/ipv4/ip_forward", "1").unwrap()]);
    let error = merge_sysctls(&defaults, &requested, &[PodNamespace::Ipc]).unwrap_err();
    assert!(matches!(&error, SysctlError::OfNode { key } if key == "net/ipv4/ip_forward"), "{error}");
}

#[test]
fn pins_lie_where_other_tools_look() {
    let id = "0123456789abcdef".repeat(4).parse().unwrap();
    let own = [PodNamespace::Uts, PodNamespace::Net, PodNamespace::Net];
    let namespaces = PodNamespaces::plan(Path::new("/var/run"), &id, &own);
    let net = namespaces.path(PodNamespace::Net).unwrap();
    assert_eq!(net, Path::new("/var/run/netns/01234567-89ab-cdef-0123-456789abcdef"));
    assert!(namespaces.path(PodNamespace::Uts).unwrap().starts_with("/var/run/utsns"));
    assert_eq!(namespaces.path(PodNamespace::Ipc), None);
}

struct Scratch {
    dir: tempfile::TempDir,
    namespaces: PodNamespaces,
}

impl Scratch {
    fn new(own: &[PodNamespace]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let namespaces = PodNamespaces::plan(dir.path(), &SandboxId::generate(), own);
        Self { dir, namespaces }
    }

    fn inside<T: Send>(&self, of: PodNamespace, work: impl FnOnce() -> T + Send) -> T {
        in_namespace(File::open(self.namespaces.path(of).unwrap()).unwrap(), of.kind().unwrap(), work)
            .unwrap()
    }

    fn is_clean(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let pins = WITH_USER.iter().filter_map(|of| self.namespaces.path(*of)).any(Path::exists);
        !pins && !mounts.contains(self.dir.path().to_str().unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.namespaces.remove());
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn settings_apply_inside_and_only_inside() {
    let scratch = Scratch::new(&ALL);
    let outside = |path| read(path);
    let before = (
        outside("/proc/sys/kernel/msgmax"),
        outside("/proc/sys/net/ipv4/ip_default_ttl"),
        outside("/proc/sys/kernel/hostname"),
    );
    let settings = NamespaceSettings {
        sysctls: vec![
            Sysctl::new("kernel.msgmax", "12345").unwrap(),
            Sysctl::new("net/ipv4/ip_default_ttl", "77").unwrap(),
        ],
        hostname: Some("pod-1.example".into()),
        user: None,
    };
    scratch.namespaces.create(&settings).unwrap();
    assert_eq!(scratch.inside(PodNamespace::Ipc, || read("/proc/sys/kernel/msgmax")), "12345");
    assert_eq!(scratch.inside(PodNamespace::Net, || read("/proc/sys/net/ipv4/ip_default_ttl")), "77");
    assert_eq!(scratch.inside(PodNamespace::Uts, || read("/proc/sys/kernel/hostname")), "pod-1.example");
    let after = (
        outside("/proc/sys/kernel/msgmax"),
        outside("/proc/sys/net/ipv4/ip_default_ttl"),
        outside("/proc/sys/kernel/hostname"),
    );
    assert_eq!(before, after);
    scratch.namespaces.remove().unwrap();
    scratch.namespaces.remove().unwrap();
    assert!(scratch.is_clean());
}

#[test]
fn a_refused_setting_leaves_nothing() {
    let scratch = Scratch::new(&ALL);
    for (key, value) in [
        ("net.ipv4.no_such_thing", "1"),
        ("net.ipv4", "1"),
        ("net.ipv4.ip_default_ttl", "many"),
        ("kernel.shmmax", "x"),
    ] {
        let sysctls = vec![Sysctl::new(key, value).unwrap()];
        let settings = NamespaceSettings { sysctls, ..NamespaceSettings::default() };
        let error = scratch.namespaces.create(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}: {error}");
        assert!(error.to_string().contains(key), "{error}");
        assert!(scratch.is_clean(), "{key}");
    }
    let long = "x".repeat(65);
    for hostname in ["", "a b", "a\nb", &long] {
        let settings = NamespaceSettings { hostname: Some(hostname.into()), ..NamespaceSettings::default() };
        let error = scratch.namespaces.create(&settings).unwrap_err();
        assert!(matches!(error, NamespaceError::InvalidHostname { .. }), "{error}");
    }
    assert!(scratch.is_clean());
}

#[test]
fn the_nodes_own_namespaces_are_never_changed() {
    let scratch = Scratch::new(&[PodNamespace::Net]);
    let sysctls = vec![Sysctl::new("kernel.msgmax", "9999").unwrap()];
    let ipc = NamespaceSettings { sysctls, ..NamespaceSettings::default() };
    let error = scratch.namespaces.create(&ipc).unwrap_err();
    assert!(matches!(error, NamespaceError::Sysctl(SysctlError::OfNode { .. })), "{error}");
    let uts = NamespaceSettings { hostname: Some("other".into()), ..NamespaceSettings::default() };
    let error = scratch.namespaces.create(&uts).unwrap_err();
    assert!(matches!(error, NamespaceError::HostnameOfNode { .. }), "{error}");
    assert!(scratch.is_clean());
    Scratch::new(&[]).namespaces.create(&NamespaceSettings::default()).unwrap();
}

fn mapped() -> UserNamespace {
    let line = vec![IdMapping { host_id: 200_000, container_id: 0, length: 65_536 }];
    UserNamespace { mode: NamespaceMode::Pod, uids: line.clone(), gids: line }
}

#[test]
fn with_a_user_namespace_every_kind_of_setting_applies_and_one_removal_takes_all() {
    let scratch = Scratch::new(&WITH_USER);
    let groups = mapped().gids;
    let sysctl = |key, value| Sysctl::new(key, value).unwrap().in_user_namespace(&groups).unwrap();
    let settings = NamespaceSettings {
        sysctls: vec![
            sysctl("kernel.msgmax", "12345"),
            sysctl("net.ipv4.ping_group_range", "0 2147483647"),
            sysctl("fs.mqueue.msg_max", "77"),
            sysctl("net.ipv4.ip_default_ttl", "78"),
        ],
        hostname: Some("mapped".into()),
        user: Some(mapped()),
    };
    let who = || (rustix::process::geteuid(), rustix::process::getegid());
    let before = who();
    scratch.namespaces.create(&settings).unwrap();
    assert_eq!(who(), before, "no thread of ours changed its ids for good");
    assert_eq!(scratch.inside(PodNamespace::Ipc, || read("/proc/sys/kernel/msgmax")), "12345");
    assert_eq!(scratch.inside(PodNamespace::Ipc, || read("/proc/sys/fs/mqueue/msg_max")), "77");
    assert_eq!(scratch.inside(PodNamespace::Net, || read("/proc/sys/net/ipv4/ip_default_ttl")), "78");
    let range = scratch.inside(PodNamespace::Net, || read("/proc/sys/net/ipv4/ping_group_range"));
    assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["200000", "265535"], "as the node counts");
    assert_eq!(scratch.inside(PodNamespace::Uts, || read("/proc/sys/kernel/hostname")), "mapped");
    scratch.namespaces.remove().unwrap();
    assert!(scratch.is_clean());
}

#[test]
fn a_refused_setting_leaves_nothing_of_a_user_namespace_either() {
    let scratch = Scratch::new(&WITH_USER);
    for key in ["net.ipv4.ip_default_ttl", "kernel.shmmax"] {
        let sysctls = vec![Sysctl::new(key, "many").unwrap()];
        let settings = NamespaceSettings { sysctls, user: Some(mapped()), ..NamespaceSettings::default() };
        let error = scratch.namespaces.create(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}: {error}");
        assert!(scratch.is_clean(), "{key}");
    }
    let without = scratch.namespaces.create(&NamespaceSettings::default()).unwrap_err();
    assert!(matches!(without, NamespaceError::IdMap(_)), "{without}");
    assert!(scratch.is_clean());
}

#[test]
fn a_range_of_ping_groups_is_the_containers() {
    let groups = [IdMapping { host_id: 1000, container_id: 0, length: 100 }];
    for (value, expected) in [
        ("0 99", Some("1000 1099")),
        ("0 2147483647", Some("1000 1099")),
        ("7\t8", Some("1007 1008")),
        ("1 0", Some("1 0")),
        ("100 200", None),
        ("x", Some("x")),
    ] {
        let sysctl = Sysctl::new("net/ipv4/ping_group_range", value).unwrap().in_user_namespace(&groups);
        assert_eq!(
            sysctl.ok(),
            expected.map(|to| Sysctl::new("net/ipv4/ping_group_range", to).unwrap()),
            "{value}"
        );
    }
    let other = Sysctl::new("net.ipv4.ip_local_port_range", "1024 2000").unwrap();
    assert_eq!(other.clone().in_user_namespace(&groups).unwrap(), other);
}

#[test]
fn a_hostname_is_the_pods_the_nodes_or_the_short_id() {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = SandboxId::generate();
    for (given, network, expected) in [
        ("web", NamespaceMode::Pod, "web"),
        ("web", NamespaceMode::Node, "web"),
        ("", NamespaceMode::Pod, id.short()),
        ("", NamespaceMode::Node, &node),
    ] {
        let mut config = crate::spec::tests::sandbox();
        config.hostname = given.into();
        config.namespaces.network = network;
        assert_eq!(hostname(&config, &id), expected, "{given:?} {network:?}");
    }
    let long = "h".repeat(MAX_HOSTNAME);
    for (name, good) in [
        ("web-1.example_x", true),
        (long.as_str(), true),
        (&format!("{long}h"), false),
        ("a b", false),
        ("", false),
    ] {
        assert_eq!(check_hostname(name).is_ok(), good, "{name:?}");
    }
}
