//! What containers and pods use.
//!
//! A container's cgroup files are opened when it starts and read by descriptor; no directory is walked while a caller
//! waits: the size of a writable layer is measured in the background and the last value is told with its time. With
//! `collection_period` a reading is told again until it is that old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ochre_runtime::cgroup::{OwnedGroup, parent_group};
use ochre_runtime::metrics::{Details, DetailsReader};
use ochre_runtime::stats::{
    CgroupStats, GroupPressure, InterfaceStats, StatsReader, group_pressure, network_stats,
};
use ochre_types::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::container::Container;
use crate::engine::{Engine, Pods};
use crate::error::Error;
use crate::sandbox::Sandbox;

/// A layer's size is measured again when it is asked for and older than this, in nanoseconds.
const LAYER_AGE: i64 = 10_000_000_000;
/// Shortest time that CPU use is averaged over, in nanoseconds. Callers do not know of each other: what one saw a moment
/// ago must not shrink the window of the next one to nothing.
const CPU_WINDOW: i64 = 500_000_000;

/// What one container uses.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// When the cgroup was read.
    pub timestamp: Timestamp,
    /// The cgroup's numbers.
    pub cgroup: CgroupStats,
    /// CPU use in billionths of a core, over at least half a second; `None` until that much time has passed.
    pub nano_cores: Option<u64>,
    /// The writable layer; `None` until it was measured once.
    pub layer: Option<LayerUsage>,
}

/// What a writable layer takes.
#[derive(Debug, Clone, Copy)]
pub struct LayerUsage {
    /// When it was measured.
    pub timestamp: Timestamp,
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What one pod uses.
#[derive(Debug)]
pub struct SandboxStats {
    /// When it was read.
    pub timestamp: Timestamp,
    /// Its running containers.
    pub containers: Vec<(Arc<Container>, ContainerStats)>,
    /// Its interfaces; none in the host's network.
    pub interfaces: Vec<InterfaceStats>,
    /// Pressure of its control group; nothing on cgroup v1, and where pods share a parent.
    pub pressure: GroupPressure,
}

/// Open cgroup files of a running container, and the last samples.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    open: Mutex<Option<Open>>,
    layer: Mutex<Option<LayerUsage>>,
    measuring: AtomicBool,
}

#[derive(Debug)]
struct Open {
    reader: StatsReader,
    cpu: CpuWindow,
    last: Option<Sample>,
    /// Opened when metrics are asked for the first time.
    details: Option<DetailsReader>,
}

/// One reading of a container's cgroup.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) timestamp: Timestamp,
    pub(crate) cgroup: CgroupStats,
    nano_cores: Option<u64>,
}

/// CPU use over a while: the sample that the while begins with, and the use over the while before.
#[derive(Debug, Default)]
struct CpuWindow {
    begin: Option<(i64, u64)>,
    nano_cores: Option<u64>,
}

impl CpuWindow {
    /// Takes a (time, CPU time) sample, both in nanoseconds; returns the use in billionths of a core.
    fn take(&mut self, now: (i64, u64)) -> Option<u64> {
        match self.begin {
            Some(begin) if (0..CPU_WINDOW).contains(&now.0.saturating_sub(begin.0)) => {}
            Some(begin) => {
                self.nano_cores = rate(begin, now).or(self.nano_cores);
                self.begin = Some(now);
            }
            None => self.begin = Some(now),
        }
        self.nano_cores
    }
}

impl Probe {
    /// Opens the cgroup of a container that has just been started. Without statistics the container runs all the same.
    pub(crate) fn open(&self, engine: &Engine, container: &Container) {
        let parent = &container.sandbox.config.cgroup_parent;
        let group = OwnedGroup::of_container(engine.node.driver, parent, &container.id);
        let reader = group.map_err(|e| e.to_string()).and_then(|group| {
            StatsReader::open(&engine.node.cgroups, group.path()).map_err(|e| e.to_string())
        });
        match reader {
            Ok(reader) => {
                let open = Open { reader, cpu: CpuWindow::default(), last: None, details: None };
                *self.open.lock() = Some(open);
            }
            Err(error) => tracing::warn!(container = %container.id, "no statistics: {error}"),
        }
    }

