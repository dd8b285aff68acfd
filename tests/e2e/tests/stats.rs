//! What containers and pods use, limits that change while they run, and lists with every filter.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{HANDLERS, Node, container, eventually, limits, pod};

/// One container's statistics.
async fn stats(node: &mut Node, id: &str) -> anyhow::Result<api::ContainerStats> {
    let request = api::ContainerStatsRequest { container_id: id.into() };
    node.client.runtime.container_stats(request).await?.into_inner().stats.context("no statistics")
}

/// The ids in a filtered list of statistics, sorted.
async fn listed(node: &mut Node, filter: api::ContainerStatsFilter) -> anyhow::Result<Vec<String>> {
    let request = api::ListContainerStatsRequest { filter: Some(filter) };
    let rows = node.client.runtime.list_container_stats(request).await?.into_inner().stats;
    let mut ids: Vec<_> = rows.into_iter().filter_map(|row| Some(row.attributes?.id)).collect();
    ids.sort();
    Ok(ids)
}

/// A pod's statistics.
async fn pod_stats(node: &mut Node, id: &str) -> anyhow::Result<api::LinuxPodSandboxStats> {
    let request = api::PodSandboxStatsRequest { pod_sandbox_id: id.into() };
    let stats =
        node.client.runtime.pod_sandbox_stats(request).await?.into_inner().stats.context("no statistics")?;
    assert_eq!(stats.attributes.context("no attributes")?.id, id);
    stats.linux.context("no linux part")
}

