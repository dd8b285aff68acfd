//! Input that can never work: a clear error with the right code that names what is wrong, nothing half-made, and a
//! good request right after it works.

use std::path::Path;

use ochre_cri_api as api;
use ochre_e2e::{
    Node, Present, busybox, check_refusal, container, limits, pod, pod_linux, pod_namespaces, security,
};
use tonic::Code;

/// What is wrong, how the good request becomes it, and words of the answer.
type Case<T> = (&'static str, Box<dyn Fn(&mut T)>, Code, &'static [&'static str]);

fn bad_pod(
    name: &'static str,
    spoil: impl Fn(&mut api::PodSandboxConfig) + 'static,
    words: &'static [&'static str],
) -> Case<api::PodSandboxConfig> {
    (name, Box::new(spoil), Code::InvalidArgument, words)
}

fn bad_container(
    name: &'static str,
    spoil: impl Fn(&mut api::ContainerConfig) + 'static,
    words: &'static [&'static str],
) -> Case<api::ContainerConfig> {
    (name, Box::new(spoil), Code::InvalidArgument, words)
}

fn pod_metadata(config: &mut api::PodSandboxConfig) -> &mut api::PodSandboxMetadata {
    config.metadata.get_or_insert_default()
}

fn sysctl(key: &'static str, value: &'static str) -> impl Fn(&mut api::PodSandboxConfig) {
    move |config| drop(pod_linux(config).sysctls.insert(key.into(), value.into()))
}

fn port(host_port: i32, container_port: i32) -> api::PortMapping {
    api::PortMapping { host_port, container_port, ..Default::default() }
}

fn pod_cases() -> Vec<Case<api::PodSandboxConfig>> {
    vec![
        bad_pod("no metadata", |c| c.metadata = None, &["metadata"]),
        bad_pod("no name", |c| pod_metadata(c).name.clear(), &["metadata.name"]),
        bad_pod("no namespace", |c| pod_metadata(c).namespace.clear(), &["metadata.namespace"]),
        bad_pod("no uid", |c| pod_metadata(c).uid.clear(), &["metadata.uid"]),
        bad_pod(
            "slash in the name",
            |c| pod_metadata(c).name = "a/../b".into(),
            &["metadata.name", "a/../b"],
        ),
        bad_pod("long name", |c| pod_metadata(c).name = "n".repeat(5000), &["metadata.name"]),
        bad_pod("NUL in the uid", |c| pod_metadata(c).uid = "a\0b".into(), &["metadata.uid"]),
        bad_pod("node's sysctl", sysctl("kernel.core_pattern", "x"), &["e2e/bad", "kernel.core_pattern"]),
        bad_pod(
            "second sysctl in a value",
            sysctl("net.ipv4.ip_forward", "1\nx"),
            &["e2e/bad", "net.ipv4.ip_forward"],
        ),
        bad_pod(
            "plus sign trick",
            sysctl("kernel.shm_rmid_forced", "1+kernel.core_pattern=x"),
            &["kernel.shm_rmid_forced"],
        ),
        bad_pod("sysctl path", sysctl("net/../kernel/core_pattern", "x"), &["net/../kernel/core_pattern"]),
        bad_pod("unknown sysctl", sysctl("net.no.such", "1"), &["e2e/bad", "net.no.such"]),
        bad_pod(
            "sysctl value the kernel refuses",
            sysctl("net.ipv4.ip_forward", "many"),
            &["net.ipv4.ip_forward", "many"],
        ),
        bad_pod(
            "net sysctl in the node's network",
            |c| {
                pod_namespaces(c).network = api::NamespaceMode::Node as i32;
                sysctl("net.ipv4.ip_forward", "1")(c);
            },
            &["e2e/bad", "net.ipv4.ip_forward", "node"],
        ),
        bad_pod(
            "shm sysctl in the node's IPC namespace",
            |c| {
                pod_namespaces(c).ipc = api::NamespaceMode::Node as i32;
                sysctl("kernel.shmmni", "1")(c);
            },
            &["kernel.shmmni"],
        ),
        bad_pod(
            "relative log directory",
            |c| c.log_directory = "logs".into(),
            &["e2e/bad", "log_directory", "logs"],
        ),
        bad_pod(
            "log directory with ..",
            |c| c.log_directory = "/tmp/../etc".into(),
            &["log_directory", "/tmp/../etc"],
        ),
        bad_pod(
            "long log directory",
            |c| c.log_directory = format!("/{}", "d/".repeat(3000)),
            &["log_directory"],
        ),
        bad_pod("long hostname", |c| c.hostname = "h".repeat(300), &["e2e/bad", "hostname", "hhhh"]),
        bad_pod("line in the hostname", |c| c.hostname = "web\n1.2.3.4 bank".into(), &["hostname"]),
        bad_pod(
            "line in a DNS server",
            |c| c.dns_config.get_or_insert_default().servers = vec!["1.1.1.1\nx".into()],
            &["dns"],
        ),
        bad_pod(
            "host port too high",
            |c| c.port_mappings = vec![port(65536, 80)],
            &["e2e/bad", "host_port", "65536"],
        ),
        bad_pod("host port negative", |c| c.port_mappings = vec![port(-1, 80)], &["host_port", "-1"]),
        bad_pod(
            "container port too high",
            |c| c.port_mappings = vec![port(80, 70000)],
            &["container_port", "70000"],
        ),
        bad_pod(
            "unknown protocol",
            |c| c.port_mappings = vec![api::PortMapping { protocol: 7, ..port(80, 80) }],
            &["protocol", "7"],
        ),
        bad_pod(
            "host address",
            |c| c.port_mappings = vec![api::PortMapping { host_ip: "node".into(), ..port(80, 80) }],
            &["host_ip", "node"],
        ),
        bad_pod(
            "cgroup parent with ..",
            |c| pod_linux(c).cgroup_parent = "/a/../../b".into(),
            &["e2e/bad", "/a/../../b"],
        ),
        bad_pod("unknown namespace mode", |c| pod_namespaces(c).pid = 9, &["pid namespace mode", "9"]),
        bad_pod(
            "target for a pod",
            |c| pod_namespaces(c).pid = api::NamespaceMode::Target as i32,
            &["pid namespace mode"],
        ),
        bad_pod(
            "container mode for the network",
            |c| pod_namespaces(c).network = 1,
            &["network namespace mode"],
        ),
        bad_pod(
            "5 MiB of annotations",
            |c| drop(c.annotations.insert("a".into(), "x".repeat(5 << 20))),
            &["e2e/bad", "annotations", "1 MiB"],
        ),
        bad_pod("5 MiB of labels", |c| drop(c.labels.insert("a".into(), "x".repeat(5 << 20))), &["labels"]),
    ]
}

