//! Control groups and systemd: what holds on every machine, and what only a node with systemd can show.
//!
//! The driver is the one that the engine takes by itself, or `CONTAINER_CGROUP_MANAGER`. Parents are the kubelet's: made
//! and removed by the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, container, eventually, file_with, limits, pod, pod_linux, pod_sharing_pids, run,
    security, with_systemd,
};

const MIB: i64 = 1 << 20;

fn v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A parent as the kubelet gives it to the burstable pod `limits`; gone with the value.
struct Parent {
    given: String,
    path: &'static str,
}

/// The pod's own slice.
const SLICE: &str = "ochretest-burstable-podlimits_uid.slice";

impl Parent {
    fn new() -> Self {
        let path = if with_systemd() {
            "ochretest.slice/ochretest-burstable.slice/ochretest-burstable-podlimits_uid.slice"
        } else {
            "ochretest/burstable/podlimits-uid"
        };
        Self { given: format!("/{path}"), path }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        if with_systemd() {
            Command::new("systemctl").args(["stop", "ochretest.slice"]).status().ok();
        }
        let hierarchies =
            std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for root in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            for group in Path::new(self.path).ancestors().filter(|path| !path.as_os_str().is_empty()) {
                std::fs::remove_dir(root.join(group)).ok();
            }
        }
    }
}

/// A limit as the kernel has it: controller, file on v1, file on v2.
async fn limit(
    node: &mut Node,
    id: &str,
    controller: &str,
    v1_file: &str,
    v2_file: &str,
) -> anyhow::Result<String> {
    let directory = node.cgroup(id, controller).await?;
    let file = directory.join(if v2() { v2_file } else { v1_file });
    Ok(std::fs::read_to_string(&file)?.trim().to_owned())
}

async fn memory_limit(node: &mut Node, id: &str) -> anyhow::Result<i64> {
    Ok(limit(node, id, "memory", "memory.limit_in_bytes", "memory.max").await?.parse()?)
}

async fn quota(node: &mut Node, id: &str) -> anyhow::Result<String> {
    let text = limit(node, id, "cpu", "cpu.cfs_quota_us", "cpu.max").await?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

async fn update(
    node: &mut Node,
    id: &str,
    resources: api::LinuxContainerResources,
) -> Result<(), tonic::Status> {
    let request = api::UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(resources),
        ..Default::default()
    };
    node.client.runtime.update_container_resources(request).await.map(drop)
}

async fn stats(node: &mut Node, id: &str) -> anyhow::Result<api::ContainerStats> {
    let request = api::ContainerStatsRequest { container_id: id.into() };
    let answer = node.client.runtime.container_stats(request).await?.into_inner();
    answer.stats.ok_or_else(|| anyhow::anyhow!("no stats in the answer"))
}

/// Which pressures of processors, memory and devices the statistics of a pod have.
async fn pod_pressure(node: &mut Node, pod: &str) -> anyhow::Result<[bool; 3]> {
    let request = api::PodSandboxStatsRequest { pod_sandbox_id: pod.into() };
    let answer = node.client.runtime.pod_sandbox_stats(request).await?.into_inner();
    let seen = answer.stats.and_then(|stats| stats.linux).unwrap_or_default();
    let of_pod =
        [seen.cpu.and_then(|cpu| cpu.psi), seen.memory.and_then(|m| m.psi), seen.io.and_then(|io| io.psi)];
    Ok(of_pod.map(|psi| psi.is_some()))
}

/// A container with every kind of limit, that may make device nodes.
fn limited() -> api::ContainerConfig {
    let mut config = container("limited", "while :; do sleep 0.05; done");
    *limits(&mut config) = api::LinuxContainerResources {
        memory_limit_in_bytes: 64 * MIB,
        cpu_period: 100_000,
        cpu_quota: 35_500,
        cpu_shares: 512,
        cpuset_cpus: "0".into(),
        ..Default::default()
    };
    security(&mut config).capabilities =
        Some(api::Capability { add_capabilities: vec!["MKNOD".into()], ..Default::default() });
    config
}

