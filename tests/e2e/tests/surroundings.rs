//! What surrounds a container: labels, volumes, the pod's files, its namespaces and its cgroup parent.

use std::path::{Path, PathBuf};

use ochre_cri_api as api;
use ochre_e2e::{
    BUSYBOX, HANDLERS, Node, Parent, container, eventually, pod, pod_linux, pod_namespaces, security,
};

fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

fn volume(container_path: &str, host_path: &Path) -> api::Mount {
    let host_path = host_path.to_string_lossy().into_owned();
    api::Mount { container_path: container_path.into(), host_path, ..Default::default() }
}

#[tokio::test]
async fn volumes_are_read_only_made_and_found_through_links() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let real = node.path(&format!("{handler}-real"));
        std::fs::create_dir(&real)?;
        std::fs::write(real.join("file"), "content")?;
        let link = node.path(&format!("{handler}-link"));
        std::os::unix::fs::symlink(&real, &link)?;
        let missing = node.path(&format!("{handler}-missing/deep"));
        let mut app = idle("app");
        app.mounts = vec![
            api::Mount { readonly: true, ..volume("/ro", &real) },
            volume("/rw", &real),
            volume("/link", &link),
            volume("/made/inside", &missing),
            volume("/file", &real.join("file")),
        ];
        let asked = app.mounts.clone();
        let app = node.launch(&id, app).await?;
        let seen = node
            .said(&app, "cat /ro/file /link/file /file; touch /rw/new /made/inside/new; touch /ro/x")
            .await?;
        assert!(
            seen.starts_with("contentcontentcontent") && seen.contains("Read-only file system"),
            "{handler}: {seen}"
        );
        assert!(real.join("new").exists() && missing.join("new").exists(), "{handler}");
        assert_eq!(node.status(&app).await?.mounts, asked, "{handler}");
        node.remove_pod(&id).await?;
        assert!(real.join("new").exists(), "{handler}: volumes outlive the pod");
    }
    node.finish()
}

#[tokio::test]
async fn mounts_propagate_as_far_as_each_volume_says() -> anyhow::Result<()> {
    use api::MountPropagation::{PropagationBidirectional, PropagationHostToContainer, PropagationPrivate};
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let id = node.run_pod_with(&config, handler).await?;
        for (kind, in_container, on_node) in [
            (PropagationPrivate, false, false),
            (PropagationHostToContainer, true, false),
            (PropagationBidirectional, true, true),
        ] {
            let name = format!("{kind:?}").to_lowercase();
            let volume_path = node.path(&format!("{handler}-{name}"));
            for folder in ["of-node", "of-container"] {
                std::fs::create_dir_all(volume_path.join(folder))?;
            }
            let mut app = idle(&name);
            security(&mut app).privileged = true;
            app.mounts = vec![api::Mount { propagation: kind as i32, ..volume("/v", &volume_path) }];
            let app = node.launch(&id, app).await?;
            let outside = volume_path.join("of-node").to_string_lossy().into_owned();
            ochre_e2e::run("mount", &["-t", "tmpfs", "none", &outside])?;
            let seen = node.said(&app, "grep -c ' /v/of-node ' /proc/self/mountinfo").await;
            let made = node.said(&app, "mount -t tmpfs none /v/of-container && echo mounted").await;
            let table = std::fs::read_to_string("/proc/self/mountinfo")?;
            let inside = volume_path.join("of-container");
            let reached = table.contains(&format!(" {} ", inside.display()));
            node.said(&app, "umount /v/of-container").await?;
            ochre_e2e::run("umount", &[&outside])?;
            assert_eq!(made?, "mounted", "{handler} {name}");
            assert_eq!(seen?, u8::from(in_container).to_string(), "{handler} {name}");
            assert_eq!(reached, on_node, "{handler} {name}");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn hostname_dns_hosts_and_shared_memory_are_the_pods() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        config.hostname = format!("web-{handler}");
        config.dns_config = Some(api::DnsConfig {
            servers: vec!["10.9.8.7".into()],
            searches: vec!["ns.svc.test".into()],
            options: vec!["ndots:5".into()],
        });
        pod_linux(&mut config).sysctls =
            [("net.ipv4.ip_unprivileged_port_start", "77"), ("kernel.shmmni", "123")]
                .map(|(k, v)| (k.into(), v.into()))
                .into();
        let id = node.run_pod_with(&config, handler).await?;
        let (one, two) = (node.launch(&id, idle("one")).await?, node.launch(&id, idle("two")).await?);
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner().status.unwrap();
        let ip = status.network.unwrap().ip;
        let seen =
            node.said(&one, "hostname; cat /etc/hostname; echo $HOSTNAME; cat /etc/resolv.conf").await?;
        let name = format!("web-{handler}");
        let expected =
            format!("{name}\n{name}\n{name}\nsearch ns.svc.test\nnameserver 10.9.8.7\noptions ndots:5");
        assert_eq!(seen, expected, "{handler}");
        let hosts = node.said(&one, "cat /etc/hosts; ip addr show eth0").await?;
        assert!(
            hosts.contains(&format!("{ip}\t{name}")) && hosts.contains(&format!("inet {ip}/")),
            "{handler}: {hosts}"
        );
        node.said(&one, "echo shared > /dev/shm/x").await?;
        assert_eq!(node.said(&two, "cat /dev/shm/x").await?, "shared", "{handler}");
        let full = node
            .said(
                &two,
                "dd if=/dev/zero of=/dev/shm/big bs=1M count=65; stat -c %s /dev/shm/big; rm /dev/shm/big",
            )
            .await?;
        let size = full.lines().next().unwrap_or_default().parse::<u64>()?;
        assert!(full.contains("No space left") && size > 60 << 20 && size <= 64 << 20, "{handler}: {full}");
        let sysctls = node
            .said(&two, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni")
            .await?;
        assert_eq!(sysctls, "77\n123", "{handler}");
        node.remove_pod(&id).await?;
    }
    let plain = pod(&node, "plain");
    let id = node.run_pod(&plain).await?;
    let app = node.launch(&id, idle("app")).await?;
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(node.said(&app, "cat /etc/resolv.conf").await?, resolv.trim());
    assert_eq!(node.said(&app, "hostname").await?, id[..12], "the first characters of the id");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_pod_can_use_the_nodes_network_ipc_and_processes() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        let options = pod_namespaces(&mut config);
        (options.network, options.ipc, options.pid) = (2, 2, 2);
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = idle("app");
        security(&mut app).namespace_options =
            Some(api::NamespaceOption { network: 2, ipc: 2, pid: 2, ..Default::default() });
        let app = node.launch(&id, app).await?;
        let pid = node.pid(&app).await?;
        for kind in ["net", "ipc", "pid", "uts"] {
            let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{kind}"));
            assert_eq!(of(&pid.to_string())?, of("self")?, "{handler} {kind}");
        }
        assert_ne!(
            std::fs::read_link(format!("/proc/{pid}/ns/mnt"))?,
            std::fs::read_link("/proc/self/ns/mnt")?
        );
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
        assert_eq!(node.said(&app, "hostname").await?, name.trim(), "{handler}");
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner().status.unwrap();
        assert_eq!(status.network.unwrap().ip, "", "{handler}");
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_container_lives_below_the_pods_cgroup_parent_and_goes_with_its_groups() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let parent = Parent::new("surroundings")?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        pod_linux(&mut config).cgroup_parent = parent.given();
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, idle("app")).await?;
        for controller in ["memory", "cpu", "pids"] {
            let group = node.cgroup(&app, controller).await?;
            let text = group.display().to_string();
            assert!(
                text.contains(&format!("{}/", parent.given())) && text.contains(&app),
                "{handler}: {text}"
            );
            assert!(group.is_dir(), "{handler}: {text}");
        }
        node.remove_pod(&id).await?;
        eventually("the end of the groups", async || Ok(Some(()).filter(|()| parent.groups().is_empty())))
            .await?;
    }
    drop(parent);
    node.finish()
}

