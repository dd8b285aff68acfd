//! What follows when a container's process is gone: state, record, runtime state, root file system.
//!
//! The state is published first, so that nobody waits for the cleaning. A crash in the middle is made good at the next
//! start: the monitor's exit record is still there, and every cleaning step tolerates that it was done before.

use std::sync::Arc;

use ochre_sys::atomic::Durability;
use ochre_types::Exit;
use tokio::sync::watch;

use super::Container;
use super::state::{Event, ExitReason};
use crate::disk::latest::ContainerPhase;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::events::EventKind;

/// Waits for the report of the end.
pub(super) async fn reported(
    exit: &mut watch::Receiver<Option<(Exit, ExitReason)>>,
) -> Option<(Exit, ExitReason)> {
    exit.wait_for(Option::is_some).await.ok()?.clone()
}

/// Publishes the exit and cleans up behind it.
pub(crate) async fn settle(engine: &Arc<Engine>, container: &Arc<Container>, exit: Exit, reason: ExitReason) {
    let id = &container.id;
    let phase = ContainerPhase::Exited {
        started_at: super::start::started_at(&container.state()).nanos(),
        exit: exit.into(),
        reason: reason.clone().into(),
    };
    if let Err(error) = container.advance(Event::Exited(exit, reason)) {
        tracing::warn!(container = %id, "{error}");
        return;
    }
    engine.publish_container(EventKind::Stopped, container);
    container.probe.close();
    drop(container.take_spare());
    tracing::info!(container = %id, code = exit.code, oom = exit.oom_killed, "exited");
    let cleaned = clean(engine, container, phase).await;
    if let Err(error) = cleaned {
        // Removal does all of it again and reports.
        tracing::warn!(container = %id, "cleaning up after the exit: {error}");
    }
}

async fn clean(engine: &Arc<Engine>, container: &Arc<Container>, phase: ContainerPhase) -> Result<(), Error> {
    super::create::save(engine, container, phase, Durability::Volatile).await?;
    if let Some(monitor) = container.sandbox.monitor() {
        monitor.delete(&container.id).await?;
    }
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    blocking(container.id.to_string(), move || Ok(engine.node.store.unmount_container(&container.id)?)).await
}
