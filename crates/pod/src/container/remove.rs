//! RemoveContainer, the story: intent → runtime state → cgroup → root file system and layer → bundle → record and name
//! gone.
//!
//! The driver has stopped the process before. Every step tolerates that it was done already.

use std::sync::Arc;
use std::time::Duration;

use ochre_monitor_api::client::Monitor;
use ochre_monitor_api::{Adopt, Descriptors};
use ochre_runtime::cgroup::OwnedGroup;
use ochre_sys::atomic::Durability;
use ochre_types::Timestamp;

use super::Container;
use super::state::{ContainerState, Event};
use crate::disk::latest::ContainerPhase;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::events::EventKind;

/// How long the container's group may take to become empty and to go.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn remove(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), Error> {
    if !matches!(container.state(), ContainerState::Removing { .. }) {
        container.advance(Event::RemoveRequested)?;
    }
    super::create::save(engine, container, ContainerPhase::Removing, Durability::Volatile).await?;
    undo(engine, container).await?;
    engine.registry.forget_container(container);
    engine.publish_container(EventKind::Deleted, container);
    Ok(())
}

/// Removes every effect and the record; also for a creation that failed or was cut short.
pub(crate) async fn undo(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), Error> {
    if let Some(monitor) = container.sandbox.monitor() {
        match monitor.delete(&container.id).await {
            Ok(()) | Err(ochre_monitor_api::client::Error::Disconnected { .. }) => {}
            Err(error) if error.kind() == ochre_types::ErrorKind::NotFound => {
                delete_unknown(engine, container, &monitor).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    blocking(container.id.to_string(), move || {
        remove_group(&engine, &container)?;
        super::volumes::undo(&engine, &container)?;
        engine.node.store.delete_container(&container.id)?;
        remove_dir(engine.bundle(&container.sandbox, &container.id))?;
        remove_file(
            engine
                .sandbox_dir(&container.sandbox)
                .join(ochre_monitor_api::exit_record::file_name(&container.id)),
        )?;
        remove_file(engine.node.paths.exits_dir.join(container.id.as_str()))?;
        engine.records.remove_container(&container.sandbox.id, &container.id)
    })
    .await
}

/// A creation that a dead monitor took along may have left the runtime's state and cgroup: another monitor takes the
/// container over as one without a process, which makes the runtime delete whatever there is.
async fn delete_unknown(engine: &Engine, container: &Container, monitor: &Monitor) {
    if container.state() != ContainerState::Creating {
        return;
    }
    let Ok(creation) = crate::monitor::creation(engine, container, None) else { return };
    let adoption = Adopt { container: creation, pid: 0, start_time: 0, started_at: Timestamp::ZERO };
    let deleted = match monitor.adopt(adoption, Descriptors::default()).await {
        Ok(()) => monitor.delete(&container.id).await,
        Err(error) => Err(error),
    };
    if let Err(error) = deleted {
        tracing::debug!(container = %container.id, "nothing of the runtime's to delete: {error}");
    }
}

/// The runtime has removed the group with the container; crun 1.8 leaves it when the creation fails half-way.
fn remove_group(engine: &Engine, container: &Container) -> Result<(), Error> {
    let parent = &container.sandbox.config.cgroup_parent;
    let group = OwnedGroup::of_container(engine.node.driver, parent, &container.id)?;
    Ok(engine.node.cgroups.remove(&group, PATIENCE)?)
}

fn remove_dir(path: std::path::PathBuf) -> Result<(), Error> {
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing bundle", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: std::path::PathBuf) -> Result<(), Error> {
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
        _ => Ok(()),
    }
}
