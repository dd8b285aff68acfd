//! Metrics under the names that cAdvisor gave, lists as streams, and what pods and containers are said to use.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, HANDLERS, Node, container, eventually, limits, pod, pod_linux};
use tonic::Code;

const ALL: &str = "[crio.stats]\nincluded_pod_metrics = [\"all\"]\n";

/// Labels of a metric by name.
type Labels = BTreeMap<String, String>;

/// Descriptors by name: their label keys.
async fn described(node: &mut Node) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let request = api::ListMetricDescriptorsRequest {};
    let descriptors = node.client.runtime.list_metric_descriptors(request).await?.into_inner().descriptors;
    assert!(descriptors.iter().all(|one| !one.help.is_empty()));
    Ok(descriptors.into_iter().map(|one| (one.name, one.label_keys)).collect())
}

/// The samples of a pod and its containers: name, labels, value.
async fn samples(node: &mut Node, pod: &str) -> anyhow::Result<Vec<(String, Labels, u64)>> {
    let keys = described(node).await?;
    let pods = node.client.runtime.list_pod_sandbox_metrics(api::ListPodSandboxMetricsRequest {}).await?;
    let pods = pods.into_inner().pod_metrics;
    let pod = pods.into_iter().find(|one| one.pod_sandbox_id == pod).context("the pod has no metrics")?;
    let all = pod.metrics.into_iter().chain(pod.container_metrics.into_iter().flat_map(|one| one.metrics));
    all.map(|metric| {
        let keys = keys.get(&metric.name).with_context(|| format!("{} is not described", metric.name))?;
        assert_eq!(keys.len(), metric.label_values.len(), "{metric:?}");
        assert_eq!(metric.timestamp, 0, "{metric:?}");
        let labels = keys.iter().cloned().zip(metric.label_values).collect();
        Ok((metric.name, labels, metric.value.context("no value")?.value))
    })
    .collect()
}