fn number(value: Option<api::UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

fn label(key: &str, value: &str) -> std::collections::BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

fn labelled(name: &str, script: &str, value: &str) -> api::ContainerConfig {
    api::ContainerConfig { labels: label("kind", value), ..container(name, script) }
}

fn sorted(ids: &[&String]) -> Vec<String> {
    let mut ids: Vec<_> = ids.iter().map(|id| (*id).clone()).collect();
    ids.sort();
    ids
}

/// The number in the first of these files that a cgroup has.
fn limit(directory: &Path, names: &[&str]) -> anyhow::Result<String> {
    let path = names.iter().map(|name| directory.join(name)).find(|path| path.exists());
    let path = path.with_context(|| format!("none of {names:?} in {}", directory.display()))?;
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}

#[tokio::test]
async fn use_is_counted_while_containers_run() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "use");
    let id = node.run_pod(&config).await?;
    let busy = node.launch(&id, labelled("busy", "while :; do :; done", "loud")).await?;
    let full = node
        .launch(&id, labelled("full", "head -c 20000000 /dev/zero >/dev/shm/x; exec sleep 1000", "quiet"))
        .await?;

    let first = stats(&mut node, &busy).await?.cpu.context("no cpu")?;
    let second = eventually("CPU time of a busy loop", async || {
        let now = stats(&mut node, &busy).await?.cpu.context("no cpu")?;
        assert!(now.timestamp > first.timestamp, "time stands still");
        let grown = number(now.usage_core_nano_seconds) > number(first.usage_core_nano_seconds) + 50_000_000;
        Ok(Some(now).filter(|now| grown && number(now.usage_nano_cores) > 0))
    })
    .await?;
    let cores = std::thread::available_parallelism()?.get() as u64;
    assert!(number(second.usage_nano_cores) > 20_000_000, "{second:?}");
    assert!(number(second.usage_nano_cores) < cores * 1_100_000_000, "{second:?}");
    // Asked again at once, the rate is still one over a while.
    let again = stats(&mut node, &busy).await?.cpu.context("no cpu")?;
    assert!(number(again.usage_nano_cores) > 20_000_000 && again.timestamp > second.timestamp, "{again:?}");

    let memory = eventually("twenty megabytes in use", async || {
        let memory = stats(&mut node, &full).await?.memory.context("no memory")?;
        Ok(Some(memory).filter(|memory| number(memory.working_set_bytes) >= 20_000_000))
    })
    .await?;
    assert!(number(memory.usage_bytes) >= number(memory.working_set_bytes), "{memory:?}");
    assert!(number(memory.working_set_bytes) < 60_000_000 && number(memory.page_faults) > 0, "{memory:?}");
    let small = stats(&mut node, &busy).await?;
    let attributes = small.attributes.context("no attributes")?;
    assert_eq!(attributes.metadata.context("no metadata")?.name, "busy");
    assert_eq!(attributes.labels, label("kind", "loud"));
    assert!(number(small.memory.context("no memory")?.working_set_bytes) < 20_000_000);
    let layer = eventually("the size of the writable layer", async || {
        Ok(stats(&mut node, &full).await?.writable_layer)
    })
    .await?;
    assert!(number(layer.inodes_used) > 0 && layer.timestamp > 0, "{layer:?}");
    assert_eq!(
        layer.fs_id.context("no file system")?.mountpoint,
        node.path("root/overlay-images").to_string_lossy()
    );

    node.stop_container(&busy, 0).await?;
    assert_eq!(listed(&mut node, api::ContainerStatsFilter::default()).await?, sorted(&[&full]));
    let stopped = stats(&mut node, &busy).await?;
    assert_eq!(stopped.attributes.context("no attributes")?.id, busy);
    assert!(stopped.cpu.is_none() && stopped.memory.is_none(), "use of a container that does not run");
    let unknown = stats(&mut node, "nobody").await.unwrap_err();
    assert!(unknown.to_string().contains("nobody"), "{unknown}");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn statistics_are_listed_by_id_pod_and_label() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let (one, two) = (pod(&node, "one"), pod(&node, "two"));
    let one = node.run_pod(&one).await?;
    let two = node.run_pod(&two).await?;
    let a = node.launch(&one, labelled("a", "exec sleep 1000", "x")).await?;
    let b = node.launch(&one, labelled("b", "exec sleep 1000", "y")).await?;
    let c = node.launch(&two, labelled("c", "exec sleep 1000", "x")).await?;
    node.create(&two, labelled("never-started", "exec sleep 1000", "x")).await?;
    let none = || api::ContainerStatsFilter::default();
    for (filter, found) in [
        (none(), sorted(&[&a, &b, &c])),
        (api::ContainerStatsFilter { id: a.clone(), ..none() }, sorted(&[&a])),
        (api::ContainerStatsFilter { id: a[..12].into(), ..none() }, sorted(&[&a])),
        (api::ContainerStatsFilter { id: "nobody".into(), ..none() }, vec![]),
        (api::ContainerStatsFilter { pod_sandbox_id: one.clone(), ..none() }, sorted(&[&a, &b])),
        (api::ContainerStatsFilter { pod_sandbox_id: "nobody".into(), ..none() }, vec![]),
        (api::ContainerStatsFilter { label_selector: label("kind", "x"), ..none() }, sorted(&[&a, &c])),
        (api::ContainerStatsFilter { label_selector: label("kind", "z"), ..none() }, vec![]),
        (
            api::ContainerStatsFilter {
                pod_sandbox_id: two.clone(),
                label_selector: label("kind", "x"),
                ..none()
            },
            sorted(&[&c]),
        ),
        (api::ContainerStatsFilter { id: a.clone(), pod_sandbox_id: two.clone(), ..none() }, vec![]),
    ] {
        let text = format!("{filter:?}");
        assert_eq!(listed(&mut node, filter).await?, found, "{text}");
    }
    for pod in [one, two] {
        node.remove_pod(&pod).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_pod_sums_up_its_containers_and_counts_its_network() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut config = pod(&node, "sums");
    config.labels = label("app", "sums");
    let id = node.run_pod(&config).await?;
    let other = pod(&node, "other");
    let other = node.run_pod(&other).await?;
    node.launch(&id, container("app", "head -c 5000 /dev/zero >/tmp/page; exec httpd -f -p 8080 -h /tmp"))
        .await?;
    node.launch(&id, container("side", "sleep 1000 & exec sleep 1000")).await?;
    let before = eventually("three processes", async || {
        let stats = pod_stats(&mut node, &id).await?;
        let count = number(stats.process.as_ref().context("no processes")?.process_count);
        Ok(Some(stats).filter(|_| count == 3))
    })
    .await?;
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status =
        node.client.runtime.pod_sandbox_status(request).await?.into_inner().status.context("no status")?;
    let ip = status.network.context("no network")?.ip;
    let mut connection =
        eventually("the server", async || Ok(TcpStream::connect((ip.as_str(), 8080)).ok())).await?;
    connection.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
    connection.read_to_end(&mut Vec::new())?;
    let after = pod_stats(&mut node, &id).await?;
    let interface = |stats: &api::LinuxPodSandboxStats| {
        stats.network.as_ref().and_then(|network| network.default_interface.clone()).context("no interface")
    };
    let (first, second) = (interface(&before)?, interface(&after)?);
    assert_eq!(second.name, "eth0");
    assert!(number(second.rx_bytes) > number(first.rx_bytes) + 100, "{first:?} {second:?}");
    assert!(number(second.tx_bytes) > number(first.tx_bytes) + 5000, "{first:?} {second:?}");
    let sum: u64 = after
        .containers
        .iter()
        .filter_map(|row| row.cpu)
        .map(|cpu| number(cpu.usage_core_nano_seconds))
        .sum();
    let (old, new) = (before.cpu.context("no cpu")?, after.cpu.context("no cpu")?);
    assert_eq!(number(new.usage_core_nano_seconds), sum);
    assert!(new.timestamp > old.timestamp);
    assert_eq!(after.containers.len(), 2);
    assert!(number(after.memory.context("no memory")?.working_set_bytes) > 0);

    let list = async |node: &mut Node, filter: api::PodSandboxStatsFilter| -> anyhow::Result<Vec<String>> {
        let request = api::ListPodSandboxStatsRequest { filter: Some(filter) };
        let rows = node.client.runtime.list_pod_sandbox_stats(request).await?.into_inner().stats;
        let mut ids: Vec<_> = rows.into_iter().filter_map(|row| Some(row.attributes?.id)).collect();
        ids.sort();
        Ok(ids)
    };
    let none = api::PodSandboxStatsFilter::default;
    for (filter, found) in [
        (none(), sorted(&[&id, &other])),
        (api::PodSandboxStatsFilter { id: id[..12].into(), ..none() }, sorted(&[&id])),
        (api::PodSandboxStatsFilter { id: "nobody".into(), ..none() }, vec![]),
        (api::PodSandboxStatsFilter { label_selector: label("app", "sums"), ..none() }, sorted(&[&id])),
        (api::PodSandboxStatsFilter { label_selector: label("app", "else"), ..none() }, vec![]),
    ] {
        let text = format!("{filter:?}");
        assert_eq!(list(&mut node, filter).await?, found, "{text}");
    }
    node.client
        .runtime
        .stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: other.clone() })
        .await?;
    assert_eq!(list(&mut node, none()).await?, sorted(&[&id]));
    for pod in [id, other] {
        node.remove_pod(&pod).await?;
    }
    node.finish()
}

