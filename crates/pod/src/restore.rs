//! What happens at start: every record becomes a pod again, or what it names is undone.
//!
//! ```text
//!   record              same boot                                      after a reboot
//!   Creating            undo, forget                                   stop: it may have been ready
//!   Undoing             undo again, forget                             undo again, forget
//!   Ready               connect to the monitor, or start another one   containers Lost, stop
//!                       that adopts what lives
//!   Stopping            go on stopping                                 containers Lost, stop
//!   Stopped             as it was                                      as it was
//!   Removing            go on removing                                 go on removing
//! ```
//!
//! What is undone claims no name (`sandbox/leftover.rs`), so it shuts no pod out. Of the others those claim theirs first
//! that were known to be pods; a `Creating` of an earlier boot may be an attempt that failed before the pod was made.
//!
//! Every step tolerates being done before, so a crash during the restore is made good by the next one. Nothing is ever
//! wiped: only what a record names is touched, and store containers that carry the engine's mark without a record.

use std::collections::HashSet;
use std::sync::Arc;

use ochre_monitor_api::Snapshot;
use ochre_types::{ContainerId, SandboxId, Timestamp};
use tokio::task::JoinSet;

use crate::container::state::{ContainerState, ExitReason, Process};
use crate::container::{self, Container, Made};
use crate::disk::Loaded;
use crate::disk::latest::{self, ContainerPhase, SandboxPhase};
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::registry::Claim;
use crate::sandbox::{self, Live, Sandbox, SandboxState};

/// Brings back every pod; returns when all are accounted for.
pub(crate) async fn run(engine: &Arc<Engine>) -> Result<(), Error> {
    let (loaded, bad) = {
        let engine = Arc::clone(engine);
        blocking("records", move || engine.records.load()).await?
    };
    for error in bad {
        tracing::error!("{error}; it was set aside");
    }
    let known: HashSet<ContainerId> =
        loaded.iter().flat_map(|one| one.containers.iter().map(|c| c.id.clone())).collect();
    let mut restores = JoinSet::new();
    for one in in_order(loaded) {
        let (sandbox, commands) = seed(engine, &one.sandbox);
        if sandbox.state() == SandboxState::Creating {
            restores.spawn(forget_half_made(Arc::clone(engine), sandbox));
        } else if claim(engine, &sandbox) {
            restores.spawn(pod(Arc::clone(engine), one, sandbox, commands));
        }
    }
    while let Some(ended) = restores.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!("restoring a pod: {error}");
        }
    }
    {
        let engine = Arc::clone(engine);
        blocking("checkpoints", move || {
            crate::checkpoint::recover(&engine);
            Ok(())
        })
        .await?;
    }
    collect_garbage(engine, known).await;
    Ok(())
}

/// Removes what no record names: store containers of this engine, addresses of pods that are gone.
async fn collect_garbage(engine: &Arc<Engine>, known: HashSet<ContainerId>) {
    let live: Vec<SandboxId> = engine.registry.sandboxes().iter().map(|sandbox| sandbox.id.clone()).collect();
    let engine = Arc::clone(engine);
    let swept = blocking("garbage", move || {
        for stray in engine.node.store.containers()?.iter() {
            if container::create::is_ours(&stray.metadata) && !known.contains(&stray.id) {
                tracing::info!(container = %stray.id, "removing a store container that no record names");
                engine.node.store.delete_container(&stray.id)?;
            }
        }
        container::volumes::sweep(&engine, &known);
        if let Err(error) = engine.node.network.collect_garbage(&live) {
            tracing::warn!("collecting addresses of pods that are gone: {error}");
        }
        Ok(())
    });
    if let Err(error) = swept.await {
        tracing::warn!("collecting garbage: {error}");
    }
}

/// Pods that may never have been last.
fn in_order(mut loaded: Vec<Loaded>) -> Vec<Loaded> {
    loaded.sort_by_key(|one| one.sandbox.phase == SandboxPhase::Creating);
    loaded
}

type Commands = tokio::sync::mpsc::Receiver<sandbox::driver::Command>;

