//! Metrics as the API shows them.

use ochre_cri_api as api;
use ochre_pod::{Container, ContainerMetrics, Sandbox, SandboxMetrics};
use ochre_runtime::cgroup::{Driver, OwnedGroup, parent_group};
use ochre_runtime::metrics::{BASE_LABELS, Descriptor, Metric, MetricKind};

/// What a metric is; the labels of all come first.
pub(crate) fn descriptor(descriptor: &Descriptor) -> api::MetricDescriptor {
    api::MetricDescriptor {
        name: descriptor.name.to_owned(),
        help: descriptor.help.to_owned(),
        label_keys: BASE_LABELS.iter().chain(descriptor.labels).map(|label| (*label).to_owned()).collect(),
    }
}

/// One pod and its containers.
pub(crate) fn sandbox(pod: &SandboxMetrics, driver: Driver) -> api::PodSandboxMetrics {
    let own = labels_of_sandbox(&pod.sandbox, driver);
    api::PodSandboxMetrics {
        pod_sandbox_id: pod.sandbox.id.to_string(),
        metrics: pod.metrics.iter().map(|one| metric(one, &own, 0)).collect(),
        container_metrics: pod.containers.iter().map(|one| container(one, driver)).collect(),
    }
}

fn container(row: &ContainerMetrics, driver: Driver) -> api::ContainerMetrics {
    let own = labels_of_container(&row.container, driver);
    api::ContainerMetrics {
        container_id: row.container.id.to_string(),
        metrics: row.metrics.iter().map(|one| metric(one, &own, row.at)).collect(),
    }
}

fn metric(metric: &Metric, own: &[String; 6], timestamp: i64) -> api::Metric {
    let kind = match metric.descriptor.kind {
        MetricKind::Counter => api::MetricType::Counter,
        MetricKind::Gauge => api::MetricType::Gauge,
    };
    api::Metric {
        name: metric.descriptor.name.to_owned(),
        timestamp,
        metric_type: kind as i32,
        label_values: own.iter().chain(&metric.labels).cloned().collect(),
        value: Some(api::UInt64Value { value: metric.value }),
    }
}

/// In the order of [`BASE_LABELS`], with cAdvisor's values: the control group as id, CRI-O's long name, and `POD` for what
/// belongs to no container.
fn labels_of_sandbox(sandbox: &Sandbox, driver: Driver) -> [String; 6] {
    let name = &sandbox.config.metadata;
    [
        parent_group(driver, &sandbox.config.cgroup_parent).map(String::from).unwrap_or_default(),
        format!("k8s_POD_{}_{}_{}_{}", name.name, name.namespace, name.uid, name.attempt),
        String::new(),
        name.namespace.clone(),
        name.name.clone(),
        "POD".to_owned(),
    ]
}

fn labels_of_container(container: &Container, driver: Driver) -> [String; 6] {
    let (pod, name) = (&container.sandbox.config.metadata, &container.config.metadata);
    let group = OwnedGroup::of_container(driver, &container.sandbox.config.cgroup_parent, &container.id);
    [
        group.map(|group| group.path().to_string()).unwrap_or_default(),
        format!("k8s_{}_{}_{}_{}_{}", name.name, pod.name, pod.namespace, pod.uid, name.attempt),
        container.made().map(|made| made.image_name.clone()).unwrap_or_default(),
        pod.namespace.clone(),
        pod.name.clone(),
        name.name.clone(),
    ]
}