#[tokio::test]
async fn a_creation_that_the_kernel_refuses_half_way_leaves_no_cgroup() -> anyhow::Result<()> {
    // More than the kernel takes for pids.max, which runtimes write after they have made the groups.
    let mut node = Node::configured("[crio.runtime]\npids_limit = 99999999\n").await?;
    let parent = Parent::new("refused")?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        pod_linux(&mut config).cgroup_parent = parent.given();
        let id = node.run_pod_with(&config, handler).await?;
        let refused = node.create(&id, idle("app")).await.unwrap_err();
        assert!(refused.message().contains("pids.max"), "{handler}: {refused}");
        assert_eq!(parent.groups(), Vec::<PathBuf>::new(), "{handler}");
        node.remove_pod(&id).await?;
    }
    drop(parent);
    node.finish()
}

#[tokio::test]
async fn labels_and_annotations_come_back_byte_for_byte() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let odd: std::collections::BTreeMap<String, String> = [
        ("plain", "value"),
        ("", "empty key"),
        ("empty.value", ""),
        ("newline\nand\ttab", "a\nb\r\n\0c"),
        ("unicode/ü漢", "🦀 \u{feff}"),
        ("io.kubernetes.pod.uid", "\"quoted\" \\ {json: [1]}"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let mut config = pod(&node, "labels");
    (config.labels, config.annotations) = (odd.clone(), odd.clone());
    let id = node.run_pod(&config).await?;
    let mut app = idle("app");
    (app.labels, app.annotations) = (odd.clone(), odd.clone());
    let app = node.launch(&id, app).await?;
    for restarted in [false, true] {
        if restarted {
            node.engine.stop()?;
            node.engine.start_again()?;
            node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        }
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner().status.unwrap();
        assert_eq!((&status.labels, &status.annotations), (&odd, &odd));
        let row =
            node.client.runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await?.into_inner();
        assert_eq!((&row.items[0].labels, &row.items[0].annotations), (&odd, &odd));
        let status = node.status(&app).await?;
        assert_eq!((&status.labels, &status.annotations), (&odd, &odd));
        assert_eq!(status.image.as_ref().unwrap().image, BUSYBOX);
        let row =
            node.client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
        assert_eq!((&row.containers[0].labels, &row.containers[0].annotations), (&odd, &odd));
    }
    node.remove_pod(&id).await?;
    node.finish()
}
