//! StartContainer, the story: the runtime starts the waiting process → running.
//!
//! When the runtime cannot start it (no such program), the container is killed and listed as exited with the runtime's
//! words, code 128 as the field does; it is then removed like any other.

use std::sync::Arc;
use std::time::Duration;

use ochre_sys::atomic::Durability;
use ochre_types::{Exit, Timestamp};

use super::Container;
use super::state::{ContainerState, Event, ExitReason};
use crate::disk::latest::ContainerPhase;
use crate::engine::Engine;
use crate::error::Error;
use crate::events::EventKind;

/// The exit code of a container that could not be started.
const START_FAILED_CODE: i32 = 128;
/// How long its waiting process may take to die.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn start(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), Error> {
    // Asked of a copy first: a refusal must come before the side effect.
    container
        .state()
        .apply(Event::Started(Timestamp::ZERO))
        .map_err(|source| Error::ContainerRefused { id: container.id.clone(), source })?;
    let monitor = container.monitor()?;
    let started_at = Timestamp::now();
    match monitor.start(&container.id).await {
        Ok(()) => {
            container.advance(Event::Started(started_at))?;
            engine.publish_container(EventKind::Started, container);
            container.probe.open(engine, container);
            let process = container.state().process().map_or(0, |process| process.pid);
            let phase = ContainerPhase::Live { pid: process, started_at: started_at.nanos() };
            // The monitor knows it too: a failure costs nothing unless both die.
            drop(super::create::save(engine, container, phase, Durability::Volatile).await);
            Ok(())
        }
        Err(error) => {
            let error = Error::from(error);
            let reason = ExitReason::StartFailed(error.to_string());
            drop(monitor.signal(&container.id, rustix::process::Signal::KILL.as_raw(), true).await);
            let mut exit = container.exit.subscribe();
            drop(tokio::time::timeout(PATIENCE, exit.wait_for(Option::is_some)).await);
            let end = Exit { code: START_FAILED_CODE, finished_at: Timestamp::now(), oom_killed: false };
            super::exit::settle(engine, container, end, reason).await;
            Err(error)
        }
    }
}

/// When the process was started; zero when it never was.
pub(crate) fn started_at(state: &ContainerState) -> Timestamp {
    match state {
        ContainerState::Running { started_at, .. }
        | ContainerState::Stopping { started_at, .. }
        | ContainerState::Exited { started_at, .. }
        | ContainerState::Removing { started_at, .. } => *started_at,
        ContainerState::Creating | ContainerState::Created(_) => Timestamp::ZERO,
    }
}
