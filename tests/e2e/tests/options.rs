//! Options of crio.conf take effect: seen inside containers, in the store, at registries and in the network.

use std::path::Path;

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{Node, Registry, busybox, container, eventually, pod};
use ochre_test_support::layout::Entry;
use serde_json::Value;

/// alice, s3cret-pass.
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n";

fn lines_with<'a>(text: &'a str, needle: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(needle)).collect()
}

/// The `info` of a verbose answer.
async fn sandbox_info(node: &mut Node, id: &str) -> anyhow::Result<Value> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
    let answer = node.client.runtime.pod_sandbox_status(request).await?.into_inner();
    Ok(serde_json::from_str(answer.info.get("info").context("no info")?)?)
}

#[tokio::test]
async fn defaults_of_containers_are_in_force_inside() -> anyhow::Result<()> {
    let mut node = Node::configured(
        "[crio.runtime]\npids_limit = 77\ndefault_capabilities = [\"CHOWN\", \"CAP_KILL\"]\n\
         default_sysctls = [\"net.ipv4.ip_unprivileged_port_start=0\"]\ndefault_env = [\"FROM=engine\", \"IMAGE=engine\"]\n\
         default_ulimits = [\"nofile=512:600\"]\nadditional_devices = [\"/dev/zero:/dev/nothing:r\"]\n\
         add_inheritable_capabilities = true\nlog_level = \"error\"\n",
    )
    .await?;
    let config = pod(&node, "defaults");
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, container("app", "sleep 1000")).await?;
    let pids = node.cgroup(&app, "pids").await?.join("pids.max");
    assert_eq!(std::fs::read_to_string(pids)?.trim(), "77");
    // CHOWN is bit 0, KILL bit 5.
    let sets = node.said(&app, "grep ^Cap /proc/1/status").await?;
    for set in ["CapInh:\t", "CapPrm:\t", "CapEff:\t", "CapBnd:\t"] {
        assert!(sets.contains(&format!("{set}0000000000000021")), "{set}: {sets}");
    }
    assert_eq!(node.said(&app, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").await?, "0");
    // The image's value counts more than the engine's.
    assert_eq!(node.said(&app, "echo $FROM $IMAGE").await?, "engine busybox");
    assert_eq!(
        node.said(&app, "grep 'open files' /proc/1/limits | tr -s ' '").await?,
        "Max open files 512 600 files"
    );
    assert_eq!(
        node.said(&app, "head -c 3 /dev/nothing | wc -c; echo x >/dev/nothing").await?.lines().next(),
        Some("3")
    );
    assert!(!node.log().contains("INFO") && !node.log().contains("WARN"), "{}", node.log());
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_read_only_node_lets_programs_write_to_temporary_places_alone() -> anyhow::Result<()> {
    let mut node = Node::configured("[crio.runtime]\nread_only = true\n").await?;
    for handler in ["ochre", "runc", "crun"] {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, container("app", "sleep 1000")).await?;
        let written = node.said(&app, "touch /etc/new; touch /tmp/new /run/new && echo fine").await?;
        assert!(
            written.contains("Read-only file system") && written.contains("fine"),
            "{handler}: {written}"
        );
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn handlers_run_what_the_table_names_where_it_names() -> anyhow::Result<()> {
    let runc = ["/usr/sbin/runc", "/usr/bin/runc"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("no runc")?;
    let mut node = Node::configured(&format!(
        "[crio.runtime]\ndefault_runtime = \"mine\"\n[crio.runtime.runtimes.mine]\nruntime_path = \"{runc}\"\n\
         runtime_type = \"oci\"\nruntime_root = \"{{dir}}/mine-root\"\n\
         [crio.runtime.runtimes.heir]\ninherit_default_runtime = true\n\
         [crio.runtime.runtimes.gone]\nruntime_path = \"/nowhere/gone\"\n"
    ))
    .await?;
    assert_eq!(lines_with(&node.log(), "/nowhere/gone").len(), 1, "{}", node.log());
    for (name, handler) in [("default", ""), ("heir", "heir")] {
        let config = pod(&node, name);
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, container("app", "sleep 1000")).await?;
        let expected = if handler.is_empty() { "mine" } else { handler };
        assert_eq!(sandbox_info(&mut node, &id).await?["runtimeHandler"], expected);
        assert!(
            node.path(&format!("mine-root/{app}/state.json")).is_file(),
            "{handler:?} keeps its state elsewhere"
        );
        node.remove_pod(&id).await?;
    }
    for handler in ["gone", "nobody"] {
        let config = pod(&node, handler);
        let refused = node.run_pod_with(&config, handler).await.unwrap_err();
        assert!(refused.message().contains(&format!("{handler:?}")), "{refused}");
    }
    node.finish()
}

#[tokio::test]
async fn storage_options_reach_the_mounts_and_bring_further_stores() -> anyhow::Result<()> {
    let extra = Node::start().await?;
    let image = busybox()?;
    let id = extra.import(&image, "localhost/elsewhere:1")?;
    let store = extra.path("root");
    let options = format!("overlay.mountopt=nodev,volatile\", \"overlay.imagestore={}", store.display());
    let mut node = Node::configured(&format!("[crio]\nstorage_option = [\"{options}\"]\n")).await?;
    let found = node.image("localhost/elsewhere:1").await?.context("the image of the further store")?;
    assert_eq!(found.id, id);
    let config = pod(&node, "storage");
    let id = node.run_pod(&config).await?;
    let mut app = container("app", "sleep 1000");
    app.image = Some(api::ImageSpec { image: "localhost/elsewhere:1".into(), ..Default::default() });
    let app = node.launch(&id, app).await?;
    let mounts = node.said(&app, "grep ' / / ' /proc/1/mountinfo").await?;
    assert!(mounts.contains("nodev") && mounts.contains("volatile"), "{mounts}");
    node.remove_pod(&id).await?;
    node.finish()?;
    extra.finish()
}

#[tokio::test]
async fn signature_policies_decide_what_is_pulled() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    registry.push(&busybox()?, "busybox:1", "oci")?;
    let open = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}";
    let closed = "{\"default\":[{\"type\":\"reject\"}]}";
    let image = format!("{}/busybox:1", registry.host());
    let policies = "[crio.image]\nsignature_policy = \"{dir}/policy.json\"\nsignature_policy_dir = \"{dir}/policies\"\n\
                    pinned_images = [\"*/busybox*\"]\n";
    for (general, locked) in [(open, closed), (closed, open)] {
        let mut node = Node::prepared(policies, |directory| {
            std::fs::create_dir(directory.join("policies"))?;
            std::fs::write(directory.join("policy.json"), general)?;
            std::fs::write(directory.join("policies/special.json"), locked)?;
            registry.write_conf(&directory.join("registries.conf"), "registry.k8s.io")
        })
        .await?;
        for (namespace, policy) in [("general", general), ("special", locked)] {
            let mut config = pod(&node, "puller");
            config.metadata.as_mut().context("metadata")?.namespace = namespace.into();
            let spec = api::ImageSpec { image: image.clone(), ..Default::default() };
            let request =
                api::PullImageRequest { image: Some(spec), auth: None, sandbox_config: Some(config) };
            let pulled = node.client.image.pull_image(request).await;
            if policy == open {
                pulled?;
                assert!(node.image(&image).await?.context("the pulled image")?.pinned);
                node.remove_image(&image).await?;
            } else {
                let refused = pulled.unwrap_err();
                assert!(refused.message().starts_with("SignatureValidationFailed: "), "{refused}");
                assert!(refused.message().contains(&image), "{refused}");
                assert!(node.image(&image).await?.is_none());
            }
        }
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn credentials_and_patience_of_pulls_come_from_the_file() -> anyhow::Result<()> {
    let closed = Registry::start_closed(HTPASSWD)?;
    let options = ["--dest-creds", "alice:s3cret-pass"];
    let layout = tempfile::tempdir()?;
    let mut image = busybox()?;
    // Something that does not compress, so that the gate holds it back.
    let noise: Vec<u8> = (0..400_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    image.entries.push(Entry::File("noise".into(), 0o644, noise));
    image.write_layout(layout.path(), "latest")?;
    closed.copy(&format!("oci:{}:latest", layout.path().display()), "busybox:1", &options)?;
    let gate = ochre_e2e::Gate::start(closed.host(), 20_000)?;
    let name = format!("{}/busybox:1", gate.host());
    for (auth, found) in [("alice:s3cret-pass", true), ("", false)] {
        let mut node = Node::prepared(
            "[crio.image]\nglobal_auth_file = \"{dir}/auth.json\"\npull_progress_timeout = \"400ms\"\n",
            |directory| {
                let auths = if auth.is_empty() {
                    String::new()
                } else {
                    format!("\"{}\": {{ \"auth\": \"YWxpY2U6czNjcmV0LXBhc3M=\" }}", gate.host())
                };
                std::fs::write(directory.join("auth.json"), format!("{{ \"auths\": {{ {auths} }} }}"))?;
                let registries = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", gate.host());
                Ok(std::fs::write(directory.join("registries.conf"), registries)?)
            },
        )
        .await?;
        let refused = node.pull(&name).await.unwrap_err();
        if found {
            assert!(refused.message().contains("no data for 0.4 seconds"), "{refused}");
        } else {
            assert!(refused.message().contains("access denied (401)"), "{refused}");
        }
        if found {
            gate.open();
            node.pull(&name).await?;
        }
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn networks_come_from_the_directories_that_are_named() -> anyhow::Result<()> {
    let list = |name: &str, bridge: &str, subnet: u8| {
        format!(
            "{{\"cniVersion\":\"1.0.0\",\"name\":\"{name}\",\"plugins\":[{{\"type\":\"bridge\",\"bridge\":\"{bridge}\",\
             \"isGateway\":true,\"ipam\":{{\"type\":\"host-local\",\"dataDir\":\"{{dir}}/ipam\",\
             \"ranges\":[[{{\"subnet\":\"10.99.{subnet}.0/24\"}}]]}}}}]}}"
        )
    };
    let native = "native_cni = true\nplugin_dirs = [\"/usr/lib/cni\"]\n";
    let executed = "native_cni = false\nplugin_dirs = [\"{dir}/no-plugins\", \"/usr/lib/cni\"]\n";
    for (options, default, prefix) in
        [(executed, "", "10.99.1."), (executed, "second", "10.99.2."), (native, "second", "10.99.2.")]
    {
        let default =
            if default.is_empty() { String::new() } else { format!("cni_default_network = \"{default}\"\n") };
        let mut node = Node::prepared(&format!("[crio.network]\n{options}{default}"), |directory| {
            let here = directory.to_string_lossy();
            std::fs::create_dir(directory.join("cni"))?;
            std::fs::write(
                directory.join("cni/10-first.conflist"),
                list("first", "e2e-one", 1).replace("{dir}", &here),
            )?;
            Ok(std::fs::write(
                directory.join("cni/20-second.conflist"),
                list("second", "e2e-two", 2).replace("{dir}", &here),
            )?)
        })
        .await?;
        let config = pod(&node, "network");
        let id = node.run_pod(&config).await?;
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        let status =
            node.client.runtime.pod_sandbox_status(request).await?.into_inner().status.context("status")?;
        let ip = status.network.context("network")?.ip;
        assert!(ip.starts_with(prefix), "{options}{default}: {ip}");
        node.remove_pod(&id).await?;
        node.finish()?;
    }
    let mut node = Node::prepared(
        "[crio.network]\nnative_cni = false\nplugin_dirs = [\"{dir}/no-plugins\"]\n",
        |directory| {
            std::fs::create_dir(directory.join("cni"))?;
            Ok(std::fs::write(directory.join("cni/10-first.conflist"), list("first", "e2e-one", 1))?)
        },
    )
    .await?;
    let config = pod(&node, "no-plugins");
    let refused = node.run_pod(&config).await.unwrap_err();
    assert!(refused.message().contains("bridge") && refused.message().contains("no-plugins"), "{refused}");
    node.finish()
}

#[tokio::test]
async fn mount_sources_host_ports_and_message_sizes_follow_their_options() -> anyhow::Result<()> {
    let mut node = Node::prepared(
        "[crio.runtime]\nbind_mount_prefix = \"{dir}/prefix\"\nabsent_mount_sources_to_reject = [\"/refused\"]\n\
         disable_hostport_mapping = true\n[crio.api]\ngrpc_max_recv_msg_size = 20000\n",
        |directory| {
            std::fs::create_dir_all(directory.join("prefix/data"))?;
            Ok(std::fs::write(directory.join("prefix/data/file"), "below the prefix")?)
        },
    )
    .await?;
    let mut config = pod(&node, "mounts");
    config.port_mappings =
        vec![api::PortMapping { container_port: 80, host_port: 18_085, ..Default::default() }];
    let id = node.run_pod(&config).await?;
    let mount = |host: &str| {
        vec![api::Mount { container_path: "/seen".into(), host_path: host.into(), ..Default::default() }]
    };
    let mut app =
        container("app", "mkdir /tmp/www; echo x >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www");
    app.mounts = mount("/data");
    let app = node.launch(&id, app).await?;
    assert_eq!(node.said(&app, "cat /seen/file").await?, "below the prefix");
    eventually("the page inside the pod", async || {
        Ok(Some(node.said(&app, "wget -qO- http://127.0.0.1/").await?).filter(|page| page == "x"))
    })
    .await?;
    assert!(std::net::TcpStream::connect(("127.0.0.1", 18_085)).is_err(), "the host port is served");
    let mut absent = container("absent", "true");
    absent.mounts = mount("/refused");
    let refused = node.create(&id, absent).await.unwrap_err();
    assert!(refused.message().contains("/refused"), "{refused}");
    let mut large = container("large", "true");
    large.envs = vec![api::KeyValue { key: "BIG".into(), value: vec![b'x'; 30_000] }];
    let refused = node.create(&id, large).await.unwrap_err();
    assert!(refused.message().contains("20000"), "{refused}");
    node.remove_pod(&id).await?;
    node.finish()
}
