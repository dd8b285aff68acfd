//! Metrics of every running container and every ready pod.
//!
//! Everything is read by held descriptors, from `/proc` and from the pod's own network namespace; no runtime is called.

use std::sync::Arc;
use std::time::Duration;

use ochre_runtime::metrics::{
    ContainerReading, Disk, Group, Groups, Metric, Processes, of_container, of_network,
};
use rustix::fs::{major, minor, stat, statvfs};

use crate::container::{Container, started_at};
use crate::engine::{Engine, Pods, Reports, blocking};
use crate::error::Error;
use crate::sandbox::Sandbox;
use crate::stats::{Sample, interfaces_of, measure_if_old};

/// How long a caller waits for writable layers that were never measured. Those that take longer are told the next time.
const FIRST_MEASUREMENTS: Duration = Duration::from_secs(1);

/// The metrics of one pod.
#[derive(Debug)]
pub struct SandboxMetrics {
    /// The pod.
    pub sandbox: Arc<Sandbox>,
    /// Of the pod itself.
    pub metrics: Vec<Metric>,
    /// Of its running containers.
    pub containers: Vec<ContainerMetrics>,
}

/// The metrics of one container.
#[derive(Debug)]
pub struct ContainerMetrics {
    /// The container.
    pub container: Arc<Container>,
    /// When they were read, nanoseconds; 0 for just now (CRI).
    pub at: i64,
    /// Its samples.
    pub metrics: Vec<Metric>,
}

impl Pods {
    /// The groups of metrics that are told (`included_pod_metrics`).
    pub fn metric_groups(&self) -> Groups {
        self.engine.node.reports.metrics
    }

    /// The metrics of every ready pod.
    ///
    /// # Errors
    /// `Interrupted` when the daemon is stopping.
    pub async fn metrics(&self) -> Result<Vec<SandboxMetrics>, Error> {
        let mut sandboxes = self.sandboxes();
        sandboxes.retain(|sandbox| sandbox.is_ready());
        let pods: Vec<_> =
            sandboxes.into_iter().map(|sandbox| (self.containers_of(&sandbox), sandbox)).collect();
        if self.metric_groups().has(Group::Disk) {
            self.measure_first(pods.iter().flat_map(|(containers, _)| containers)).await;
        }
        let engine = Arc::clone(&self.engine);
        blocking("metrics", move || {
            let disk = disk(&engine);
            let pods = pods.into_iter();
            Ok(pods.map(|(containers, sandbox)| of_sandbox(&engine, sandbox, containers, disk)).collect())
        })
        .await
    }

    /// Waits a while for layers that were never measured.
    async fn measure_first(&self, containers: impl Iterator<Item = &Arc<Container>>) {
        let mut first = Vec::new();
        for container in containers.filter(|container| container.state().is_running()) {
            let known = container.probe.layer().is_some();
            first.extend(measure_if_old(&self.engine, container).filter(|_| !known));
        }
        let measured = async {
            for measurement in first {
                drop(measurement.await);
            }
        };
        // Late ones go on in the background.
        drop(tokio::time::timeout(FIRST_MEASUREMENTS, measured).await);
    }
}

fn of_sandbox(
    engine: &Engine,
    sandbox: Arc<Sandbox>,
    containers: Vec<Arc<Container>>,
    disk: Option<Disk>,
) -> SandboxMetrics {
    let groups = engine.node.reports.metrics;
    let metrics =
        if groups.has(Group::Network) { of_network(groups, &interfaces_of(&sandbox)) } else { Vec::new() };
    let containers = containers.into_iter().filter_map(|container| of_one(engine, container, disk)).collect();
    SandboxMetrics { sandbox, metrics, containers }
}

/// A container that does not run has none.
fn of_one(engine: &Engine, container: Arc<Container>, disk: Option<Disk>) -> Option<ContainerMetrics> {
    let Reports { metrics: groups, collection_period: period, .. } = engine.node.reports;
    let Sample { timestamp, cgroup, .. } = container.probe.sample(period)?;
    let details = container.probe.details(engine, &container).unwrap_or_default();
    let state = container.state();
    let first = state.process().map_or(0, |process| process.pid);
    let processes = groups.has(Group::Process).then(|| Processes::read(&details.processes, first));
    let disk = disk.map(|disk| Disk { used: container.probe.layer().map(|layer| layer.bytes), ..disk });
    let metrics = of_container(
        groups,
        &ContainerReading {
            at: timestamp,
            started_at: started_at(&state),
            cgroup: &cgroup,
            details: &details,
            processes: processes.as_ref(),
            disk: disk.as_ref(),
            limits: &container.resources(),
        },
    );
    let at = if period.is_zero() { 0 } else { timestamp.nanos() };
    Some(ContainerMetrics { container, at, metrics })
}

/// The file system with the writable layers.
fn disk(engine: &Engine) -> Option<Disk> {
    let root = engine.node.store.root();
    let (file_system, file) = (statvfs(root).ok()?, stat(root).ok()?);
    Some(Disk {
        device: (major(file.st_dev), minor(file.st_dev)),
        size: file_system.f_blocks.saturating_mul(file_system.f_frsize),
        inodes: file_system.f_files,
        inodes_free: file_system.f_ffree,
        used: None,
    })
}