/// The sandbox of a record; one that is to be undone is `Creating`.
fn seed(engine: &Engine, record: &latest::Sandbox) -> (Arc<Sandbox>, Commands) {
    let same_boot = record.boot_id == engine.boot_id;
    let live = Live { ips: record.ips.clone(), pause_pid: record.pause_pid };
    let state = match record.phase {
        SandboxPhase::Undoing => SandboxState::Creating,
        SandboxPhase::Creating if same_boot => SandboxState::Creating,
        SandboxPhase::Ready if same_boot => SandboxState::Ready(live),
        // After a power loss the synced record is an early one: whether the pod was ready by then is unknown, and a
        // stopped pod is a true answer in both cases.
        SandboxPhase::Creating | SandboxPhase::Ready | SandboxPhase::Stopping => SandboxState::Stopping(live),
        SandboxPhase::Stopped | SandboxPhase::Removing => SandboxState::Stopped,
    };
    let (sandbox, commands) = Sandbox::new(sandbox::Seed {
        id: record.id.clone(),
        config: record.config.clone(),
        created_at: Timestamp::from_nanos(record.created_at),
        handler: record.handler.clone(),
        log_directory: record.log_directory.clone(),
        namespaces: record.namespaces.clone(),
        state,
    });
    if let Some(resources) = record.updated.clone() {
        sandbox.set_resources(resources);
    }
    (sandbox, commands)
}

/// Gives a pod its name back; `false` when another one has it.
fn claim(engine: &Engine, sandbox: &Arc<Sandbox>) -> bool {
    match engine.registry.claim_sandbox(&sandbox.config.metadata, |_| Arc::clone(sandbox)) {
        Claim::New(_) => true,
        Claim::Taken(owner) => {
            tracing::error!(pod = %sandbox.id, "its name is taken by {}; it stays on disk only", owner.id);
            false
        }
    }
}

async fn pod(
    engine: Arc<Engine>,
    loaded: Loaded,
    sandbox: Arc<Sandbox>,
    commands: Commands,
) -> Result<(), Error> {
    let Loaded { sandbox: record, containers } = loaded;
    let same_boot = record.boot_id == engine.boot_id;
    let state = sandbox.state();
    let up = same_boot && sandbox_is_up(record.phase);
    let snapshot = if up { crate::monitor::reconnect(&engine, &sandbox).await } else { None };
    let restored: Vec<_> = containers
        .into_iter()
        .map(|container| restore_container(&engine, &sandbox, container, snapshot.as_ref(), same_boot))
        .collect();
    if up && snapshot.is_none() && matches!(state, SandboxState::Ready(_) | SandboxState::Stopping(_)) {
        let monitor = crate::monitor::launch(&engine, &sandbox).await?;
        crate::monitor::adopt_all(&engine, &sandbox, &monitor).await;
    }
    for (container, phase, commands) in restored {
        tokio::spawn(finish_container(Arc::clone(&engine), container, phase, commands));
    }
    tokio::spawn(sandbox::driver::drive(Arc::clone(&engine), Arc::clone(&sandbox), commands));
    match (record.phase, state) {
        (SandboxPhase::Removing, _) => finish(&sandbox, "removal", sandbox.remove_again()),
        (_, SandboxState::Stopping(_)) => finish(&sandbox, "stop", sandbox.stop_again()),
        _ => {}
    }
    Ok(())
}

fn sandbox_is_up(phase: SandboxPhase) -> bool {
    match phase {
        SandboxPhase::Creating | SandboxPhase::Ready | SandboxPhase::Stopping => true,
        SandboxPhase::Stopped | SandboxPhase::Removing | SandboxPhase::Undoing => false,
    }
}

/// Goes on with an operation that a crash interrupted; nobody waits for it, so a failure is logged here.
fn finish(
    sandbox: &Arc<Sandbox>,
    what: &'static str,
    operation: impl Future<Output = Result<(), crate::error::Shared>> + Send + 'static,
) {
    let id = sandbox.id.clone();
    tokio::spawn(async move {
        match operation.await {
            Ok(()) => tracing::info!(pod = %id, "finished the interrupted {what}"),
            Err(error) => tracing::warn!(pod = %id, "the interrupted {what} cannot be finished: {error}"),
        }
    });
}