#[tokio::test]
async fn bad_pods_are_refused_by_name_and_leave_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    // The bridge is made with the first pod.
    let first = node.run_pod(&pod(&node, "first")).await?;
    node.remove_pod(&first).await?;
    let before = Present::on(&mut node, None).await?;
    let pattern = std::fs::read("/proc/sys/kernel/core_pattern")?;
    for (name, spoil, code, words) in pod_cases() {
        let mut config = pod(&node, "bad");
        spoil(&mut config);
        let refused = node.run_pod(&config).await.unwrap_err();
        check_refusal(name, &refused, code, words);
        Present::on(&mut node, None).await?.same(&before, name);
    }
    assert_eq!(std::fs::read("/proc/sys/kernel/core_pattern")?, pattern);
    let config = pod(&node, "bad");
    let refused = node.run_pod_with(&config, "kata").await.unwrap_err();
    check_refusal(
        "unknown handler",
        &refused,
        Code::InvalidArgument,
        &["e2e/bad", "kata", "ochre", "runc", "crun"],
    );
    let empty = node.client.runtime.run_pod_sandbox(api::RunPodSandboxRequest::default()).await.unwrap_err();
    check_refusal("no config", &empty, Code::InvalidArgument, &["config"]);
    Present::on(&mut node, None).await?.same(&before, "afterwards");

    // 1 MiB of annotations is much, but works; so does the name of all the refused ones.
    let mut config = pod(&node, "bad");
    config.annotations.insert("a".into(), "x".repeat((1 << 20) - 1));
    let id = node.run_pod(&config).await?;
    let mut changed = config.clone();
    changed.hostname = "other".into();
    let refused = node.run_pod(&changed).await.unwrap_err();
    check_refusal("name taken", &refused, Code::AlreadyExists, &["e2e/bad", &id]);
    node.remove_pod(&id).await?;
    Present::on(&mut node, None).await?.same(&before, "afterwards");
    node.finish()
}

