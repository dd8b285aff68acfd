//! StopPodSandbox, the story: mark → containers killed, all at once → network, pins, shm → monitor → stopped.
//!
//! A monitor is looked for at its socket where none is connected: one that did not end when it was told to is told again
//! by the retry, and so is one that outlived the daemon.
//!
//! `undo` is the same teardown for a creation that failed or was cut short by a crash: every step tolerates that its
//! effect was never made, all steps run, and all failures come back.

use std::sync::Arc;
use std::time::Duration;

use ochre_monitor_api::client::Monitor;
use ochre_network::DetachRequest;
use ochre_runtime::cgroup::MonitorPlacement;
use ochre_runtime::config::NamespaceMode;
use ochre_runtime::files;
use ochre_sys::atomic::Durability;

use super::Sandbox;
use super::state::{Event, SandboxState};
use crate::disk::latest::SandboxPhase;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::events::EventKind;

/// How long the monitor gets to end the pause process and itself.
const MONITOR_PATIENCE: Duration = Duration::from_secs(10);

/// Stops the sandbox; fine when it is stopped.
pub(crate) async fn stop(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
    if matches!(sandbox.state(), SandboxState::Stopped | SandboxState::Removing) {
        return Ok(());
    }
    sandbox.advance(Event::StopRequested)?;
    save(engine, sandbox, SandboxPhase::Stopping, Durability::Volatile).await?;
    let mut failures = kill_containers(engine, sandbox).await;
    if failures.is_empty() {
        failures = undo(engine, sandbox).await;
    }
    if !failures.is_empty() {
        return Err(incomplete(sandbox, &failures));
    }
    save(engine, sandbox, SandboxPhase::Stopped, Durability::Volatile).await?;
    sandbox.advance(Event::Stopped)?;
    engine.publish_sandbox(EventKind::Stopped, sandbox);
    Ok(())
}

/// Kills every container; CRI wants them forcibly terminated, the kubelet has given them their grace before.
async fn kill_containers(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Vec<Error> {
    let stops: Vec<_> = engine
        .containers_of(sandbox)
        .into_iter()
        .map(|container| tokio::spawn(async move { container.stop(Duration::ZERO).await }))
        .collect();
    let mut failures = Vec::new();
    for stop in stops {
        match stop.await {
            Ok(Ok(())) => {}
            // Its creation has failed meanwhile, or its removal has won.
            Ok(Err(error)) if matches!(*error, Error::NoSuchContainer { .. }) => {}
            Ok(Err(error)) => failures
                .push(Error::TeardownIncomplete { id: sandbox.id.clone(), causes: vec![error.to_string()] }),
            Err(_) => failures.push(Error::Interrupted { object: format!("pod {}", sandbox.id) }),
        }
    }
    failures
}

/// Undoes every effect of the sandbox itself, newest first. Returns what failed.
pub(crate) async fn undo(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Vec<Error> {
    let mut failures = Vec::new();
    failures.extend(end_monitor(engine, sandbox).await.err());
    let surroundings = {
        let (engine, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
        blocking(sandbox.id.to_string(), move || Ok(undo_surroundings(&engine, &sandbox))).await
    };
    match surroundings {
        Ok(more) => failures.extend(more),
        Err(error) => failures.push(error),
    }
    failures
}

/// Ends the pause process and the monitor.
async fn end_monitor(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
    // A replacement that is under way is waited for, so that it does not outlive the pod.
    let _turn = sandbox.replacing.lock().await;
    if sandbox.monitor().is_none() {
        crate::monitor::reconnect(engine, sandbox).await;
    }
    let monitor = sandbox.monitor();
    let ended = tokio::time::timeout(MONITOR_PATIENCE, async {
        end_pause(engine, sandbox, monitor.as_ref()).await?;
        match monitor {
            Some(monitor) => Ok(monitor.shutdown().await?),
            None => Ok(()),
        }
    })
    .await;
    sandbox.monitor.lock().take();
    ended.unwrap_or_else(|_| Err(Error::Interrupted { object: format!("monitor of pod {}", sandbox.id) }))
}

async fn end_pause(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    monitor: Option<&Monitor>,
) -> Result<(), Error> {
    if sandbox.config.namespaces.pid != NamespaceMode::Pod {
        return Ok(());
    }
    if let Some(monitor) = monitor
        && monitor.delete(&super::run::pause_id(&sandbox.id)).await.is_ok()
    {
        return Ok(());
    }
    // The monitor is dead, or the creation had not come that far.
    let (engine, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
    blocking(sandbox.id.to_string(), move || super::pause::remove(&engine, &sandbox)).await
}

/// The monitor's place, network, pins and shm, in this order: CNI DEL wants the namespace to be there still.
fn undo_surroundings(engine: &Engine, sandbox: &Sandbox) -> Vec<Error> {
    let mut failures = Vec::new();
    let placement = MonitorPlacement::plan(engine.node.driver, &sandbox.id);
    failures.extend(placement.undo(&engine.node.cgroups).err().map(Error::from));
    if let Some(netns) = sandbox.network_namespace() {
        // The network crate has its own record of what it did.
        let request =
            DetachRequest { sandbox: sandbox.id.clone(), netns: Some(netns.to_owned()), record: None };
        if let Err(source) = engine.node.network.detach(&request) {
            failures.push(Error::Network { id: sandbox.id.clone(), source });
        }
    }
    failures.extend(sandbox.namespaces.remove().err().map(Error::from));
    let dir = engine.sandbox_dir(sandbox);
    failures.extend(files::unmount_shm(&dir).err().map(Error::from));
    if failures.is_empty() {
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                failures.push(Error::io("removing run directory", dir)(error));
            }
            _ => {}
        }
    }
    failures
}

pub(super) fn incomplete(sandbox: &Sandbox, failures: &[Error]) -> Error {
    Error::TeardownIncomplete {
        id: sandbox.id.clone(),
        causes: failures.iter().map(ToString::to_string).collect(),
    }
}

/// Writes the sandbox's record with another phase.
pub(super) async fn save(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    phase: SandboxPhase,
    durability: Durability,
) -> Result<(), Error> {
    let live = sandbox.state().live().cloned().unwrap_or_default();
    super::record::put(engine, sandbox, (phase, &live), durability).await
}
