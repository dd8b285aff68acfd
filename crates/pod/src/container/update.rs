//! UpdateContainerResources: checked, applied by the runtime, then in force.
//!
//! A runtime writes one cgroup file after the other and stops at the first that the kernel refuses; what it has written
//! by then is taken back here, so that a failed update changes nothing. A memory limit below what is in use is not tried
//! at all: cgroup v1 refuses it after a while of reclaiming, v2 kills until it fits.

use std::sync::Arc;
use std::time::Duration;

use ochre_runtime::config::Resources;
use ochre_runtime::spec;
use ochre_sys::atomic::Durability;

use super::Container;
use super::state::ContainerState;
use crate::disk::latest::ContainerPhase;
use crate::engine::{Engine, blocking};
use crate::error::Error;

pub(super) async fn update(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    change: Resources,
) -> Result<(), Error> {
    let state = container.state();
    match state {
        ContainerState::Created(_) | ContainerState::Running { .. } => {}
        ContainerState::Creating
        | ContainerState::Stopping { .. }
        | ContainerState::Exited { .. }
        | ContainerState::Removing { .. } => {
            return Err(Error::ContainerNotRunning { id: container.id.clone(), state: state.name() });
        }
    }
    let handler = engine.node.handlers.get(&container.sandbox.handler)?;
    let before = container.resources();
    let merged = merge(&before, change);
    let minimum = crate::bundle::features(handler).min_memory;
    let json = spec::resources_json(&merged, engine.node.defaults.cgroup, minimum)?;
    check_memory(container, before.memory_limit, merged.memory_limit).await?;
    let monitor = container.monitor()?;
    if let Err(error) = monitor.update(&container.id, json).await {
        let undo = spec::resources_json(&undo(&before, &merged), engine.node.defaults.cgroup, minimum);
        if let Ok(json) = undo.map(|json| without_memory_limit(json, &before, &merged))
            && let Err(second) = monitor.update(&container.id, json).await
        {
            tracing::warn!(container = %container.id, "a failed update could not be taken back: {second}");
        }
        return Err(error.into());
    }
    *container.resources.lock() = merged;
    let pid = state.process().map_or(0, |process| process.pid);
    let phase = ContainerPhase::Live { pid, started_at: super::started_at(&state).nanos() };
    super::create::save(engine, container, phase, Durability::Volatile).await
}

/// Refuses to lower a memory limit below what is in use and cannot simply be dropped.
async fn check_memory(container: &Arc<Container>, before: i64, limit: i64) -> Result<(), Error> {
    let Some(wanted) = u64::try_from(limit).ok().filter(|_| limit > 0 && limit != before) else {
        return Ok(());
    };
    let reading = Arc::clone(container);
    let sample = blocking(container.id.to_string(), move || Ok(reading.probe.sample(Duration::ZERO))).await?;
    match sample.map(|sample| sample.cgroup.memory.working_set) {
        Some(used) if used > wanted => Err(Error::MemoryInUse { id: container.id.clone(), limit, used }),
        _ => Ok(()),
    }
}

/// The limits that take a change back: those before it, and the kernel's defaults where there were none.
fn undo(before: &Resources, tried: &Resources) -> Resources {
    let number =
        |before: i64, tried: i64, neutral: i64| if before == 0 && tried != 0 { neutral } else { before };
    Resources {
        cpu_period: number(before.cpu_period, tried.cpu_period, 100_000),
        cpu_quota: number(before.cpu_quota, tried.cpu_quota, -1),
        cpu_shares: number(before.cpu_shares, tried.cpu_shares, 1024),
        ..before.clone()
    }
}

/// Lifts the memory limit in `json` where there was none before; a request cannot say that.
fn without_memory_limit(json: Vec<u8>, before: &Resources, tried: &Resources) -> Vec<u8> {
    if before.memory_limit != 0 || tried.memory_limit == 0 {
        return json;
    }
    let Ok(mut resources) = serde_json::from_slice::<serde_json::Value>(&json) else { return json };
    resources["memory"] = serde_json::json!({ "limit": -1, "swap": -1 });
    resources.to_string().into_bytes()
}

/// A field that the request leaves at its zero value keeps what is in force.
fn merge(old: &Resources, new: Resources) -> Resources {
    let number = |old: i64, new: i64| if new == 0 { old } else { new };
    let text = |old: &str, new: String| if new.is_empty() { old.to_owned() } else { new };
    let mut unified = old.unified.clone();
    unified.extend(new.unified);
    Resources {
        cpu_period: number(old.cpu_period, new.cpu_period),
        cpu_quota: number(old.cpu_quota, new.cpu_quota),
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        memory_limit: number(old.memory_limit, new.memory_limit),
        oom_score_adj: number(old.oom_score_adj, new.oom_score_adj),
        cpuset_cpus: text(&old.cpuset_cpus, new.cpuset_cpus),
        cpuset_mems: text(&old.cpuset_mems, new.cpuset_mems),
        hugepages: if new.hugepages.is_empty() { old.hugepages.clone() } else { new.hugepages },
        unified,
        memory_swap_limit: number(old.memory_swap_limit, new.memory_swap_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_left_at_zero_keep_what_is_in_force() {
        let old = Resources {
            cpu_shares: 512,
            memory_limit: 1 << 20,
            cpuset_cpus: "0".into(),
            ..Default::default()
        };
        let merged = merge(&old, Resources { memory_limit: 2 << 20, ..Default::default() });
        assert_eq!(merged, Resources { memory_limit: 2 << 20, ..old });
    }

    #[test]
    fn a_change_is_taken_back_to_what_was_or_to_the_kernels_defaults() {
        let before = Resources { cpu_shares: 512, cpuset_cpus: "0".into(), ..Default::default() };
        let change =
            Resources { cpu_shares: 900, cpu_quota: 5000, memory_limit: 64 << 20, ..Default::default() };
        let tried = merge(&before, change);
        assert_eq!(undo(&before, &tried), Resources { cpu_quota: -1, ..before.clone() });
        let lifted = without_memory_limit(b"{}".to_vec(), &before, &tried);
        assert_eq!(lifted, br#"{"memory":{"limit":-1,"swap":-1}}"#);
        let limited = Resources { memory_limit: 1 << 20, ..before };
        assert_eq!(without_memory_limit(b"{}".to_vec(), &limited, &tried), b"{}");
    }
}
