//! A sandbox's record: made from the sandbox and how far it has come, written on the blocking pool.

use std::sync::Arc;

use ochre_sys::atomic::Durability;

use super::Sandbox;
use super::state::Live;
use crate::disk::latest::{self, SandboxPhase};
use crate::engine::{Engine, blocking};
use crate::error::Error;

/// Writes the record of a sandbox that has come to `phase` with `live`.
pub(super) async fn put(
    engine: &Arc<Engine>,
    sandbox: &Sandbox,
    (phase, live): (SandboxPhase, &Live),
    durability: Durability,
) -> Result<(), Error> {
    let record = of(engine, sandbox, phase, live);
    let engine = Arc::clone(engine);
    blocking(sandbox.id.to_string(), move || engine.records.put_sandbox(&record, durability)).await
}

/// The record itself.
pub(super) fn of(engine: &Engine, sandbox: &Sandbox, phase: SandboxPhase, live: &Live) -> latest::Sandbox {
    latest::Sandbox {
        id: sandbox.id.clone(),
        boot_id: engine.boot_id.clone(),
        created_at: sandbox.created_at.nanos(),
        phase,
        config: sandbox.config.clone(),
        handler: sandbox.handler.clone(),
        namespaces: sandbox.namespaces.clone(),
        ips: live.ips.clone(),
        pause_pid: live.pause_pid,
        log_directory: sandbox.log_directory.clone(),
        updated: Some(sandbox.resources()),
    }
}
