//! Pods with user namespaces: ids, files, volumes, namespaces, restarts, and what is refused.
//!
//! A handler takes part as far as it says it can (`user_namespaces` in Status); what it says and what happens is the
//! same for each.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, check_refusal, container, file_with, pod, pod_linux, pod_namespaces, pod_sharing_pids,
    security,
};

const HOST: u32 = 300_000;
const COUNT: u32 = 65_536;

fn line(container_id: u32, host_id: u32, length: u32) -> Vec<api::IdMapping> {
    vec![api::IdMapping { host_id, container_id, length }]
}

/// Asks for a user namespace whose root is `HOST`.
fn mapped(mut pod: api::PodSandboxConfig) -> api::PodSandboxConfig {
    pod_namespaces(&mut pod).userns_options = Some(api::UserNamespace {
        mode: api::NamespaceMode::Pod as i32,
        uids: line(0, HOST, COUNT),
        gids: line(0, HOST, COUNT),
    });
    pod
}

/// What each handler says, by name; the default is the empty one.
async fn flags(node: &mut Node) -> anyhow::Result<BTreeMap<String, bool>> {
    let status = node.client.runtime.status(api::StatusRequest { verbose: false }).await?.into_inner();
    assert!(status.features.unwrap().user_namespaces_host_network);
    let said = status.runtime_handlers.into_iter();
    Ok(said.map(|handler| (handler.name, handler.features.unwrap().user_namespaces)).collect())
}

/// An engine below a directory that the roots of pods can pass, as runc and crun need it.
async fn start() -> anyhow::Result<Node> {
    Node::prepared("", |directory| Ok(std::fs::set_permissions(directory, PermissionsExt::from_mode(0o711))?))
        .await
}

/// The handlers that say they can.
async fn able(node: &mut Node) -> anyhow::Result<Vec<&'static str>> {
    let flags = flags(node).await?;
    assert!(flags["ochre"] && flags[""], "the engine's own can: {flags:?}");
    let (able, not): (Vec<_>, Vec<_>) = HANDLERS.into_iter().partition(|handler| flags[*handler]);
    for handler in not {
        println!("handler {handler} is left out: it says that it has no user namespaces");
    }
    Ok(able)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn pins(node: &Node) -> usize {
    let names = ["netns", "ipcns", "utsns", "userns"].map(|kind| node.path("namespaces").join(kind));
    names.iter().flat_map(std::fs::read_dir).flatten().count()
}

#[tokio::test]
async fn what_a_handler_says_is_what_happens() -> anyhow::Result<()> {
    let mut node = start().await?;
    for (handler, can) in flags(&mut node).await? {
        let config = mapped(pod(&node, &format!("flag-{handler}")));
        match node.run_pod_with(&config, &handler).await {
            Ok(id) if can => {
                let app = node.launch(&id, container("app", "cat /proc/self/uid_map")).await?;
                assert_eq!(node.exited(&app).await?.exit_code, 0, "{handler:?}");
                let log = std::fs::read_to_string(node.path(&format!("logs/flag-{handler}/app.log")))?;
                assert!(words(&log).ends_with(&["0", "300000", "65536"]), "{handler:?}: {log}");
                node.remove_pod(&id).await?;
            }
            Err(refused) if !can => {
                let expected = [handler.as_str(), "user namespaces", "id-mapped mounts"];
                check_refusal(&handler, &refused, tonic::Code::FailedPrecondition, &expected);
                println!("{refused}");
            }
            other => anyhow::bail!("{handler:?} says {can}, and the pod: {other:?}"),
        }
        assert_eq!(pins(&node), 0, "{handler:?}");
    }
    node.finish()
}

