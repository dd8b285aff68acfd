use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ochre_types::{ContainerId, ErrorKind, SandboxId};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn the_version_follows_from_the_mount_table() {
    let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
              34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,xattr,memory\n\
              35 31 0:32 / /var/lib/x/cgroup/memory rw - cgroup cgroup rw,memory\n\
              36 31 0:31 / /sys/fs/cgroup/again rw - cgroup cgroup rw,xattr,memory\n";
    let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let group = GroupPath::new("/a/b").unwrap();

    let cgroups = Cgroups::parse(v1).unwrap();
    assert_eq!(cgroups.version(), Version::V1);
    assert_eq!(cgroups.directory("cpuacct", &group).unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b"));
    assert_eq!(cgroups.directory("memory", &group).unwrap(), Path::new("/sys/fs/cgroup/memory/a/b"));
    assert_eq!(cgroups.directory("pids", &group), None);
    assert_eq!(cgroups.directory("rw", &group), None);
    assert_eq!(cgroups.directories(&group).count(), 2, "a second mount is the same hierarchy");

    assert_eq!(Cgroups::parse(&format!("{v1}{unified}")).unwrap().version(), Version::Hybrid);
    let cgroups = Cgroups::parse(v2).unwrap();
    assert_eq!(cgroups.version(), Version::V2);
    assert_eq!(cgroups.directory("memory", &group).unwrap(), Path::new("/sys/fs/cgroup/a/b"));
    for nothing in ["", "rubbish", "1 2 - \n - cgroup2", unified] {
        assert!(matches!(Cgroups::parse(nothing), Err(CgroupError::NotMounted)), "{nothing}");
    }
}

#[test]
fn names_are_those_cri_o_uses() {
    let id: ContainerId = ID.parse().unwrap();
    let (fs, systemd) = (Driver::Cgroupfs, Driver::Systemd);
    for (driver, parent, spec, directory) in [
        (fs, "", format!("/crio/crio-{ID}"), format!("/crio/crio-{ID}")),
        (fs, "/kubepods/pod1/", format!("/kubepods/pod1/crio-{ID}"), format!("/kubepods/pod1/crio-{ID}")),
        (fs, "a//b", format!("/a/b/crio-{ID}"), format!("/a/b/crio-{ID}")),
        (fs, "/", format!("/crio-{ID}"), format!("/crio-{ID}")),
        (systemd, "", format!("system.slice:crio:{ID}"), format!("/system.slice/crio-{ID}.scope")),
        (
            systemd,
            "/kubepods.slice/kubepods-pod1.slice",
            format!("kubepods-pod1.slice:crio:{ID}"),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"),
        ),
        (
            systemd,
            "a-b-c.slice",
            format!("a-b-c.slice:crio:{ID}"),
            format!("/a.slice/a-b.slice/a-b-c.slice/crio-{ID}.scope"),
        ),
    ] {
        assert_eq!(container_cgroups_path(driver, parent, &id).unwrap(), spec, "{parent}");
        assert_eq!(
            OwnedGroup::of_container(driver, parent, &id).unwrap().path().as_str(),
            directory,
            "{parent}"
        );
    }
}

#[test]
fn bad_parents_are_refused_by_name() {
    let id: ContainerId = ID.parse().unwrap();
    let long = "x".repeat(5000);
    for (driver, parent) in [
        (Driver::Cgroupfs, "/kubepods.slice"),
        (Driver::Cgroupfs, "/a/../b"),
        (Driver::Cgroupfs, "/a/./b"),
        (Driver::Cgroupfs, "/a\nb"),
        (Driver::Cgroupfs, &long),
        (Driver::Systemd, "/kubepods/pod1"),
        (Driver::Systemd, "a--b.slice"),
        (Driver::Systemd, "-a.slice"),
        (Driver::Systemd, "a b.slice"),
        (Driver::Systemd, "a:crio:b.slice/"),
        (Driver::Systemd, ".slice"),
    ] {
        let result = container_cgroups_path(driver, parent, &id);
        let error = result.expect_err(parent);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{parent}");
    }
    assert_eq!(expand_slice("-.slice").unwrap().as_str(), "/");
}

#[test]
fn a_record_that_names_another_group_is_no_owned_group() {
    for path in
        ["/", "/kubepods", "/crio-1", "/a/crio-xyz", &format!("/crio-{ID}/sub"), &format!("/crio-{ID}.slice")]
    {
        OwnedGroup::try_from(GroupPath::new(path).unwrap()).expect_err(path);
    }
    let group = OwnedGroup::of_container(Driver::Systemd, "", &ID.parse().unwrap()).unwrap();
    let json = serde_json::to_string(&group).unwrap();
    assert_eq!(serde_json::from_str::<OwnedGroup>(&json).unwrap(), group);
    assert!(serde_json::from_str::<OwnedGroup>("\"/a/../b\"").is_err());
}

/// A scratch parent in all hierarchies, removed at the end whatever happens.
struct Scratch {
    cgroups: Cgroups,
    parent: String,
    children: Vec<Child>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let parent = format!("/ochre-test-{name}-{}", std::process::id());
        Self { cgroups: Cgroups::detect().unwrap(), parent, children: Vec::new() }
    }

    fn path(&self) -> GroupPath {
        GroupPath::new(&self.parent).unwrap()
    }

    fn sleeper_in(&mut self, group: &GroupPath, script: &str) -> i32 {
        // It must not start anything before it is in its group.
        let script = format!("read go; {script}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let gate = child.stdin.take();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        let directory = self.cgroups.directory("pids", group).unwrap();
        std::fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
        drop(gate);
        pid
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        for directory in self.cgroups.directories(&self.path()) {
            for group in remove::tree(&directory).unwrap().iter().rev() {
                drop(remove::remove_one(group, deadline));
            }
        }
    }
}

#[test]
fn killing_ends_the_whole_tree_and_then_it_can_be_removed() {
    let mut scratch = Scratch::new("kill");
    let id = ContainerId::generate();
    let group = OwnedGroup::of_container(Driver::Cgroupfs, &scratch.parent, &id).unwrap();
    let directory = scratch.cgroups.directory("pids", group.path()).unwrap();
    std::fs::create_dir_all(directory.join("inner")).unwrap();
    let inner = GroupPath::new(&format!("{}/inner", group.path())).unwrap();
    let leaf = scratch.sleeper_in(&inner, "exec sleep 600");
    // A process that makes others as fast as they die.
    let forker = scratch.sleeper_in(&inner, "while :; do sleep 600 & sleep 0.001; done");
    std::thread::sleep(Duration::from_millis(50));
    let pids = scratch.cgroups.pids(group.path()).unwrap();
    assert!(pids.contains(&leaf) && pids.contains(&forker) && pids.len() > 2, "{pids:?}");

    let busy = scratch.cgroups.remove(&group, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(busy, CgroupError::Busy { .. }), "{busy}");
    scratch.cgroups.kill_all(&group, Duration::from_secs(10)).unwrap();
    assert_eq!(scratch.cgroups.pids(group.path()).unwrap(), Vec::<i32>::new());
    scratch.cgroups.remove(&group, Duration::from_secs(5)).unwrap();
    assert!(!directory.exists());
    scratch.cgroups.kill_all(&group, Duration::from_secs(1)).unwrap();
    scratch.cgroups.remove(&group, Duration::from_secs(1)).unwrap();
}

#[test]
fn a_frozen_group_dies_too() {
    let mut scratch = Scratch::new("frozen");
    let group =
        OwnedGroup::of_container(Driver::Cgroupfs, &scratch.parent, &ContainerId::generate()).unwrap();
    for controller in ["pids", "freezer"] {
        std::fs::create_dir_all(scratch.cgroups.directory(controller, group.path()).unwrap()).unwrap();
    }
    let pid = scratch.sleeper_in(group.path(), "exec sleep 600");
    let freezer = scratch.cgroups.directory("freezer", group.path()).unwrap();
    if scratch.cgroups.is_v2() {
        std::fs::write(freezer.join("cgroup.freeze"), "1").unwrap();
    } else {
        std::fs::write(freezer.join("cgroup.procs"), pid.to_string()).unwrap();
        std::fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
    }
    scratch.cgroups.kill_all(&group, Duration::from_secs(10)).unwrap();
}

#[test]
fn a_monitor_has_a_scope_only_under_systemd() {
    let id: SandboxId = ID.parse().unwrap();
    let kept = MonitorPlacement::plan(Driver::Cgroupfs, &id);
    assert_eq!(kept, MonitorPlacement::DaemonsGroup);
    kept.place(1).unwrap();
    kept.undo(&Cgroups::detect().unwrap()).unwrap();
    let scope = MonitorPlacement::plan(Driver::Systemd, &id);
    assert_eq!(scope, MonitorPlacement::Scope(format!("crio-conmon-{ID}.scope")));
    if !ochre_systemd::running() {
        return;
    }
    let mut scratch = Scratch::new("scope");
    std::fs::create_dir_all(scratch.cgroups.directory("pids", &scratch.path()).unwrap()).unwrap();
    let scope = MonitorPlacement::plan(Driver::Systemd, &SandboxId::generate());
    let MonitorPlacement::Scope(name) = &scope else { panic!("{scope:?}") };
    let scope_group = GroupPath::new(&format!("/system.slice/{name}")).unwrap();
    // The second monitor takes the place of the first, whose end systemd may not have noticed yet.
    for _ in 0..2 {
        let pid = scratch.sleeper_in(&scratch.path(), "exec sleep 600");
        scope.place(pid).unwrap();
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(group.contains("/system.slice/crio-conmon-"), "{group}");
        assert_eq!(scratch.cgroups.pids(&scope_group).unwrap(), [pid]);
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let pid = scratch.sleeper_in(&scratch.path(), "exec sleep 600");
    scope.place(pid).unwrap();
    scope.undo(&scratch.cgroups).unwrap();
    assert!(!scope_group.below(Path::new("/sys/fs/cgroup")).exists(), "it is stopped with what is in it");
}