/// Fails unless every limit of `limited` is in force, as exactly as they can be, and devices are kept from the container.
async fn in_force(node: &mut Node, id: &str, handler: &str, exact: bool) -> anyhow::Result<()> {
    assert_eq!(memory_limit(node, id).await?, 64 * MIB, "{handler}");
    // systemd's own granularity is a hundredth of a processor.
    let quota: u32 = quota(node, id).await?.parse()?;
    assert!(quota == 35_500 || quota == 36_000 && !exact, "{handler}: {quota}");
    assert_eq!(limit(node, id, "cpuset", "cpuset.cpus", "cpuset.cpus").await?, "0", "{handler}");
    let weight: u64 = limit(node, id, "cpu", "cpu.shares", "cpu.weight").await?.parse()?;
    assert!(if v2() { (10..100).contains(&weight) } else { weight == 512 }, "{handler}: {weight}");
    let pids = limit(node, id, "pids", "pids.max", "pids.max").await?;
    let said = node.said(id, "rm -f /tmp/mem /tmp/null; mknod /tmp/mem c 1 1; mknod /tmp/null c 1 3; head -c 1 /tmp/mem; echo > /tmp/null && echo fine").await?;
    assert!(said.contains("not permitted") && said.contains("fine"), "{handler}: {said}");
    // The default `pids_limit` is "none": not systemd's `DefaultTasksMax=`, but all that the kernel can count.
    assert!(pids == "max" || pids.parse::<u64>()? >= 4 << 20, "{handler}: {pids}");
    Ok(())
}

