//! UpdateContainerResources: checked, applied by the runtime, then in force.

use std::sync::Arc;

use ochre_runtime::config::Resources;
use ochre_runtime::spec;

use super::Container;
use super::state::ContainerState;
use crate::engine::Engine;
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
    let merged = merge(&container.resources(), change);
    let json = spec::resources_json(
        &merged,
        engine.node.defaults.cgroup,
        crate::bundle::features(handler).min_memory,
    )?;
    container.monitor()?.update(&container.id, json).await?;
    *container.resources.lock() = merged;
    Ok(())
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
}