#[tokio::test]
async fn a_running_container_has_what_cadvisor_gave() -> anyhow::Result<()> {
    let mut node = Node::configured(ALL).await?;
    let keys = described(&mut node).await?;
    assert_eq!(keys.len(), 56);
    for labels in keys.values() {
        assert_eq!(labels[..6], ["id", "name", "image", "namespace", "pod", "container"]);
    }
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut busy = container("busy", "head -c 5000000 /dev/zero >/file; while :; do :; done");
        *limits(&mut busy) = api::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 10_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        };
        node.launch(&id, busy).await?;
        let found = eventually("a quota that is used up", async || {
            let found = samples(&mut node, &id).await?;
            let throttled =
                found.iter().find(|(name, ..)| name == "container_cpu_cfs_throttled_periods_total");
            Ok(throttled.is_some_and(|(.., periods)| *periods > 0).then_some(found))
        })
        .await?;
        let names: BTreeSet<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
        // What depends on block devices, huge pages, pressure files or the kernel's memory of a peak may be missing.
        let missing: Vec<_> = keys
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .filter(|name| {
                !["blkio", "fs_reads", "fs_writes", "hugetlb", "pressure", "max_usage"]
                    .iter()
                    .any(|part| name.contains(part))
            })
            .collect();
        assert!(missing.is_empty(), "{handler}: {missing:?}");
        let value =
            |name: &str| found.iter().find(|(other, ..)| other == name).map(|(.., value)| *value).unwrap();
        assert_eq!(value("container_spec_cpu_quota"), 10_000);
        assert_eq!(value("container_spec_cpu_shares"), 512);
        assert_eq!(value("container_spec_memory_limit_bytes"), 64 << 20);
        // The shell, and `head` as long as the quota lets it work.
        assert!((1..=2).contains(&value("container_processes")), "{}", value("container_processes"));
        assert!(value("container_file_descriptors") >= 3, "{}", value("container_file_descriptors"));
        assert!(
            value("container_cpu_cfs_periods_total") >= value("container_cpu_cfs_throttled_periods_total")
        );
        assert!((100_000..64 << 20).contains(&value("container_memory_usage_bytes")));
        assert!(value("container_start_time_seconds") > 1_600_000_000);
        assert!(value("container_last_seen") >= value("container_start_time_seconds"));
        let (_, labels, _) = found.iter().find(|(name, ..)| name == "container_memory_rss").unwrap();
        assert!(labels["id"].contains("/crio-"), "{labels:?}");
        assert_eq!(labels["name"], format!("k8s_busy_{handler}_e2e_{handler}-uid_0"));
        assert_eq!((labels["image"].as_str(), labels["namespace"].as_str()), (BUSYBOX, "e2e"));
        assert_eq!((labels["pod"].as_str(), labels["container"].as_str()), (handler, "busy"));
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn network_metrics_are_those_of_the_pod_not_of_the_node() -> anyhow::Result<()> {
    let mut node = Node::configured("[crio.stats]\nincluded_pod_metrics = [\"network\"]\n").await?;
    let config = pod(&node, "net");
    let id = node.run_pod(&config).await?;
    let one = node.launch(&id, container("one", "exec sleep 1000")).await?;
    node.exec(&one, "ping -c 3 -i 0.2 127.0.0.1; ping -c 2 -i 0.2 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')")
        .await?;
    let found = samples(&mut node, &id).await?;
    let interfaces: BTreeSet<_> =
        found.iter().filter_map(|(_, labels, _)| labels.get("interface").map(String::as_str)).collect();
    assert_eq!(interfaces, ["eth0"].into());
    let inside = node.exec(&one, "cat /sys/class/net/eth0/statistics/tx_packets").await?;
    let inside: u64 = String::from_utf8(inside.stdout)?.trim().parse()?;
    let (_, labels, sent) =
        found.iter().find(|(name, ..)| name == "container_network_transmit_packets_total").unwrap();
    assert!(*sent > 0 && *sent <= inside, "{sent} of {inside}");
    assert_eq!((labels["container"].as_str(), labels["pod"].as_str()), ("POD", "net"));
    // Only the group asked for, and what is always told.
    let names: BTreeSet<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names.len(), 9, "{names:?}");
    assert!(names.contains("container_last_seen"));
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn without_the_option_only_the_last_sight_is_told() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    assert_eq!(described(&mut node).await?.into_keys().collect::<Vec<_>>(), ["container_last_seen"]);
    assert!(node.crictl_ok(&["metricdescs"])?.contains("container_last_seen"));
    let config = pod(&node, "quiet");
    let id = node.run_pod(&config).await?;
    node.launch(&id, container("one", "exec sleep 1000")).await?;
    assert_eq!(samples(&mut node, &id).await?.len(), 1);
    assert!(node.crictl_ok(&["metricsp"])?.contains(&id));
    node.remove_pod(&id).await?;
    node.finish()
}

/// Everything of a stream, with the number of messages.
macro_rules! drain {
    ($stream:expr, $field:ident) => {{
        let mut stream = $stream.into_inner();
        let (mut rows, mut messages) = (Vec::new(), 0);
        while let Some(message) = stream.message().await? {
            assert!(!message.$field.is_empty(), "a message without rows");
            messages += 1;
            rows.extend(message.$field);
        }
        (rows, messages)
    }};
}

