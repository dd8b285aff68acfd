//! UpdatePodSandboxResources: the kubelet has changed the pod's cgroup itself and tells by how much, for record.

use std::sync::Arc;

use ochre_runtime::config::Resources;
use ochre_sys::atomic::Durability;
use serde::{Deserialize, Serialize};

use super::state::SandboxState;
use super::{Sandbox, record};
use crate::disk::latest::SandboxPhase;
use crate::engine::{Engine, Pods};
use crate::error::{Error, Shared};

/// What a pod may use, as the kubelet told it last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodResources {
    /// What the pod itself needs beside its containers.
    pub overhead: Option<Resources>,
    /// The sum of its containers.
    pub resources: Option<Resources>,
}

impl PodResources {
    /// These, where they say something, over those of before.
    fn over(self, before: &Self) -> Self {
        Self {
            overhead: self.overhead.or_else(|| before.overhead.clone()),
            resources: self.resources.or_else(|| before.resources.clone()),
        }
    }
}

impl Pods {
    /// Notes what a pod may use from now on. Nothing else changes: the kubelet owns the pod's cgroup.
    ///
    /// # Errors
    /// The record cannot be written; the old values stay then.
    pub async fn update_resources(&self, sandbox: &Sandbox, resources: PodResources) -> Result<(), Shared> {
        sandbox.ask_update(resources).await
    }
}

/// Performs it; the driver is the only caller.
pub(super) async fn update(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    change: PodResources,
) -> Result<(), Error> {
    let state = sandbox.state();
    let phase = match state {
        SandboxState::Creating => SandboxPhase::Creating,
        SandboxState::Ready(_) => SandboxPhase::Ready,
        SandboxState::Stopping(_) => SandboxPhase::Stopping,
        SandboxState::Stopped => SandboxPhase::Stopped,
        SandboxState::Removing => SandboxPhase::Removing,
    };
    let before = sandbox.resources();
    sandbox.set_resources(change.over(&before));
    let live = state.live().cloned().unwrap_or_default();
    let written = record::put(engine, sandbox, (phase, &live), Durability::Volatile).await;
    if written.is_err() {
        sandbox.set_resources(before);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_leaves_out_stays() {
        let limit = |memory_limit| Some(Resources { memory_limit, ..Resources::default() });
        let before = PodResources { overhead: limit(1), resources: limit(2) };
        let change = PodResources { overhead: None, resources: limit(3) };
        assert_eq!(change.over(&before), PodResources { overhead: limit(1), resources: limit(3) });
        assert_eq!(PodResources::default().over(&before), before);
    }
}
