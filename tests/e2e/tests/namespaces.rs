//! Namespaces of containers: every combination of the node's, a target's, and the kernel parameters that belong to them.

use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, check_refusal, container, pod, pod_linux, pod_namespaces, pod_sharing_pids, security,
};
use tonic::Code;

fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

/// The namespace of a process, such as `ipc:[4026531839]`.
fn namespace(pid: i32, kind: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.to_string_lossy().into_owned())
}

#[tokio::test]
async fn every_combination_of_the_nodes_namespaces_is_kept() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let own = i32::try_from(std::process::id())?;
    for handler in HANDLERS {
        // The engine decides about the rest: one handler of its own kind shows that.
        let combinations: &[i32] = if handler == "ochre" { &[0, 1, 2, 3, 4, 5, 6, 7] } else { &[2, 5, 7] };
        for combination in combinations {
            let node_has = |bit: i32| combination & bit != 0;
            let mode = |bit, otherwise: api::NamespaceMode| {
                if node_has(bit) { api::NamespaceMode::Node as i32 } else { otherwise as i32 }
            };
            let name = format!("{handler}{combination}");
            let mut config = pod(&node, &name);
            let options = api::NamespaceOption {
                network: mode(1, api::NamespaceMode::Pod),
                pid: mode(2, api::NamespaceMode::Container),
                ipc: mode(4, api::NamespaceMode::Pod),
                ..Default::default()
            };
            *pod_namespaces(&mut config) = options.clone();
            let id = node.run_pod_with(&config, handler).await?;
            let mut app = idle("app");
            security(&mut app).namespace_options = Some(options.clone());
            let mut second = app.clone();
            second.metadata.as_mut().unwrap().name = "second".into();
            let (app, second) = (node.launch(&id, app).await?, node.launch(&id, second).await?);
            let (pid, other) = (node.pid(&app).await?, node.pid(&second).await?);
            for (kind, bit) in [("net", 1), ("pid", 2), ("ipc", 4), ("uts", 1)] {
                let same = namespace(pid, kind)? == namespace(own, kind)?;
                assert_eq!(same, node_has(bit), "{name} {kind}");
                let shared = namespace(pid, kind)? == namespace(other, kind)?;
                assert_eq!(shared, kind != "pid" || node_has(2), "{name} {kind} of two containers");
            }
            assert_ne!(namespace(pid, "mnt")?, namespace(own, "mnt")?, "{name}");
            let status = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
            let status = node.client.runtime.pod_sandbox_status(status).await?.into_inner().status.unwrap();
            let given = status.linux.and_then(|linux| linux.namespaces).and_then(|n| n.options).unwrap();
            assert_eq!(
                (given.network, given.pid, given.ipc),
                (options.network, options.pid, options.ipc),
                "{name}"
            );
            node.remove_pod(&id).await?;
        }
    }
    node.finish()
}

#[tokio::test]
async fn a_container_gets_the_nodes_network_and_ipc_only_where_its_pod_has_them() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let own = i32::try_from(std::process::id())?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let plain = node.launch(&id, idle("plain")).await?;
        let mut app = idle("app");
        let asked = security(&mut app).namespace_options.get_or_insert_default();
        (asked.network, asked.ipc) = (api::NamespaceMode::Node as i32, api::NamespaceMode::Node as i32);
        let app = node.launch(&id, app).await?;
        let (pid, of_pod) = (node.pid(&app).await?, node.pid(&plain).await?);
        for kind in ["net", "ipc", "uts"] {
            assert_eq!(namespace(pid, kind)?, namespace(of_pod, kind)?, "{handler} {kind}");
            assert_ne!(namespace(pid, kind)?, namespace(own, kind)?, "{handler} {kind}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_guest_joins_the_processes_of_its_target_and_of_no_other_container() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let host = node.launch(&id, container("host", "echo $$; sleep 12321")).await?;
        let other = node.launch(&id, container("other", "sleep 45654")).await?;
        let mut guest = idle("guest");
        let options = security(&mut guest).namespace_options.get_or_insert_default();
        (options.pid, options.target_id) = (api::NamespaceMode::Target as i32, host.clone());
        let guest_id = node.launch(&id, guest.clone()).await?;
        let (a, b, c) = (node.pid(&host).await?, node.pid(&guest_id).await?, node.pid(&other).await?);
        assert_eq!(namespace(a, "pid")?, namespace(b, "pid")?, "{handler}");
        assert_ne!(namespace(a, "pid")?, namespace(c, "pid")?, "{handler}");
        let seen = node.said(&guest_id, "ps").await?;
        assert!(seen.contains("sleep 12321") && !seen.contains("sleep 45654"), "{handler}: {seen}");
        let options = node.status(&guest_id).await?;
        assert_eq!(options.state, api::ContainerState::ContainerRunning as i32, "{handler}");

        // A stopped target is none; the guest of before goes on without it only as the kernel allows: it ends with
        // process 1 of its namespace.
        node.stop_container(&host, 0).await?;
        assert_eq!(node.exited(&guest_id).await?.exit_code, 137, "{handler}");
        guest.metadata.as_mut().unwrap().name = "late".into();
        let refused = node.create(&id, guest).await.unwrap_err();
        check_refusal(handler, &refused, Code::InvalidArgument, &["late", &host]);
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_pods_kernel_parameters_are_set_in_its_namespaces_alone() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parameters = [
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.msgmax", "9000"),
        ("kernel.sem", "250\t32000\t100\t777"),
        ("fs.mqueue.msg_max", "11"),
        ("net.ipv4.ip_local_port_range", "33000\t44000"),
        ("net.ipv4.ping_group_range", "0\t5"),
        ("net/ipv4/ip_unprivileged_port_start", "80"),
    ];
    let path = |key: &str| format!("/proc/sys/{}", key.replace('.', "/"));
    let before: Vec<_> = parameters.iter().map(|(key, _)| std::fs::read(path(key)).ok()).collect();
    for handler in HANDLERS {
        let mut config = pod_sharing_pids(&node, handler);
        for (key, value) in parameters {
            pod_linux(&mut config).sysctls.insert(key.into(), value.into());
        }
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, idle("app")).await?;
        for (key, value) in parameters {
            assert_eq!(node.said(&app, &format!("cat {}", path(key))).await?, value, "{handler} {key}");
        }
        node.remove_pod(&id).await?;
    }
    let after: Vec<_> = parameters.iter().map(|(key, _)| std::fs::read(path(key)).ok()).collect();
    assert_eq!(before, after);
    node.finish()
}