#[tokio::test]
async fn streams_send_what_lists_answer() -> anyhow::Result<()> {
    let mut node = Node::configured(ALL).await?;
    let runtime = &mut node.client.runtime.clone();
    let (none, messages) =
        drain!(runtime.stream_containers(api::StreamContainersRequest { filter: None }).await?, containers);
    assert_eq!((none.len(), messages), (0, 0));
    let mut pods = Vec::new();
    for attempt in 0..4 {
        let mut config = pod(&node, "rows");
        config.metadata.as_mut().unwrap().attempt = attempt;
        // Four rows of this size do not fit into one message of a mebibyte.
        config.annotations.insert("large".into(), "x".repeat(400_000));
        config.labels.insert("half".into(), (attempt % 2).to_string());
        let id = node.run_pod(&config).await?;
        let mut one = container("one", "exec sleep 1000");
        one.annotations.insert("large".into(), "y".repeat(400_000));
        one.labels.insert("half".into(), (attempt % 2).to_string());
        node.launch(&id, one).await?;
        pods.push(id);
    }
    let half: BTreeMap<_, _> = [("half".to_owned(), "1".to_owned())].into();
    for label_selector in [BTreeMap::new(), half] {
        let expected = if label_selector.is_empty() { (4, 2) } else { (2, 1) };
        let filter =
            Some(api::PodSandboxFilter { label_selector: label_selector.clone(), ..Default::default() });
        let listed = runtime.list_pod_sandbox(api::ListPodSandboxRequest { filter: filter.clone() }).await?;
        let (rows, messages) = drain!(
            runtime.stream_pod_sandboxes(api::StreamPodSandboxesRequest { filter }).await?,
            pod_sandboxes
        );
        assert_eq!((rows.len(), messages), expected);
        assert_eq!(rows, listed.into_inner().items);
        let filter =
            Some(api::ContainerFilter { label_selector: label_selector.clone(), ..Default::default() });
        let listed = runtime.list_containers(api::ListContainersRequest { filter: filter.clone() }).await?;
        let (rows, messages) =
            drain!(runtime.stream_containers(api::StreamContainersRequest { filter }).await?, containers);
        assert_eq!((rows.len(), messages), expected);
        assert_eq!(rows, listed.into_inner().containers);
        let filter =
            Some(api::ContainerStatsFilter { label_selector: label_selector.clone(), ..Default::default() });
        let (rows, _) = drain!(
            runtime.stream_container_stats(api::StreamContainerStatsRequest { filter }).await?,
            container_stats
        );
        assert_eq!(rows.len(), expected.0);
        let filter = Some(api::PodSandboxStatsFilter { label_selector, ..Default::default() });
        let (rows, _) = drain!(
            runtime.stream_pod_sandbox_stats(api::StreamPodSandboxStatsRequest { filter }).await?,
            pod_sandbox_stats
        );
        assert_eq!(rows.len(), expected.0);
        assert!(rows.iter().all(|row| row.linux.as_ref().is_some_and(|linux| linux.containers.len() == 1)));
    }
    let request = api::StreamPodSandboxMetricsRequest {};
    let (rows, _) = drain!(runtime.stream_pod_sandbox_metrics(request).await?, pod_sandbox_metrics);
    assert_eq!(rows.iter().map(|row| &row.pod_sandbox_id).collect::<BTreeSet<_>>(), pods.iter().collect());
    let listed = node.client.image.list_images(api::ListImagesRequest { filter: None }).await?.into_inner();
    let (rows, _) =
        drain!(node.client.image.stream_images(api::StreamImagesRequest { filter: None }).await?, images);
    assert_eq!(rows, listed.images);
    assert_eq!(rows.len(), 1);
    for id in pods {
        node.remove_pod(&id).await?;
    }
    node.finish()
}

/// A verbose pod status' `info`.
async fn info(node: &mut Node, id: &str) -> anyhow::Result<serde_json::Value> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
    let info = node.client.runtime.pod_sandbox_status(request).await?.into_inner().info;
    Ok(serde_json::from_str(&info["info"])?)
}

