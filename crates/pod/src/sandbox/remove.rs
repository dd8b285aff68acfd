//! RemovePodSandbox, the story: stop → containers removed → record and name gone.
//!
//! Logs stay: they belong to the kubelet. A failure leaves the sandbox listed as NOTREADY and the retry goes on.

use std::sync::Arc;

use ochre_sys::atomic::Durability;

use super::Sandbox;
use super::state::{Event, SandboxState};
use crate::disk::latest::SandboxPhase;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::events::EventKind;

/// Removes the sandbox and everything in it.
pub(super) async fn remove(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
    super::stop::stop(engine, sandbox).await?;
    let mut failures = Vec::new();
    for container in engine.containers_of(sandbox) {
        match container.remove().await {
            Err(error) if !matches!(*error, Error::NoSuchContainer { .. }) => {
                failures.push(error.to_string())
            }
            _ => {}
        }
    }
    if !failures.is_empty() {
        return Err(Error::TeardownIncomplete { id: sandbox.id.clone(), causes: failures });
    }
    if sandbox.state() == SandboxState::Stopped {
        sandbox.advance(Event::RemoveRequested)?;
    }
    super::stop::save(engine, sandbox, SandboxPhase::Removing, Durability::Volatile).await?;
    {
        let (engine, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
        blocking(sandbox.id.to_string(), move || engine.records.remove_sandbox(&sandbox.id)).await?;
    }
    engine.registry.forget_sandbox(sandbox);
    engine.publish_sandbox(EventKind::Deleted, sandbox);
    Ok(())
}