/// A creation that a crash cut short: its caller got no answer, so all of it goes.
async fn forget_half_made(engine: Arc<Engine>, sandbox: Arc<Sandbox>) -> Result<(), Error> {
    sandbox::leftover::undo(&engine, &sandbox).await;
    Ok(())
}

type Restored = (Arc<Container>, ContainerPhase, tokio::sync::mpsc::Receiver<container::driver::Command>);

fn restore_container(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    record: latest::Container,
    snapshot: Option<&Snapshot>,
    same_boot: bool,
) -> Restored {
    let known = snapshot.and_then(|s| s.containers.iter().find(|known| known.id == record.id));
    let phase = phase_of(&record.phase, known, same_boot);
    let (state, ended) = state_of(&phase, known);
    let image = record.image;
    let (container, commands) = Container::new(container::Seed {
        id: record.id,
        sandbox: Arc::clone(sandbox),
        config: record.config,
        created_at: Timestamp::from_nanos(record.created_at),
        state,
        made: Some(Made {
            image_id: image.id,
            image_name: image.name,
            image_reference: image.reference,
            log_path: record.log_path,
            stop_signal: record.stop_signal,
            uid: record.user.uid,
            gid: record.user.gid,
            groups: record.user.groups,
            cgroups_path: record.cgroups_path,
            volumes: record.volumes.into_iter().map(|volume| (volume.place, volume.image)).collect(),
        }),
    });
    container::volumes::restore(engine, &container);
    let claim =
        engine.registry.claim_container(&sandbox.id, &container.config.metadata, || Arc::clone(&container));
    if let Claim::Taken(owner) = claim {
        tracing::error!(container = %container.id, "its name is taken by {}; it is not listed", owner.id);
    }
    if let Some((exit, reason)) = ended {
        container.report_exit(exit, reason);
    } else if container.state().process().is_some() {
        if same_boot && (snapshot.is_none() || known.is_some()) {
            container.probe.open(engine, &container);
        } else {
            container.report_exit(crate::monitor::lost(), ExitReason::Lost);
        }
    }
    (container, phase, commands)
}

type Ended = Option<(ochre_types::Exit, ExitReason)>;

/// A record without a process was written beside the runtime's work. In the same boot the monitor knows how that went;
/// a container it does not know was not finished.
fn phase_of(
    phase: &ContainerPhase,
    known: Option<&ochre_monitor_api::ContainerSnapshot>,
    same_boot: bool,
) -> ContainerPhase {
    use ochre_monitor_api::ContainerState as Seen;
    match (phase, known.map(|known| known.state)) {
        (
            ContainerPhase::Live { pid: 0, started_at },
            Some(Seen::Created { pid } | Seen::Running { pid } | Seen::Exited { pid, .. }),
        ) => ContainerPhase::Live { pid, started_at: *started_at },
        (ContainerPhase::Live { pid: 0, .. }, _) if same_boot => ContainerPhase::Creating,
        (phase, _) => phase.clone(),
    }
}

/// The state to start from, and an exit that the monitor has seen meanwhile.
fn state_of(
    phase: &ContainerPhase,
    known: Option<&ochre_monitor_api::ContainerSnapshot>,
) -> (ContainerState, Ended) {
    use ochre_monitor_api::ContainerState as Seen;
    match phase {
        // Undone by `finish_container`; nobody sees it before.
        ContainerPhase::Creating => (ContainerState::Creating, None),
        ContainerPhase::Live { pid, started_at } => {
            let started_at = known
                .map(|known| known.started_at)
                .filter(|at| *at != Timestamp::ZERO)
                .unwrap_or(Timestamp::from_nanos(*started_at));
            let process = Process { pid: *pid };
            let state = if started_at == Timestamp::ZERO {
                ContainerState::Created(process)
            } else {
                ContainerState::Running { process, started_at }
            };
            let ended = known.and_then(|known| match known.state {
                Seen::Exited { exit, .. } => Some((exit, ExitReason::Process)),
                Seen::Creating | Seen::Created { .. } | Seen::Running { .. } => None,
            });
            (state, ended)
        }
        ContainerPhase::Exited { started_at, exit, reason } => {
            let started_at = Timestamp::from_nanos(*started_at);
            (ContainerState::Exited { started_at, exit: (*exit).into(), reason: reason.clone().into() }, None)
        }
        ContainerPhase::Removing => {
            let exit = crate::monitor::lost();
            (ContainerState::Exited { started_at: Timestamp::ZERO, exit, reason: ExitReason::Lost }, None)
        }
    }
}