#[tokio::test]
async fn limits_hold_in_a_group_below_the_kubelets_parent_and_can_be_changed() -> anyhow::Result<()> {
    let parent = Parent::new();
    for handler in HANDLERS {
        let mut node = Node::start().await?;
        let mut config = pod(&node, "limits");
        pod_linux(&mut config).cgroup_parent.clone_from(&parent.given);
        let pod = node.run_pod_with(&config, handler).await?;
        let id = node.launch(&pod, limited()).await?;
        let group = node.cgroup(&id, "memory").await?;
        let name = if with_systemd() { format!("crio-{id}.scope") } else { format!("crio-{id}") };
        // crun puts the process into a group of its own below the scope.
        let expected = Path::new(parent.path).join(&name);
        assert!(
            group.to_string_lossy().contains(&*expected.to_string_lossy()),
            "{handler}: {}",
            group.display()
        );

        // runc and crun leave it at what systemd sets.
        in_force(&mut node, &id, handler, handler == "ochre" || !with_systemd()).await?;
        let seen = stats(&mut node, &id).await?;
        let memory = seen.memory.unwrap();
        assert!(memory.usage_bytes.unwrap().value > 0 && memory.available_bytes.unwrap().value < 64 << 20);
        assert!(seen.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
        let pressure = v2() && group.join("cpu.pressure").exists();
        let of_container = [seen.cpu.unwrap().psi, memory.psi, seen.io.and_then(|io| io.psi)];
        assert_eq!(of_container.map(|psi| psi.is_some()), [pressure; 3], "{handler}");
        assert_eq!(pod_pressure(&mut node, &pod).await?, [pressure; 3], "{handler}");

        if with_systemd() {
            rewritten()?;
            in_force(&mut node, &id, handler, false).await?;
        }
        changed(&mut node, &id, handler).await?;
        node.remove_pod(&pod).await?;
        eventually("the end of the group", async || Ok(Some(()).filter(|()| !group.exists()))).await?;
        node.finish()?;
    }
    Ok(())
}

/// Makes systemd write all it knows into the groups below the parent: after a reload it does so with the next unit there.
fn rewritten() -> anyhow::Result<()> {
    run("systemctl", &["daemon-reload"])?;
    run("systemd-run", &["--quiet", "--scope", &format!("--slice={SLICE}"), "true"]).map(drop)
}

/// Changes limits, those of the unified hierarchy as well.
async fn changed(node: &mut Node, id: &str, handler: &str) -> anyhow::Result<()> {
    let resources = api::LinuxContainerResources {
        memory_limit_in_bytes: 96 * MIB,
        cpu_period: 100_000,
        cpu_quota: 50_000,
        ..Default::default()
    };
    update(node, id, resources).await?;
    assert_eq!(memory_limit(node, id).await?, 96 * MIB, "{handler}");
    assert_eq!(quota(node, id).await?, "50000", "{handler}");
    assert_eq!(limit(node, id, "cpuset", "cpuset.cpus", "cpuset.cpus").await?, "0", "{handler}");

    let high = (80 * MIB).to_string();
    let unified = api::LinuxContainerResources {
        unified: [("memory.high".to_owned(), high.clone())].into(),
        ..Default::default()
    };
    let answer = update(node, id, unified).await;
    if !v2() {
        assert_eq!(answer.unwrap_err().code(), tonic::Code::InvalidArgument, "{handler}");
        return Ok(());
    }
    answer?;
    assert_eq!(limit(node, id, "memory", "", "memory.high").await?, high, "{handler}");
    assert_eq!(memory_limit(node, id).await?, 96 * MIB, "{handler}: what was changed before stays");
    if with_systemd() && handler != "runc" {
        rewritten()?;
        assert_eq!(limit(node, id, "memory", "", "memory.high").await?, high, "{handler}");
        assert_eq!(memory_limit(node, id).await?, 96 * MIB, "{handler}");
    }
    let unknown = api::LinuxContainerResources {
        unified: [("../cgroup.procs".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(update(node, id, unknown).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn files_of_the_unified_hierarchy_keep_their_values_whatever_systemd_does() -> anyhow::Result<()> {
    if !with_systemd() || !v2() {
        println!("skipped: neither the systemd driver nor cgroup v2");
        return Ok(());
    }
    let parent = Parent::new();
    let mut node = Node::start().await?;
    let mut config = pod(&node, "limits");
    pod_linux(&mut config).cgroup_parent.clone_from(&parent.given);
    let pod = node.run_pod(&config).await?;
    let asked = [
        ("memory.high", "67108864"),
        ("memory.min", "1048576"),
        ("memory.low", "2097152"),
        ("memory.swap.max", "4194304"),
        ("memory.oom.group", "1"),
        ("cpu.max", "30000 100000"),
        ("cpu.max.burst", "1000"),
        ("io.weight", "default 55"),
        ("pids.max", "77"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
    ];
    let mut app = container("app", "sleep 10000");
    limits(&mut app).unified = asked.map(|(file, value)| (file.into(), value.into())).into();
    let id = node.launch(&pod, app).await?;
    let mut expected = std::collections::BTreeMap::from(asked);
    for change in [("memory.high", "50331648"), ("cpu.idle", "1"), ("memory.swap.max", "0")] {
        for happens in [|| Ok(()), rewritten] {
            happens()?;
            for (file, value) in &expected {
                assert_eq!(limit(&mut node, &id, "", "", file).await?, *value, "{file} before {change:?}");
            }
        }
        let unified = [change].map(|(file, value)| (file.to_owned(), value.to_owned())).into();
        update(&mut node, &id, api::LinuxContainerResources { unified, ..Default::default() }).await?;
        expected.insert(change.0, change.1);
    }
    node.remove_pod(&pod).await?;
    node.finish()
}

#[tokio::test]
async fn what_the_kernel_kills_for_memory_is_oomkilled_with_every_handler() -> anyhow::Result<()> {
    for handler in HANDLERS {
        let mut node = Node::start().await?;
        let config = pod(&node, "oom");
        let pod = node.run_pod_with(&config, handler).await?;
        let mut hog = container("hog", "x=$(yes | head -c 100000000); echo ${#x}");
        limits(&mut hog).memory_limit_in_bytes = 16 * MIB;
        limits(&mut hog).memory_swap_limit_in_bytes = 16 * MIB;
        let hog = node.launch(&pod, hog).await?;
        let ended = node.exited(&hog).await?;
        assert_eq!((ended.reason.as_str(), ended.exit_code), ("OOMKilled", 137), "{handler}: {ended:?}");
        node.remove_pod(&pod).await?;
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_parent_that_the_driver_cannot_use_is_refused() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let other_drivers = if with_systemd() { "/kubepods/burstable" } else { "kubepods-burstable.slice" };
    for parent in [other_drivers, "/a/../b", "/../a.slice", "a--b.slice", "/a/./b.slice/..", "x\n.slice"] {
        let mut config = pod(&node, "refused");
        pod_linux(&mut config).cgroup_parent = parent.into();
        let refused = node.run_pod(&config).await.err();
        let refused = refused.ok_or_else(|| anyhow::anyhow!("the parent {parent:?} was taken"))?;
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{parent:?}: {refused}");
    }
    node.finish()
}

#[tokio::test]
async fn a_pod_whose_monitor_was_killed_leaves_no_pause_process() -> anyhow::Result<()> {
    for down in [false, true] {
        let mut node = Node::start().await?;
        let config = pod_sharing_pids(&node, "paused");
        let pod = node.run_pod(&config).await?;
        let pause = pause_pid(&mut node, &pod).await?;
        if down {
            node.engine.kill()?;
        }
        let (monitor, _) = monitor(&node)?;
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL)?;
        if down {
            node.engine.start_again()?;
            node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        }
        node.remove_pod(&pod).await?;
        // Its parent was the monitor, so the machine's init reaps it, in its own time.
        let status = std::fs::read_to_string(format!("/proc/{pause}/status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("State:\tZ"), "the pause process lives on: {status}");
        node.finish()?;
    }
    Ok(())
}

async fn pause_pid(node: &mut Node, pod: &str) -> anyhow::Result<i64> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: pod.into(), verbose: true };
    let answer = node.client.runtime.pod_sandbox_status(request).await?.into_inner();
    let info: serde_json::Value = serde_json::from_str(&answer.info["info"])?;
    info["pid"].as_i64().filter(|pid| *pid > 0).ok_or_else(|| anyhow::anyhow!("no pid in {info}"))
}

/// The one monitor of a node, and its control group.
fn monitor(node: &Node) -> anyhow::Result<(rustix::process::Pid, String)> {
    let mut found = ochre_test_support::leftovers::find(&node.path("")).processes;
    found.retain(|(_, line)| line.contains("ochre-monitor --dir"));
    let [(pid, _)] = found.as_slice() else { anyhow::bail!("one monitor was expected: {found:?}") };
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    Ok((rustix::process::Pid::from_raw(*pid).ok_or_else(|| anyhow::anyhow!("process 0"))?, group))
}

/// The engine as a unit of systemd, in the namespaces of the test; gone with the value.
struct Unit {
    name: String,
}

/// Units started so far: a name may stay taken for a moment.
static STARTED: AtomicU32 = AtomicU32::new(0);

impl Unit {
    fn start(node: &Node) -> anyhow::Result<Self> {
        let name =
            format!("ochre-e2e-{}-{}.service", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        // The cgroupfs driver leaves monitors in the unit, which is why it needs what CRI-O's unit has as well.
        let kill_mode = if with_systemd() { "control-group" } else { "process" };
        let (me, command) = (std::process::id(), node.engine.command());
        let log = format!("append:{}", node.engine.log().display());
        let driver = std::env::var("CONTAINER_CGROUP_MANAGER").unwrap_or_default();
        let output = Command::new("systemd-run")
            .args(["--quiet", "--collect", &format!("--unit={name}"), "--property=Delegate=yes"])
            .args([format!("--property=KillMode={kill_mode}"), format!("--property=StandardError={log}")])
            .arg(format!("--setenv=CONTAINER_CGROUP_MANAGER={driver}"))
            .args([
                "nsenter",
                &format!("--net=/proc/{me}/ns/net"),
                &format!("--mount=/proc/{me}/ns/mnt"),
                "--",
            ])
            .arg(command.get_program())
            .args(command.get_args())
            .output()?;
        anyhow::ensure!(output.status.success(), "systemd-run: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { name })
    }

    fn systemctl(&self, verb: &str) -> anyhow::Result<()> {
        run("systemctl", &[verb, &self.name]).map(drop)
    }

    /// Connects to the engine once it serves.
    async fn connect(&self, node: &mut Node) -> anyhow::Result<()> {
        let socket = node.engine.socket();
        node.client = eventually("an engine that serves", async || {
            let Ok(mut client) = ochre_client::Client::connect(&socket).await else { return Ok(None) };
            let served = client.runtime.version(api::VersionRequest::default()).await.is_ok();
            Ok(Some(client).filter(|_| served))
        })
        .await?;
        Ok(())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.systemctl("stop").ok();
    }
}

#[tokio::test]
async fn the_engines_unit_is_stopped_and_restarted_under_pods_that_go_on() -> anyhow::Result<()> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    for handler in HANDLERS {
        let mut node = Node::start().await?;
        node.engine.stop()?;
        let unit = Unit::start(&node)?;
        unit.connect(&mut node).await?;
        let config = pod_sharing_pids(&node, "unit");
        let pod = node.run_pod_with(&config, handler).await?;
        let writer = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done";
        let writer = node.launch(&pod, container("writer", writer)).await?;
        let group = monitor(&node)?.1;
        if with_systemd() {
            assert!(group.contains(&format!("/system.slice/crio-conmon-{pod}.scope")), "{group}");
        }
        unit.systemctl("restart")?;
        unit.connect(&mut node).await?;
        assert_eq!(
            node.status(&writer).await?.state,
            api::ContainerState::ContainerRunning as i32,
            "{handler}"
        );
        let ending = node.launch(&pod, container("ending", "sleep 0.5; echo last words; exit 42")).await?;
        drop(unit);
        file_with(&node.path("logs/unit/ending.log"), "last words").await?;
        let unit = Unit::start(&node)?;
        unit.connect(&mut node).await?;
        assert_eq!(node.exited(&ending).await?.exit_code, 42, "{handler}");
        assert_eq!(node.exec(&writer, "echo still here").await?.stdout, b"still here\n", "{handler}");
        node.stop_container(&writer, 0).await?;
        let log = std::fs::read_to_string(node.path("logs/unit/writer.log"))?;
        let lines = log.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        assert!(lines.eq(0..log.lines().count()), "{handler}: no line is lost or doubled");
        node.remove_pod(&pod).await?;
        drop(unit);
        node.finish()?;
    }
    Ok(())
}