#[tokio::test]
async fn ids_and_files_inside_are_those_of_any_container() -> anyhow::Result<()> {
    let mut node = start().await?;
    for handler in able(&mut node).await? {
        let mut config = mapped(pod(&node, handler));
        config.hostname = "mapped".into();
        pod_linux(&mut config).sysctls = [
            ("net.ipv4.ping_group_range".into(), "0 2147483647".into()),
            ("kernel.shm_rmid_forced".into(), "1".into()),
            ("fs.mqueue.msg_max".into(), "77".into()),
        ]
        .into();
        let id = node.run_pod_with(&config, handler).await?;
        let mut request = container("app", "echo to the log > /dev/stdout; sleep 10000");
        request.working_dir = "/made/here".into();
        let app = node.launch(&id, request).await?;
        for (script, expected) in [
            ("cat /proc/self/uid_map /proc/self/gid_map", "0 300000 65536 0 300000 65536"),
            ("id -u; id -g; cat /proc/self/setgroups", "0 0 allow"),
            ("cat /proc/sys/net/ipv4/ping_group_range", "0 65535"),
            ("cat /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max", "1 77"),
            ("hostname; cat /etc/hostname", "mapped mapped"),
            // Owners: of the image, of the engine's files, of what the engine makes in the root.
            ("stat -c %u:%g / /bin/busybox /tmp /etc/passwd", "0:0 0:0 0:0 0:0"),
            ("stat -c %u:%g /etc/resolv.conf /etc/hosts /etc/hostname /run/.containerenv", "0:0 0:0 0:0 0:0"),
            ("stat -c %u:%g /made/here /etc/mtab /dev/shm; stat -c %a /dev/shm", "0:0 0:0 0:0 1777"),
            ("stat -c %u:%g /dev /dev/pts /proc/1 /proc/sys/net/ipv4/ip_forward", "0:0 0:0 0:0 0:0"),
            // Writing.
            ("echo x > /new && chown 1000:2000 /new && stat -c %u:%g /new", "1000:2000"),
            ("echo x >> /etc/passwd && stat -c %u /etc/passwd", "0"),
            ("echo x > /dev/shm/f && echo 127.0.0.9 name >> /etc/hosts && echo done", "done"),
            ("chown 70000 /new 2>/dev/null || echo refused", "refused"),
            // Devices and the kernel's file systems.
            ("echo x > /dev/null && head -c 1 /dev/zero | wc -c && ls -d /dev/mqueue", "1 /dev/mqueue"),
            ("mknod /dev/own c 1 3 2>/dev/null || echo refused", "refused"),
            (
                "ip link set lo up && ip route | wc -l | tr -d ' ' | grep -v '^0$' >/dev/null; echo fine",
                "fine",
            ),
        ] {
            let said = node.said(&app, script).await?;
            assert_eq!(words(&said), words(expected), "{handler}: {script}");
        }
        file_with(&node.path(&format!("logs/{handler}/app.log")), " stdout F to the log").await?;
        let process = std::fs::metadata(format!("/proc/{}", node.pid(&app).await?))?;
        assert_eq!(
            (process.uid(), process.gid()),
            (HOST, HOST),
            "{handler}: on the node it is nobody special"
        );
        let status = node.status(&app).await?;
        let user = status.user.and_then(|user| user.linux).unwrap();
        assert_eq!((user.uid, user.gid), (0, 0), "{handler}: the status counts as the container does");

        let mut other = container("other", "id -u; id -G; touch /tmp/mine && stat -c %u /tmp/mine; echo $$");
        security(&mut other).run_as_user = Some(api::Int64Value { value: 1000 });
        security(&mut other).readonly_rootfs = false;
        let other = node.launch(&id, other).await?;
        assert_eq!(node.exited(&other).await?.exit_code, 0, "{handler}");
        let log = std::fs::read_to_string(node.path(&format!("logs/{handler}/other.log")))?;
        let said: Vec<_> =
            log.lines().filter_map(|line| line.split_once(" stdout F ")).map(|(_, text)| text).collect();
        assert_eq!(said, ["1000", "1000 2000", "1000", "1"], "{handler}");
        let mut terminal =
            container("terminal", "stat -c %u:%t:%T /dev/console; [ -t 0 ] && [ -t 1 ] && echo terminal");
        terminal.tty = true;
        let terminal = node.launch(&id, terminal).await?;
        assert_eq!(node.exited(&terminal).await?.exit_code, 0, "{handler}");
        let log = std::fs::read_to_string(node.path(&format!("logs/{handler}/terminal.log")))?;
        assert!(log.contains(" 0:88:0") && log.contains(" terminal"), "{handler}: {log}");
        node.remove_pod(&id).await?;
        assert_eq!(pins(&node), 0, "{handler}");
    }
    node.finish()
}