    /// Closes the files of a container that has ended.
    pub(crate) fn close(&self) {
        *self.open.lock() = None;
    }

    /// A reading, or the last one while it is younger than `period`.
    pub(crate) fn sample(&self, period: Duration) -> Option<Sample> {
        self.open.lock().as_mut()?.sample(period)
    }

    /// Details of the cgroup that only metrics tell.
    pub(crate) fn details(&self, engine: &Engine, container: &Container) -> Option<Details> {
        let mut open = self.open.lock();
        let open = open.as_mut()?;
        if open.details.is_none() {
            let parent = &container.sandbox.config.cgroup_parent;
            let group = OwnedGroup::of_container(engine.node.driver, parent, &container.id).ok()?;
            open.details = DetailsReader::open(&engine.node.cgroups, group.path()).ok();
        }
        Some(open.details.as_ref()?.read())
    }

    /// What the writable layer took when it was measured last.
    pub(crate) fn layer(&self) -> Option<LayerUsage> {
        *self.layer.lock()
    }
}

impl Open {
    fn sample(&mut self, period: Duration) -> Option<Sample> {
        if let Some(last) = &self.last
            && u64::try_from(Timestamp::now().nanos().saturating_sub(last.timestamp.nanos()))
                .is_ok_and(|age| u128::from(age) < period.as_nanos())
        {
            return Some(last.clone());
        }
        let cgroup = self.reader.read().ok()?;
        let timestamp = Timestamp::now();
        let nano_cores = self.cpu.take((timestamp.nanos(), cgroup.cpu.usage_ns));
        let sample = Sample { timestamp, cgroup, nano_cores };
        self.last = (!period.is_zero()).then(|| sample.clone());
        Some(sample)
    }
}

/// Billionths of a core between two (time, CPU time) samples in nanoseconds.
fn rate(before: (i64, u64), now: (i64, u64)) -> Option<u64> {
    let elapsed = u128::try_from(now.0.checked_sub(before.0)?).ok().filter(|elapsed| *elapsed > 0)?;
    let used = u128::from(now.1.checked_sub(before.1)?);
    u64::try_from(used * 1_000_000_000 / elapsed).ok()
}

impl Pods {
    /// What a running container uses; `None` for one that does not run.
    pub async fn container_stats(&self, container: &Arc<Container>) -> Option<ContainerStats> {
        self.read_stats(vec![Arc::clone(container)]).await.pop().map(|(_, stats)| stats)
    }

    /// What the running containers among these use.
    pub async fn read_stats(&self, containers: Vec<Arc<Container>>) -> Vec<(Arc<Container>, ContainerStats)> {
        let engine = Arc::clone(&self.engine);
        let read = crate::engine::blocking("statistics", move || {
            let mut rows = Vec::with_capacity(containers.len());
            for container in containers {
                if let Some(stats) = stats_of(&engine, &container) {
                    rows.push((container, stats));
                }
            }
            Ok(rows)
        });
        read.await.unwrap_or_default()
    }

    /// What a pod uses.
    ///
    /// # Errors
    /// `Interrupted` when the daemon is stopping.
    pub async fn sandbox_stats(&self, sandbox: &Arc<Sandbox>) -> Result<SandboxStats, Error> {
        let containers = self.engine.containers_of(sandbox);
        let containers = self.read_stats(containers).await;
        let (engine, sandbox) = (Arc::clone(&self.engine), Arc::clone(sandbox));
        let (interfaces, pressure) = crate::engine::blocking("statistics", move || {
            Ok((interfaces_of(&sandbox), pressure_of(&engine, &sandbox)))
        })
        .await?;
        Ok(SandboxStats { timestamp: Timestamp::now(), containers, interfaces, pressure })
    }
}

/// Counters of the pod's own interfaces, never the node's.
pub(crate) fn interfaces_of(sandbox: &Sandbox) -> Vec<InterfaceStats> {
    // A pod that is being stopped has no network to read any more.
    sandbox.network_namespace().and_then(|netns| network_stats(netns).ok()).unwrap_or_default()
}

