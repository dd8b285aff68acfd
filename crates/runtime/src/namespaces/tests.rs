use std::collections::BTreeMap;
use std::fs::File;

use ochre_sys::namespace::in_namespace;
use ochre_types::ErrorKind;

use super::*;

const ALL: [PodNamespace; 3] = [PodNamespace::Net, PodNamespace::Ipc, PodNamespace::Uts];

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
        in_namespace(File::open(self.namespaces.path(of).unwrap()).unwrap(), of.kind(), work).unwrap()
    }

    fn is_clean(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let pins = ALL.iter().filter_map(|of| self.namespaces.path(*of)).any(Path::exists);
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
        let settings = NamespaceSettings { sysctls: vec![Sysctl::new(key, value).unwrap()], hostname: None };
        let error = scratch.namespaces.create(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}: {error}");
        assert!(error.to_string().contains(key), "{error}");
        assert!(scratch.is_clean(), "{key}");
    }
    let long = "x".repeat(65);
    for hostname in ["", "a b", "a\nb", &long] {
        let settings = NamespaceSettings { sysctls: Vec::new(), hostname: Some(hostname.into()) };
        let error = scratch.namespaces.create(&settings).unwrap_err();
        assert!(matches!(error, NamespaceError::InvalidHostname { .. }), "{error}");
    }
    assert!(scratch.is_clean());
}

#[test]
fn the_nodes_own_namespaces_are_never_changed() {
    let scratch = Scratch::new(&[PodNamespace::Net]);
    let ipc =
        NamespaceSettings { sysctls: vec![Sysctl::new("kernel.msgmax", "9999").unwrap()], hostname: None };
    let error = scratch.namespaces.create(&ipc).unwrap_err();
    assert!(matches!(error, NamespaceError::Sysctl(SysctlError::OfNode { .. })), "{error}");
    let uts = NamespaceSettings { sysctls: Vec::new(), hostname: Some("other".into()) };
    let error = scratch.namespaces.create(&uts).unwrap_err();
    assert!(matches!(error, NamespaceError::HostnameOfNode { .. }), "{error}");
    assert!(scratch.is_clean());
    Scratch::new(&[]).namespaces.create(&NamespaceSettings::default()).unwrap();
}
