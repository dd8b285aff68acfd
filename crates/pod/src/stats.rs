//! What containers and pods use.
//!
//! A container's cgroup files are opened when it starts and read by descriptor; no directory is walked while a caller
//! waits: the size of a writable layer is measured in the background and the last value is told with its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ochre_runtime::cgroup::OwnedGroup;
use ochre_runtime::stats::{CgroupStats, InterfaceStats, StatsReader, network_stats};
use ochre_types::Timestamp;
use parking_lot::Mutex;

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
            Ok(reader) => *self.open.lock() = Some(Open { reader, cpu: CpuWindow::default() }),
            Err(error) => tracing::warn!(container = %container.id, "no statistics: {error}"),
        }
    }

    /// Closes the files of a container that has ended.
    pub(crate) fn close(&self) {
        *self.open.lock() = None;
    }

    fn sample(&self) -> Option<(Timestamp, CgroupStats, Option<u64>)> {
        let mut open = self.open.lock();
        let open = open.as_mut()?;
        let cgroup = open.reader.read().ok()?;
        let timestamp = Timestamp::now();
        let nano_cores = open.cpu.take((timestamp.nanos(), cgroup.cpu.usage_ns));
        Some((timestamp, cgroup, nano_cores))
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
        let sandbox = Arc::clone(sandbox);
        let interfaces = crate::engine::blocking("statistics", move || {
            // A pod that is being stopped has no network to read any more.
            Ok(sandbox.network_namespace().and_then(|netns| network_stats(netns).ok()).unwrap_or_default())
        })
        .await?;
        Ok(SandboxStats { timestamp: Timestamp::now(), containers, interfaces })
    }
}

fn stats_of(engine: &Arc<Engine>, container: &Arc<Container>) -> Option<ContainerStats> {
    let (timestamp, cgroup, nano_cores) = container.probe.sample()?;
    measure_if_old(engine, container, timestamp);
    let layer = *container.probe.layer.lock();
    Some(ContainerStats { timestamp, cgroup, nano_cores, layer })
}

/// Starts a measurement of the writable layer when the last one is old and none runs.
pub(crate) fn measure_if_old(engine: &Arc<Engine>, container: &Arc<Container>, now: Timestamp) {
    let known = container.probe.layer.lock().map_or(i64::MIN, |layer| layer.timestamp.nanos());
    if now.nanos().saturating_sub(known) < LAYER_AGE || container.probe.measuring.swap(true, Ordering::AcqRel)
    {
        return;
    }
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    tokio::task::spawn_blocking(move || {
        if let Ok(usage) = engine.node.store.container_usage(&container.id) {
            *container.probe.layer.lock() =
                Some(LayerUsage { timestamp: Timestamp::now(), bytes: usage.bytes, inodes: usage.inodes });
        }
        container.probe.measuring.store(false, Ordering::Release);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