#[tokio::test]
async fn resources_of_a_pod_are_kept_and_shown_also_after_a_restart() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut config = pod(&node, "resized");
    pod_linux(&mut config).overhead =
        Some(api::LinuxContainerResources { memory_limit_in_bytes: 7, ..Default::default() });
    let id = node.run_pod(&config).await?;
    let update = |id: &str, shares| api::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: id.into(),
        overhead: None,
        resources: Some(api::LinuxContainerResources { cpu_shares: shares, ..Default::default() }),
    };
    node.client.runtime.update_pod_sandbox_resources(update(&id, 77)).await?;
    for _ in 0..2 {
        let info = info(&mut node, &id).await?;
        assert_eq!(
            (&info["resources"]["cpu_shares"], &info["overhead"]["memory_limit"]),
            (&77.into(), &7.into())
        );
        node.engine.kill()?;
        node.engine.start_again()?;
        node.client = Client::connect(&node.engine.socket()).await?;
    }
    // The same request again still means the same pod.
    assert_eq!(node.run_pod(&config).await?, id);
    let unknown = node.client.runtime.update_pod_sandbox_resources(update("nobody", 1)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let bad = node.client.runtime.update_pod_sandbox_resources(update(&id, -1)).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument, "{bad}");
    assert_eq!(info(&mut node, &id).await?["resources"]["cpu_shares"], 77);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn limits_of_a_container_are_read_back_and_never_fall_below_its_use() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut full = container("full", "head -c 30000000 /dev/zero >/dev/shm/x; exec sleep 1000");
        limits(&mut full).memory_limit_in_bytes = 128 << 20;
        let full = node.launch(&id, full).await?;
        let used = eventually("thirty megabytes in use", async || {
            let request = api::ContainerStatsRequest { container_id: full.clone() };
            let stats = node.client.runtime.container_stats(request).await?.into_inner().stats;
            let used = stats.and_then(|stats| stats.memory?.working_set_bytes).map_or(0, |bytes| bytes.value);
            Ok((used > 30_000_000).then_some(used))
        })
        .await?;
        let update = |memory, shares| api::UpdateContainerResourcesRequest {
            container_id: full.clone(),
            linux: Some(api::LinuxContainerResources {
                memory_limit_in_bytes: memory,
                cpu_shares: shares,
                ..Default::default()
            }),
            ..Default::default()
        };
        let refused =
            node.client.runtime.update_container_resources(update(16 << 20, 300)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{handler}: {refused}");
        assert!(refused.message().contains("cannot decrease memory limit to 16777216"), "{refused}");
        let shown = |status: api::ContainerStatus| status.resources.and_then(|r| r.linux).unwrap_or_default();
        let before = shown(node.status(&full).await?);
        assert_eq!((before.memory_limit_in_bytes, before.cpu_shares), (128 << 20, 0), "{handler}");
        node.client.runtime.update_container_resources(update(96 << 20, 300)).await?;
        node.engine.kill()?;
        node.engine.start_again()?;
        node.client = Client::connect(&node.engine.socket()).await?;
        let after = shown(node.status(&full).await?);
        assert_eq!((after.memory_limit_in_bytes, after.cpu_shares), (96 << 20, 300), "{handler}");
        assert!(used < 96 << 20);
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn verbose_statuses_have_the_specification() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "verbose");
    let id = node.run_pod(&config).await?;
    let one = node.launch(&id, container("one", "exec sleep 1000")).await?;
    let pod = info(&mut node, &id).await?;
    let namespaces = pod["runtimeSpec"]["linux"]["namespaces"].as_array().context("no namespaces")?;
    let network = namespaces.iter().find(|one| one["type"] == "network").context("no network")?;
    assert!(network["path"].as_str().is_some_and(|path| path.contains("/netns/")), "{network}");
    let request = api::ContainerStatusRequest { container_id: one, verbose: true };
    let info = node.client.runtime.container_status(request).await?.into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"])?;
    assert_eq!(info["sandboxID"], id.as_str());
    assert!(info["pid"].as_i64().is_some_and(|pid| pid > 1), "{info}");
    assert_eq!(info["runtimeSpec"]["process"]["args"][0], "/bin/sh");
    assert_eq!(info["privileged"], false);
    let status = node.client.runtime.status(api::StatusRequest { verbose: true }).await?.into_inner();
    let config: serde_json::Value = serde_json::from_str(&status.info["config"])?;
    assert_eq!(config["stateDir"], node.path("root/ochre").to_string_lossy().as_ref());
    node.remove_pod(&id).await?;
    node.finish()
}