/// The pressure of the pod's own group. Only a parent that is named after the pod is its own: the kubelet's are.
fn pressure_of(engine: &Engine, sandbox: &Sandbox) -> GroupPressure {
    let (parent, uid) = (&sandbox.config.cgroup_parent, &sandbox.config.metadata.uid);
    if !named_after(parent, uid) {
        return GroupPressure::default();
    }
    match parent_group(engine.node.driver, parent) {
        Ok(group) => group_pressure(&engine.node.cgroups, &group),
        Err(_) => GroupPressure::default(),
    }
}

/// `/kubepods/burstable/pod<uid>`, or `kubepods-burstable-pod<uid with underscores>.slice`.
fn named_after(parent: &str, uid: &str) -> bool {
    let name = parent.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".slice").unwrap_or(name);
    !uid.is_empty() && (name.ends_with(uid) || name.ends_with(&uid.replace('-', "_")))
}

fn stats_of(engine: &Arc<Engine>, container: &Arc<Container>) -> Option<ContainerStats> {
    let Sample { timestamp, cgroup, nano_cores } =
        container.probe.sample(engine.node.reports.collection_period)?;
    drop(measure_if_old(engine, container));
    Some(ContainerStats { timestamp, cgroup, nano_cores, layer: container.probe.layer() })
}

/// Starts a measurement of the writable layer when the last one is old and none runs.
pub(crate) fn measure_if_old(engine: &Arc<Engine>, container: &Arc<Container>) -> Option<JoinHandle<()>> {
    let known = container.probe.layer().map_or(i64::MIN, |layer| layer.timestamp.nanos());
    if Timestamp::now().nanos().saturating_sub(known) < LAYER_AGE
        || container.probe.measuring.swap(true, Ordering::AcqRel)
    {
        return None;
    }
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    Some(tokio::task::spawn_blocking(move || {
        if let Ok(usage) = engine.node.store.container_usage(&container.id) {
            *container.probe.layer.lock() =
                Some(LayerUsage { timestamp: Timestamp::now(), bytes: usage.bytes, inodes: usage.inodes });
        }
        container.probe.measuring.store(false, Ordering::Release);
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_parent_named_after_the_pod_is_its_own() {
        for (parent, own) in [
            ("/kubepods/burstable/poda-b-c", true),
            ("kubepods-burstable-poda_b_c.slice", true),
            ("/kubepods.slice/kubepods-poda_b_c.slice", true),
            ("/kubepods/burstable", false),
            ("", false),
            ("/poda-b-c/x", false),
        ] {
            assert_eq!(named_after(parent, "a-b-c"), own, "{parent}");
        }
        assert!(!named_after("/kubepods/pod", ""));
    }

    #[test]
    fn a_rate_needs_time_to_pass_and_a_counter_that_grows() {
        assert_eq!(rate((0, 0), (1_000_000_000, 500_000_000)), Some(500_000_000));
        assert_eq!(rate((5, 1), (5, 2)), None);
        assert_eq!(rate((5, 3), (6, 2)), None);
        assert_eq!(rate((9, 1), (6, 2)), None);
    }

    #[test]
    fn callers_shortly_after_each_other_see_the_use_over_the_whole_window() {
        let mut window = CpuWindow::default();
        assert_eq!(window.take((0, 0)), None);
        assert_eq!(window.take((CPU_WINDOW / 2, 7)), None);
        assert_eq!(window.take((1_000_000_000, 500_000_000)), Some(500_000_000));
        // A moment later: the number stays instead of falling to what the moment held.
        assert_eq!(window.take((1_000_001_000, 500_000_000)), Some(500_000_000));
        assert_eq!(window.take((2_000_000_000, 500_000_000)), Some(0));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_a_new_window() {
        let mut window = CpuWindow::default();
        window.take((9_000_000_000, 1));
        assert_eq!(window.take((1_000_000_000, 2)), None);
        assert_eq!(window.take((2_000_000_000, 1_000_000_002)), Some(1_000_000_000));
    }
}