#[tokio::test]
async fn volumes_have_the_owners_that_the_request_maps() -> anyhow::Result<()> {
    let mut node = start().await?;
    for handler in able(&mut node).await? {
        let volume = node.path(&format!("volume-{handler}"));
        std::fs::create_dir(&volume)?;
        for (name, owner) in [("root", 0), ("app", 1000)] {
            std::fs::write(volume.join(name), name)?;
            std::os::unix::fs::chown(volume.join(name), Some(owner), Some(owner))?;
            std::fs::set_permissions(volume.join(name), std::fs::Permissions::from_mode(0o644))?;
        }
        let mount = |container_path: &str, mapped: bool| api::Mount {
            container_path: container_path.into(),
            host_path: volume.to_string_lossy().into_owned(),
            uid_mappings: if mapped { line(0, HOST, COUNT) } else { Vec::new() },
            gid_mappings: if mapped { line(0, HOST, COUNT) } else { Vec::new() },
            ..Default::default()
        };
        let id = node.run_pod_with(&mapped(pod(&node, handler)), handler).await?;
        let mut request = container("app", "sleep 10000");
        request.mounts = vec![mount("/mapped", true), mount("/plain", false)];
        let app = node.launch(&id, request).await?;
        for (script, expected) in [
            ("stat -c %u:%g /mapped /mapped/root /mapped/app", "0:0 0:0 1000:1000"),
            ("stat -c %u:%g /plain/root; cat /plain/root", "65534:65534 root"),
            ("(echo x > /plain/root) 2>/dev/null || echo refused", "refused"),
            ("echo x > /mapped/root; touch /mapped/new; chown 1000 /mapped/new; echo fine", "fine"),
        ] {
            assert_eq!(words(&node.said(&app, script).await?), words(expected), "{handler}: {script}");
        }
        let owner = |name: &str| std::fs::metadata(volume.join(name)).map(|found| (found.uid(), found.gid()));
        assert_eq!(owner("new")?, (1000, 0), "{handler}: on the node, as if there were no user namespace");
        assert_eq!(std::fs::read(volume.join("root"))?, b"x\n");
        assert_eq!(node.status(&app).await?.mounts[0].uid_mappings, line(0, HOST, COUNT), "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn containers_of_a_pod_share_namespaces_that_the_pods_root_owns() -> anyhow::Result<()> {
    let mut node = start().await?;
    for handler in able(&mut node).await? {
        let id = node.run_pod_with(&mapped(pod_sharing_pids(&node, handler)), handler).await?;
        let mut apps = Vec::new();
        for name in ["one", "two"] {
            let mut request = container(name, "sleep 10000");
            security(&mut request).namespace_options = None;
            let capability =
                api::Capability { add_capabilities: vec!["NET_ADMIN".into()], ..Default::default() };
            security(&mut request).capabilities = Some(capability);
            apps.push(node.launch(&id, request).await?);
        }
        let links =
            "for n in user net ipc uts pid; do ls -l /proc/self/ns/$n; done | tr '>' '\n' | grep '\\['";
        let (one, two) = (node.said(&apps[0], links).await?, node.said(&apps[1], links).await?);
        assert_eq!(words(&one).len(), 5, "{handler}: {one}");
        assert_eq!(one, two, "{handler}");
        // Process 1 is the pod's own, and belongs to its root.
        assert_eq!(node.said(&apps[0], "stat -c %u /proc/1").await?, "0", "{handler}");
        // Rights over the network are rights of the owner: the pod's root changes its own and nobody else's.
        let script =
            "ip link add dummy0 type dummy 2>/dev/null; ip addr add 192.0.2.77/32 dev lo && echo mine";
        assert!(node.said(&apps[0], script).await?.ends_with("mine"), "{handler}");
        assert!(node.said(&apps[1], "ip addr show lo").await?.contains("192.0.2.77"), "{handler}");
        node.remove_pod(&id).await?;
        assert_eq!(pins(&node), 0, "{handler}");
    }
    node.finish()
}

#[tokio::test]
async fn a_pod_in_the_nodes_network_has_a_user_namespace_and_no_rights_there() -> anyhow::Result<()> {
    let mut node = start().await?;
    for handler in able(&mut node).await? {
        let mut config = mapped(pod(&node, handler));
        pod_namespaces(&mut config).network = api::NamespaceMode::Node as i32;
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, container("app", "sleep 10000")).await?;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        assert_eq!(std::fs::read_link(format!("/proc/{}/ns/net", node.pid(&app).await?))?, own, "{handler}");
        for (script, expected) in [
            ("cat /proc/self/uid_map", "0 300000 65536"),
            ("ip addr add 192.0.2.78/32 dev lo 2>/dev/null || echo refused", "refused"),
            ("ls -d /sys/class/net/lo", "/sys/class/net/lo"),
            ("touch /sys/own 2>/dev/null || echo refused", "refused"),
        ] {
            assert_eq!(words(&node.said(&app, script).await?), words(expected), "{handler}: {script}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_restart_and_a_kill_of_the_engine_change_nothing() -> anyhow::Result<()> {
    let mut node = start().await?;
    for handler in able(&mut node).await? {
        let id = node.run_pod_with(&mapped(pod(&node, handler)), handler).await?;
        let app = node.launch(&id, container("app", "sleep 10000")).await?;
        node.said(&app, "echo kept > /kept").await?;
        for kill in [false, true] {
            if kill {
                node.engine.kill()?
            } else {
                node.engine.stop()?
            }
            node.engine.start_again()?;
            node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
            let said = node.said(&app, "cat /kept; stat -c %u /kept; cat /proc/self/uid_map").await?;
            assert_eq!(words(&said), ["kept", "0", "0", "300000", "65536"], "{handler}");
            let later =
                node.launch(&id, container(&format!("later-{kill}"), "cat /proc/self/uid_map")).await?;
            assert_eq!(node.exited(&later).await?.exit_code, 0, "{handler}");
        }
        node.remove_pod(&id).await?;
        assert_eq!(pins(&node), 0, "{handler}");
    }
    node.finish()
}

#[tokio::test]
async fn kill_9_between_the_steps_of_a_creation_leaves_nothing() -> anyhow::Result<()> {
    let mut node = start().await?;
    for round in 0..12_u64 {
        let config = mapped(pod(&node, &format!("crash-{round}")));
        let mut client = node.client.clone();
        let request = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let run = tokio::spawn(async move { client.runtime.run_pod_sandbox(request).await.map(drop) });
        tokio::time::sleep(std::time::Duration::from_micros(700 * round)).await;
        node.engine.kill()?;
        drop(run.await);
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        let id = node.run_pod(&config).await?;
        let app = node.launch(&id, container("app", "echo fine")).await?;
        assert_eq!(node.exited(&app).await?.exit_code, 0);
        node.remove_pod(&id).await?;
        assert_eq!(pins(&node), 0, "round {round}");
    }
    node.finish()
}

#[tokio::test]
async fn what_is_not_legal_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    use api::NamespaceMode::{Container, Node as Host, Pod, Target};
    let mut node = start().await?;
    let good = || line(0, HOST, COUNT);
    let two = || [line(0, 1000, 1000), line(0, 2000, 1000)].concat();
    let pods: [(&str, api::NamespaceMode, Vec<_>, Vec<_>, &[&str]); 9] = [
        ("two lines", Pod, two(), two(), &["exactly one user id mapping", "2"]),
        ("no line", Pod, vec![], vec![], &["exactly one user id mapping", "0"]),
        ("no group", Pod, good(), vec![], &["exactly one group id mapping"]),
        ("no root", Pod, line(1, HOST, COUNT), line(1, HOST, COUNT), &["id 0", "not mapped"]),
        ("no ids", Pod, line(0, HOST, 0), line(0, HOST, 0), &["300000", "0 ids"]),
        ("too many", Pod, line(0, HOST, u32::MAX), good(), &["4294967295 ids"]),
        ("unequal", Pod, good(), line(0, HOST, 1000), &["65536", "1000"]),
        ("container", Container, good(), good(), &["user namespace mode", "Container"]),
        ("target", Target, good(), good(), &["user namespace mode", "Target"]),
    ];
    for (name, mode, uids, gids, words) in pods {
        let mut config = pod(&node, "refused");
        let asked = api::UserNamespace { mode: mode as i32, uids, gids };
        pod_namespaces(&mut config).userns_options = Some(asked);
        let refused = node.run_pod(&config).await.unwrap_err();
        check_refusal(name, &refused, tonic::Code::InvalidArgument, words);
        assert_eq!(pins(&node), 0, "{name}");
    }
    let mut with_host_pids = mapped(pod(&node, "host-pids"));
    pod_namespaces(&mut with_host_pids).pid = Host as i32;
    let refused = node.run_pod(&with_host_pids).await.unwrap_err();
    check_refusal("host pids", &refused, tonic::Code::InvalidArgument, &["PID namespace"]);
    let mut beyond = mapped(pod(&node, "ping"));
    pod_linux(&mut beyond).sysctls = [("net.ipv4.ping_group_range".into(), "70000 80000".into())].into();
    let refused = node.run_pod(&beyond).await.unwrap_err();
    check_refusal("ping groups", &refused, tonic::Code::InvalidArgument, &["ping_group_range"]);

    let id = node.run_pod(&mapped(pod(&node, "pod"))).await?;
    let plain = node.run_pod(&pod(&node, "plain")).await?;
    let mut node_mode = container("node", "true");
    let options = security(&mut node_mode).namespace_options.get_or_insert_default();
    options.userns_options = Some(api::UserNamespace { mode: Host as i32, ..Default::default() });
    let mut own = node_mode.clone();
    security(&mut own).namespace_options.get_or_insert_default().userns_options =
        Some(api::UserNamespace { mode: Pod as i32, uids: good(), gids: good() });
    let mut unmapped = container("unmapped", "true");
    security(&mut unmapped).run_as_user = Some(api::Int64Value { value: 70_000 });
    let with_mount = |mount: api::Mount| {
        let mut request = container("mount", "true");
        request.mounts = vec![api::Mount { container_path: "/v".into(), host_path: "/srv".into(), ..mount }];
        request
    };
    let shared = with_mount(api::Mount { propagation: 2, ..Default::default() });
    let half = with_mount(api::Mount { uid_mappings: good(), ..Default::default() });
    let overlapping =
        with_mount(api::Mount { uid_mappings: two(), gid_mappings: two(), ..Default::default() });
    for (name, pod, request, words) in [
        ("the node's", &id, node_mode, ["user namespace of its pod", ""]),
        ("one of its own", &plain, own, ["user namespace of its pod", ""]),
        ("an unmapped user", &id, unmapped, ["user id 70000", "not mapped"]),
        ("bidirectional", &id, shared, ["propagation", "user namespace"]),
        ("users without groups", &id, half, ["group id mappings", "0"]),
        ("overlapping lines", &id, overlapping, ["overlap", "user"]),
    ] {
        let refused = node.create(pod, request).await.unwrap_err();
        check_refusal(name, &refused, tonic::Code::InvalidArgument, &words);
    }
    let list = api::ListContainersRequest { filter: None };
    assert!(node.client.runtime.list_containers(list).await?.into_inner().containers.is_empty());
    node.remove_pod(&id).await?;
    node.remove_pod(&plain).await?;
    node.finish()
}