/// Undoes, goes on removing, or simply serves.
async fn finish_container(
    engine: Arc<Engine>,
    container: Arc<Container>,
    phase: ContainerPhase,
    commands: tokio::sync::mpsc::Receiver<container::driver::Command>,
) {
    match phase {
        ContainerPhase::Creating => {
            if let Err(error) = container::undo(&engine, &container).await {
                tracing::warn!(container = %container.id, "undoing an interrupted creation: {error}");
            }
            engine.registry.forget_container(&container);
        }
        ContainerPhase::Removing => {
            let again = Arc::clone(&container);
            tokio::spawn(async move {
                if let Err(error) = again.remove().await {
                    tracing::warn!(container = %again.id, "the interrupted removal cannot be finished: {error}");
                }
            });
            container::driver::drive(engine, container, commands).await;
        }
        ContainerPhase::Live { .. } | ContainerPhase::Exited { .. } => {
            container::driver::drive(engine, container, commands).await;
        }
    }
}

impl Sandbox {
    fn stop_again(self: &Arc<Self>) -> impl Future<Output = Result<(), crate::error::Shared>> + Send + use<> {
        let sandbox = Arc::clone(self);
        async move { sandbox.ask_stop().await }
    }

    fn remove_again(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<(), crate::error::Shared>> + Send + use<> {
        let sandbox = Arc::clone(self);
        async move { sandbox.ask_remove().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ochre_monitor_api::{ContainerSnapshot, ContainerState as Seen};

    fn seen(state: Seen) -> ContainerSnapshot {
        ContainerSnapshot { id: ContainerId::generate(), state, started_at: Timestamp::ZERO }
    }

    #[test]
    fn pods_that_may_never_have_been_claim_their_name_last() {
        let of = |phase| {
            let sandbox = latest::Sandbox { phase, ..crate::disk::tests::sandbox() };
            Loaded { sandbox, containers: Vec::new() }
        };
        let phases = [SandboxPhase::Creating, SandboxPhase::Stopped, SandboxPhase::Ready];
        let ordered: Vec<_> =
            in_order(phases.map(of).into()).into_iter().map(|one| one.sandbox.phase).collect();
        assert_eq!(ordered, [SandboxPhase::Stopped, SandboxPhase::Ready, SandboxPhase::Creating]);
    }

    #[test]
    fn a_record_written_beside_the_runtime_is_completed_by_the_monitor_or_undone() {
        let unborn = ContainerPhase::Live { pid: 0, started_at: 0 };
        let born = ContainerPhase::Live { pid: 7, started_at: 0 };
        let created = seen(Seen::Created { pid: 9 });
        let making = seen(Seen::Creating);
        let table = [
            (&unborn, Some(&created), true, ContainerPhase::Live { pid: 9, started_at: 0 }),
            (&unborn, Some(&making), true, ContainerPhase::Creating),
            (&unborn, None, true, ContainerPhase::Creating),
            // After a power loss it may have been acknowledged: it is listed as lost.
            (&unborn, None, false, unborn.clone()),
            (&born, None, true, born.clone()),
            (&born, Some(&created), true, born.clone()),
        ];
        for (phase, known, same_boot, expected) in table {
            assert_eq!(phase_of(phase, known, same_boot), expected, "{phase:?} {known:?} {same_boot}");
        }
    }
}