#[tokio::test]
async fn changed_limits_are_in_the_cgroup_and_in_the_status_and_a_failed_change_changes_nothing()
-> anyhow::Result<()> {
    for handler in HANDLERS {
        let mut node = Node::start().await?;
        let config = pod(&node, "update");
        let id = node.run_pod_with(&config, handler).await?;
        let mut app = container("app", "exec sleep 1000");
        limits(&mut app).cpu_shares = 256;
        limits(&mut app).memory_limit_in_bytes = 128 << 20;
        let app = node.launch(&id, app).await?;
        let (memory, cpu) = (node.cgroup(&app, "memory").await?, node.cgroup(&app, "cpu").await?);
        let in_force = || -> anyhow::Result<[String; 3]> {
            Ok([
                limit(&memory, &["memory.max", "memory.limit_in_bytes"])?,
                limit(&cpu, &["cpu.weight", "cpu.shares"])?,
                limit(&cpu, &["cpu.max", "cpu.cfs_quota_us"])?,
            ])
        };
        let first = in_force()?;
        assert_eq!(first[0], (128 << 20).to_string(), "{handler}");

        let update = async |node: &mut Node, resources: api::LinuxContainerResources| {
            let request = api::UpdateContainerResourcesRequest {
                container_id: app.clone(),
                linux: Some(resources),
                ..Default::default()
            };
            node.client.runtime.update_container_resources(request).await
        };
        let wanted = api::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        };
        update(&mut node, wanted).await?;
        let second = in_force()?;
        assert_eq!(second[0], (64 << 20).to_string(), "{handler}");
        assert!(second[1] != first[1] && second[2].starts_with("50000"), "{handler}: {first:?} {second:?}");
        let told = node.status(&app).await?.resources.and_then(|r| r.linux).context("no resources")?;
        assert_eq!(
            (told.memory_limit_in_bytes, told.cpu_shares, told.cpu_quota),
            (64 << 20, 512, 50_000),
            "{handler}"
        );

        let wrong = api::LinuxContainerResources {
            memory_limit_in_bytes: 96 << 20,
            cpu_shares: 999,
            cpuset_cpus: "4000".into(),
            ..Default::default()
        };
        let refused = update(&mut node, wrong).await.unwrap_err();
        assert!(refused.message().contains(&app), "{handler}: {refused}");
        assert_eq!(in_force()?, second, "{handler}: half of a failed update is in force");
        let still = node.status(&app).await?.resources.and_then(|r| r.linux).context("no resources")?;
        assert_eq!(still, told, "{handler}");
        let absurd = api::LinuxContainerResources { cpu_shares: -5, ..Default::default() };
        assert_eq!(update(&mut node, absurd).await.unwrap_err().code(), tonic::Code::InvalidArgument);
        node.remove_pod(&id).await?;
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn containers_and_pods_are_listed_by_every_filter() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let (mut one, two) = (pod(&node, "one"), pod(&node, "two"));
    one.labels = label("app", "one");
    let (one, two) = (node.run_pod(&one).await?, node.run_pod(&two).await?);
    let running = node.launch(&one, labelled("running", "exec sleep 1000", "x")).await?;
    let created = node.create(&one, labelled("created", "exec sleep 1000", "y")).await?;
    let exited = node.launch(&two, labelled("exited", "exit 0", "x")).await?;
    node.exited(&exited).await?;
    let none = api::ContainerFilter::default;
    let in_state = |state: api::ContainerState| Some(api::ContainerStateValue { state: state as i32 });
    for (filter, found) in [
        (none(), sorted(&[&running, &created, &exited])),
        (api::ContainerFilter { id: exited[..12].into(), ..none() }, sorted(&[&exited])),
        (api::ContainerFilter { id: "nobody".into(), ..none() }, vec![]),
        (
            api::ContainerFilter { state: in_state(api::ContainerState::ContainerRunning), ..none() },
            sorted(&[&running]),
        ),
        (
            api::ContainerFilter { state: in_state(api::ContainerState::ContainerCreated), ..none() },
            sorted(&[&created]),
        ),
        (
            api::ContainerFilter { state: in_state(api::ContainerState::ContainerExited), ..none() },
            sorted(&[&exited]),
        ),
        (api::ContainerFilter { state: in_state(api::ContainerState::ContainerUnknown), ..none() }, vec![]),
        (api::ContainerFilter { pod_sandbox_id: one[..12].into(), ..none() }, sorted(&[&running, &created])),
        (api::ContainerFilter { pod_sandbox_id: "nobody".into(), ..none() }, vec![]),
        (api::ContainerFilter { label_selector: label("kind", "x"), ..none() }, sorted(&[&running, &exited])),
        (
            api::ContainerFilter {
                id: running.clone(),
                state: in_state(api::ContainerState::ContainerRunning),
                pod_sandbox_id: one.clone(),
                label_selector: label("kind", "x"),
            },
            sorted(&[&running]),
        ),
        (api::ContainerFilter { id: running.clone(), label_selector: label("kind", "y"), ..none() }, vec![]),
    ] {
        let text = format!("{filter:?}");
        let request = api::ListContainersRequest { filter: Some(filter) };
        let rows = node.client.runtime.list_containers(request).await?.into_inner().containers;
        assert_eq!(sorted(&rows.iter().map(|row| &row.id).collect::<Vec<_>>()), found, "{text}");
    }
    node.client.runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: two.clone() }).await?;
    let none = api::PodSandboxFilter::default;
    let in_state = |state: api::PodSandboxState| Some(api::PodSandboxStateValue { state: state as i32 });
    for (filter, found) in [
        (none(), sorted(&[&one, &two])),
        (api::PodSandboxFilter { id: one[..12].into(), ..none() }, sorted(&[&one])),
        (api::PodSandboxFilter { id: "nobody".into(), ..none() }, vec![]),
        (
            api::PodSandboxFilter { state: in_state(api::PodSandboxState::SandboxReady), ..none() },
            sorted(&[&one]),
        ),
        (
            api::PodSandboxFilter { state: in_state(api::PodSandboxState::SandboxNotready), ..none() },
            sorted(&[&two]),
        ),
        (api::PodSandboxFilter { label_selector: label("app", "one"), ..none() }, sorted(&[&one])),
        (api::PodSandboxFilter { label_selector: label("app", "two"), ..none() }, vec![]),
        (
            api::PodSandboxFilter {
                id: one.clone(),
                state: in_state(api::PodSandboxState::SandboxNotready),
                ..none()
            },
            vec![],
        ),
    ] {
        let text = format!("{filter:?}");
        let request = api::ListPodSandboxRequest { filter: Some(filter) };
        let rows = node.client.runtime.list_pod_sandbox(request).await?.into_inner().items;
        assert_eq!(sorted(&rows.iter().map(|row| &row.id).collect::<Vec<_>>()), found, "{text}");
    }
    for pod in [one, two] {
        node.remove_pod(&pod).await?;
    }
    node.finish()
}