#[tokio::test]
async fn a_host_port_belongs_to_one_pod() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut first = pod(&node, "first");
    first.port_mappings = vec![port(18_080, 80)];
    let mut second = pod(&node, "second");
    second.port_mappings = vec![port(18_080, 81)];
    let id = node.run_pod(&first).await?;
    let before = Present::on(&mut node, None).await?;
    let refused = node.run_pod(&second).await.unwrap_err();
    check_refusal("same port", &refused, Code::InvalidArgument, &["second", "18080"]);
    Present::on(&mut node, None).await?.same(&before, "afterwards");
    node.remove_pod(&id).await?;
    let id = node.run_pod(&second).await?;
    node.remove_pod(&id).await?;
    node.finish()
}

fn metadata(config: &mut api::ContainerConfig) -> &mut api::ContainerMetadata {
    config.metadata.get_or_insert_default()
}

fn mounted(container_path: &'static str, host_path: &'static str) -> impl Fn(&mut api::ContainerConfig) {
    move |config| {
        config.mounts.push(api::Mount {
            container_path: container_path.into(),
            host_path: host_path.into(),
            ..Default::default()
        });
    }
}

fn run_as(user: i64) -> impl Fn(&mut api::ContainerConfig) {
    move |config| security(config).run_as_user = Some(api::Int64Value { value: user })
}

fn seccomp(file: std::path::PathBuf) -> impl Fn(&mut api::ContainerConfig) {
    move |config| {
        security(config).seccomp =
            Some(api::SecurityProfile { profile_type: 2, localhost_ref: file.display().to_string() });
    }
}

fn add_capability(name: &'static str) -> impl Fn(&mut api::ContainerConfig) {
    move |config| {
        security(config).capabilities =
            Some(api::Capability { add_capabilities: vec![name.into()], ..Default::default() });
    }
}

