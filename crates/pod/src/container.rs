//! A container as the rest of the engine sees it: what never changes, the published state, and the way to its driver.

mod attach;
pub(crate) mod create;
pub(crate) mod driver;
mod exec;
mod exec_sync;
mod exit;
mod remove;
mod reopen_log;
mod session;
mod start;
pub(crate) mod state;
mod stop;
mod update;
pub(crate) mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ochre_monitor_api::Descriptors;
use ochre_runtime::config::{ContainerConfig, Resources};
use ochre_types::{ContainerId, Exit, ImageId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Shared};
use crate::sandbox::Sandbox;
use crate::stats::Probe;
use driver::{Command, Reply};
pub use exec_sync::ExecOutput;
pub(crate) use remove::undo;
pub use session::{Reader, Session, Size, Sizes, Writer};
pub(crate) use start::started_at;
use state::Event;
pub use state::{ContainerState, ExitReason};

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its pod.
    pub sandbox: Arc<Sandbox>,
    /// What was asked for.
    pub config: ContainerConfig,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What its creation found out; there once the container is visible.
    made: OnceLock<Made>,
    /// The limits in force, after updates.
    resources: Mutex<Resources>,
    /// Published by the driver, read by everybody.
    state: watch::Sender<ContainerState>,
    /// Set once, by whoever hears of the end first; the driver turns it into a state.
    exit: watch::Sender<Option<(Exit, ExitReason)>>,
    /// How its creation ended; requests for the same container wait for it.
    outcome: watch::Sender<Option<Result<(), Shared>>>,
    /// Whether SIGKILL was sent to it: nothing new is started in it from then on.
    killing: AtomicBool,
    /// To the driver.
    commands: mpsc::Sender<Command>,
    /// Spare ends of its streams: while they are held, its output survives the monitor's death, and the next monitor
    /// takes them over.
    spare: Mutex<Option<Descriptors>>,
    /// Open cgroup files and the last sample.
    pub(crate) probe: Probe,
}

/// What a container's creation found out.
#[derive(Debug, Clone)]
pub struct Made {
    /// Id of its image.
    pub image_id: ImageId,
    /// A name of its image, or the id.
    pub image_name: String,
    /// First repository digest of its image, or the id.
    pub image_reference: String,
    /// The log file, if it logs.
    pub log_path: Option<PathBuf>,
    /// The signal that stops it.
    pub stop_signal: i32,
    /// Uid of its first process.
    pub uid: u32,
    /// Gid of its first process.
    pub gid: u32,
    /// Supplemental groups, the primary one included.
    pub groups: Vec<u32>,
    /// The runtime's cgroup path argument.
    pub cgroups_path: String,
    /// Ids of the images and artifacts behind its volumes, by the volume's place in the request.
    pub volumes: BTreeMap<usize, ImageId>,
}

/// What a new or restored container starts from.
pub(crate) struct Seed {
    pub(crate) id: ContainerId,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) config: ContainerConfig,
    pub(crate) created_at: Timestamp,
    pub(crate) state: ContainerState,
    pub(crate) made: Option<Made>,
}

/// Commands that may wait for one container; a caller over the limit waits for a place.
const QUEUE: usize = 16;

impl Container {
    /// A container and the receiving end for its driver.
    pub(crate) fn new(seed: Seed) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let outcome = if seed.state == ContainerState::Creating { None } else { Some(Ok(())) };
        let made = OnceLock::new();
        if let Some(known) = seed.made {
            // A fresh cell takes its first value.
            drop(made.set(known));
        }
        let container = Self {
            id: seed.id,
            sandbox: seed.sandbox,
            resources: Mutex::new(seed.config.resources.clone()),
            config: seed.config,
            created_at: seed.created_at,
            made,
            state: watch::Sender::new(seed.state),
            exit: watch::Sender::new(None),
            outcome: watch::Sender::new(outcome),
            killing: AtomicBool::new(false),
            commands,
            spare: Mutex::new(None),
            probe: Probe::default(),
        };
        (Arc::new(container), receiver)
    }

    /// Its state now.
    pub fn state(&self) -> ContainerState {
        self.state.borrow().clone()
    }

    /// What its creation found out; `None` only while it is being made.
    pub fn made(&self) -> Option<&Made> {
        self.made.get()
    }

    /// The limits in force.
    pub fn resources(&self) -> Resources {
        self.resources.lock().clone()
    }

    fn killing(&self) -> bool {
        self.killing.load(Ordering::Relaxed)
    }

    pub(crate) fn visible(&self) -> bool {
        *self.state.borrow() != ContainerState::Creating && self.made.get().is_some()
    }

    /// Starts it.
    ///
    /// # Errors
    /// The runtime's message; a container that was created is required.
    pub async fn start(&self) -> Result<(), Shared> {
        self.ask(Command::Start).await
    }

    /// Stops it: the stop signal, then SIGKILL after `timeout`; at once for zero. A later call with a shorter timeout
    /// shortens the wait. Stopping a stopped container succeeds.
    ///
    /// # Errors
    /// `Unkillable` when the process survives SIGKILL.
    pub async fn stop(&self, timeout: Duration) -> Result<(), Shared> {
        self.ask(|reply| Command::Stop { timeout, reply }).await
    }

    /// Removes it, killing it first if it runs.
    ///
    /// # Errors
    /// Whatever could not be removed; a retry goes on from there.
    pub async fn remove(&self) -> Result<(), Shared> {
        self.ask(Command::Remove).await
    }

    /// Changes its limits.
    ///
    /// # Errors
    /// Invalid limits, or the runtime's message; the old limits stay then.
    pub async fn update(&self, resources: Resources) -> Result<(), Shared> {
        self.ask(|reply| Command::Update { resources, reply }).await
    }

    pub(crate) async fn ask_checkpoint(&self, location: PathBuf, timeout: Duration) -> Result<(), Shared> {
        self.ask(|reply| Command::Checkpoint { location, timeout, reply }).await
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), Shared> {
        let (reply, answer) = oneshot::channel();
        let gone = || Arc::new(Error::NoSuchContainer { id: self.id.to_string() });
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The spare ends of its streams, for the next monitor.
    pub(crate) fn take_spare(&self) -> Descriptors {
        self.spare.lock().take().unwrap_or_default()
    }

    /// Notes how it ended; only the first report counts.
    pub(crate) fn report_exit(&self, exit: Exit, reason: ExitReason) {
        self.exit.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some((exit, reason));
            }
            first
        });
    }

    /// Moves to the next state and publishes it.
    fn advance(&self, event: Event) -> Result<(), Error> {
        let next = self
            .state()
            .apply(event)
            .map_err(|source| Error::ContainerRefused { id: self.id.clone(), source })?;
        self.state.send_replace(next);
        Ok(())
    }

    /// The running container's monitor.
    fn monitor(&self) -> Result<ochre_monitor_api::client::Monitor, Error> {
        self.sandbox.monitor().ok_or_else(|| Error::SandboxNotReady {
            id: self.sandbox.id.clone(),
            state: self.sandbox.state().name(),
        })
    }
}