fn container_cases(directory: &Path) -> Vec<Case<api::ContainerConfig>> {
    let device = |host_path: &'static str, permissions: &'static str| {
        move |config: &mut api::ContainerConfig| {
            config.devices.push(api::Device {
                container_path: "/dev/x".into(),
                host_path: host_path.into(),
                permissions: permissions.into(),
            });
        }
    };
    let mut cases = vec![
        bad_container("no metadata", |c| c.metadata = None, &["metadata"]),
        bad_container("no name", |c| metadata(c).name.clear(), &["metadata.name"]),
        bad_container("slash in the name", |c| metadata(c).name = "a/b".into(), &["metadata.name", "a/b"]),
        bad_container("no image", |c| c.image = None, &["bad", "image"]),
        bad_container("empty image", |c| c.image.get_or_insert_default().image.clear(), &["bad", "image"]),
        bad_container(
            "log path with ..",
            |c| c.log_path = "../../etc/x.log".into(),
            &["bad", "log_path", "../../etc/x.log"],
        ),
        bad_container("absolute log path", |c| c.log_path = "/etc/x.log".into(), &["log_path", "/etc/x.log"]),
        bad_container("uid of 2^32", run_as(1 << 32), &["bad", "4294967296"]),
        bad_container("uid of nobody at all", run_as(4_294_967_295), &["4294967295"]),
        bad_container("negative uid", run_as(-1), &["bad", "-1"]),
        bad_container("unknown user", |c| security(c).run_as_username = "ghost".into(), &["bad", "ghost"]),
        bad_container(
            "user that looks like a number",
            |c| security(c).run_as_username = "0x0".into(),
            &["0x0"],
        ),
        bad_container(
            "group without a user",
            |c| security(c).run_as_group = Some(api::Int64Value { value: 5 }),
            &["bad", "group"],
        ),
        bad_container("negative supplemental group", |c| security(c).supplemental_groups = vec![-5], &["-5"]),
        bad_container(
            "unknown groups policy",
            |c| security(c).supplemental_groups_policy = 9,
            &["policy", "9"],
        ),
        bad_container("unknown capability", add_capability("FLY"), &["bad", "FLY"]),
        bad_container("relative mount", mounted("data", "/tmp"), &["bad", "data"]),
        bad_container("mount with ..", mounted("/a/../../b", "/tmp"), &["/a/../../b"]),
        bad_container("mount on the root", mounted("/", "/tmp"), &["bad", "root"]),
        bad_container("mount on /proc", mounted("/proc", "/tmp"), &["bad", "/proc"]),
        bad_container("mount in /proc", mounted("/proc/sys", "/tmp"), &["/proc/sys"]),
        bad_container("mount without a source", mounted("/data", ""), &["bad", "/data"]),
        bad_container(
            "20000 mounts",
            |c| (0..20_000).for_each(|_| mounted("/data", "/tmp")(c)),
            &["bad", "mounts", "20000"],
        ),
        bad_container(
            "unknown propagation",
            |c| {
                c.mounts.push(api::Mount {
                    container_path: "/x".into(),
                    host_path: "/tmp".into(),
                    propagation: 7,
                    ..Default::default()
                })
            },
            &["propagation", "7"],
        ),
        bad_container(
            "missing seccomp profile",
            seccomp(directory.join("missing.json")),
            &["bad", "missing.json"],
        ),
        bad_container("empty seccomp profile", seccomp(directory.join("empty.json")), &["bad", "empty.json"]),
        bad_container(
            "seccomp profile that is no JSON",
            seccomp(directory.join("rubbish.json")),
            &["rubbish.json"],
        ),
        bad_container("huge seccomp profile", seccomp(directory.join("huge.json")), &["huge.json"]),
        bad_container("seccomp profile without a name", seccomp("".into()), &["bad", "seccomp"]),
        bad_container("relative seccomp profile", seccomp("../x.json".into()), &["../x.json"]),
        bad_container(
            "memory limit of one byte",
            |c| limits(c).memory_limit_in_bytes = 1,
            &["bad", "memory limit 1 "],
        ),
        bad_container(
            "negative memory limit",
            |c| limits(c).memory_limit_in_bytes = -7,
            &["memory_limit_in_bytes", "-7"],
        ),
        bad_container(
            "oom_score_adj of 5000",
            |c| limits(c).oom_score_adj = 5000,
            &["bad", "oom_score_adj", "5000"],
        ),
        bad_container("negative shares", |c| limits(c).cpu_shares = -1, &["cpu_shares", "-1"]),
        bad_container(
            "cpuset that is none",
            |c| limits(c).cpuset_cpus = "all".into(),
            &["cpuset_cpus", "all"],
        ),
        bad_container("unknown stop signal", |c| c.stop_signal = 999, &["stop_signal", "999"]),
        bad_container(
            "unknown namespace mode",
            |c| security(c).namespace_options.get_or_insert_default().pid = 9,
            &["bad", "9"],
        ),
        bad_container("NUL in an argument", |c| c.args = vec!["a\0b".into()], &["bad", "argument"]),
        bad_container(
            "NUL in the environment",
            |c| c.envs = vec![api::KeyValue { key: "A".into(), value: "\0".into() }],
            &["bad", "A"],
        ),
        bad_container(
            "line in the home of an unknown user",
            |c| {
                run_as(4321)(c);
                c.envs = vec![api::KeyValue { key: "HOME".into(), value: "/root\nx::0:0".into() }];
            },
            &["bad", "HOME"],
        ),
        bad_container("relative working directory", |c| c.working_dir = "work".into(), &["bad", "work"]),
        bad_container(
            "working directory in /proc",
            |c| c.working_dir = "/proc/self/fd/7".into(),
            &["/proc/self/fd/7"],
        ),
        bad_container("missing device", device("/dev/none", "rwm"), &["bad", "/dev/none"]),
        bad_container("device that is a file", device("/etc/passwd", "rwm"), &["/etc/passwd"]),
        bad_container("device permissions", device("/dev/null", "rwx"), &["/dev/null"]),
        bad_container(
            "5 MiB of annotations",
            |c| drop(c.annotations.insert("a".into(), "x".repeat(5 << 20))),
            &["bad", "annotations"],
        ),
        bad_container("privileged in a plain pod", |c| security(c).privileged = true, &["bad", "privileged"]),
        bad_container(
            "no command",
            |c| (c.command.clear(), c.image.get_or_insert_default().image = "localhost/mute:latest".into()).1,
            &["bad", "no command", "localhost/mute"],
        ),
        bad_container(
            "RRO that is writable",
            |c| {
                c.mounts.push(api::Mount {
                    container_path: "/x".into(),
                    host_path: "/tmp".into(),
                    recursive_read_only: true,
                    ..Default::default()
                });
            },
            &["bad", "/x"],
        ),
    ];
    cases.push((
        "unknown image",
        Box::new(|c| c.image.get_or_insert_default().image = "localhost/none:1".into()),
        Code::NotFound,
        &["bad", "localhost/none:1"],
    ));
    cases
}

#[tokio::test]
async fn bad_containers_are_refused_by_name_and_leave_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut mute = busybox()?;
    mute.config = serde_json::json!({});
    node.import(&mute, "localhost/mute:latest")?;
    let profiles = node.path("profiles");
    std::fs::create_dir(&profiles)?;
    std::fs::write(profiles.join("empty.json"), "")?;
    std::fs::write(profiles.join("rubbish.json"), "{ \"defaultAction\": ")?;
    std::fs::File::create(profiles.join("huge.json"))?.set_len(1 << 32)?;
    let pod = node.run_pod(&pod(&node, "pod")).await?;
    // Makes the engine's own directories.
    let first = node.launch(&pod, container("bad", "true")).await?;
    node.remove_container(&first).await?;
    let before = Present::on(&mut node, None).await?;
    for (name, spoil, code, words) in container_cases(&profiles) {
        let mut config = container("bad", "sleep 1000");
        spoil(&mut config);
        let refused = node.create(&pod, config).await.err().unwrap_or_else(|| panic!("{name}: accepted"));
        check_refusal(name, &refused, code, words);
        Present::on(&mut node, None).await?.same(&before, name);
    }
    // The name of all the refused ones is free.
    let good = node.launch(&pod, container("bad", "sleep 1000")).await?;
    let refused = node.create(&pod, container("bad", "sleep 5")).await.unwrap_err();
    check_refusal("name taken", &refused, Code::AlreadyExists, &["bad", &good]);
    let again = node.start_container(&good).await.unwrap_err();
    check_refusal("started twice", &again, Code::FailedPrecondition, &[&good, "running"]);
    node.remove_pod(&pod).await?;
    node.finish()
}

#[tokio::test]
async fn what_does_not_run_or_is_gone_takes_no_containers_and_execs() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let (one, other) = (node.run_pod(&pod(&node, "one")).await?, node.run_pod(&pod(&node, "other")).await?);
    let app = node.launch(&one, container("app", "sleep 1000")).await?;

    let mut guest = container("guest", "true");
    let options = security(&mut guest).namespace_options.get_or_insert_default();
    (options.pid, options.target_id) = (api::NamespaceMode::Target as i32, app.clone());
    let refused = node.create(&other, guest).await.unwrap_err();
    check_refusal("target of another pod", &refused, Code::InvalidArgument, &["guest", &app, &other]);

    let exec = |id: &str, cmd: &[&str], timeout| api::ExecSyncRequest {
        container_id: id.into(),
        cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
        timeout,
    };
    let refused = node.client.runtime.exec_sync(exec(&app, &[], 5)).await.unwrap_err();
    check_refusal("exec of nothing", &refused, Code::InvalidArgument, &[&app, "cmd"]);
    let refused = node.client.runtime.exec_sync(exec(&app, &["true"], -1)).await.unwrap_err();
    check_refusal("negative timeout", &refused, Code::InvalidArgument, &["timeout", "-1"]);
    // A missing program is an error that names it, or the shell's code 127 with a text that does.
    match node.client.runtime.exec_sync(exec(&app, &["/no/such/program"], 5)).await {
        Err(refused) => {
            check_refusal("missing program", &refused, refused.code(), &["/no/such/program", &app])
        }
        Ok(answer) => {
            let answer = answer.into_inner();
            let text = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert!(
                [126, 127].contains(&answer.exit_code) && text.contains("/no/such/program"),
                "{} {text}",
                answer.exit_code
            );
        }
    }
    let update = api::UpdateContainerResourcesRequest {
        container_id: app.clone(),
        linux: Some(api::LinuxContainerResources { memory_limit_in_bytes: 1, ..Default::default() }),
        ..Default::default()
    };
    let refused = node.client.runtime.update_container_resources(update).await.unwrap_err();
    check_refusal("update to one byte", &refused, Code::InvalidArgument, &[&app, "memory limit 1 "]);

    node.stop_container(&app, 0).await?;
    let refused = node.exec(&app, "true").await.unwrap_err();
    check_refusal("exec in a stopped container", &refused, Code::FailedPrecondition, &[&app]);
    let refused = node.start_container(&app).await.unwrap_err();
    check_refusal("start of a stopped container", &refused, Code::FailedPrecondition, &[&app]);

    let stop = api::StopPodSandboxRequest { pod_sandbox_id: one.clone() };
    node.client.runtime.stop_pod_sandbox(stop).await?;
    let refused = node.create(&one, container("late", "true")).await.unwrap_err();
    check_refusal("container in a stopped pod", &refused, Code::FailedPrecondition, &["late", &one]);
    node.remove_pod(&one).await?;
    let refused = node.create(&one, container("late", "true")).await.unwrap_err();
    check_refusal("container in a removed pod", &refused, Code::NotFound, &["late", &one]);
    let again = node.run_pod(&pod(&node, "one")).await?;
    for pod in [again, other] {
        node.remove_pod(&pod).await?;
    }
    node.finish()
}
