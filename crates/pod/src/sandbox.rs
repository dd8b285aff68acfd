//! A pod sandbox as the rest of the engine sees it: what never changes, the published state, and the way to its driver.

pub(crate) mod driver;
pub(crate) mod leftover;
pub(crate) mod pause;
mod port_forward;
mod record;
mod remove;
pub(crate) mod resources;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod stop;

use std::path::PathBuf;
use std::sync::Arc;

use ochre_monitor_api::client::Monitor;
use ochre_runtime::config::SandboxConfig;
use ochre_runtime::namespaces::{PodNamespace, PodNamespaces};
use ochre_types::{SandboxId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::error::Shared;
use driver::Command;
pub use resources::PodResources;
pub use state::{Live, SandboxState};

/// A pod sandbox.
#[derive(Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// What was asked for.
    pub config: SandboxConfig,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The handler after defaulting.
    pub handler: String,
    /// Where its containers log.
    pub log_directory: PathBuf,
    /// Its pinned namespaces.
    pub(crate) namespaces: PodNamespaces,
    /// Published by the driver, read by everybody.
    state: watch::Sender<SandboxState>,
    /// How its creation ended; requests for the same pod wait for it.
    outcome: watch::Sender<Option<Result<(), Shared>>>,
    /// To the driver.
    commands: mpsc::Sender<Command>,
    /// What it may use, after updates.
    resources: Mutex<PodResources>,
    /// The pod's monitor while it is connected. A std-like lock: held to clone or replace the handle only.
    pub(crate) monitor: Mutex<Option<Monitor>>,
    /// Held while a dead monitor is replaced, and while the last one is ended.
    pub(crate) replacing: tokio::sync::Mutex<()>,
}

/// What a new or restored sandbox starts from.
pub(crate) struct Seed {
    pub(crate) id: SandboxId,
    pub(crate) config: SandboxConfig,
    pub(crate) created_at: Timestamp,
    pub(crate) handler: String,
    pub(crate) log_directory: PathBuf,
    pub(crate) namespaces: PodNamespaces,
    pub(crate) state: SandboxState,
}

/// Commands that may wait for one sandbox; a caller over the limit waits for a place.
const QUEUE: usize = 8;

impl Sandbox {
    /// A sandbox and the receiving end for its driver.
    pub(crate) fn new(seed: Seed) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let outcome = if seed.state == SandboxState::Creating { None } else { Some(Ok(())) };
        let resources =
            PodResources { overhead: seed.config.overhead.clone(), resources: seed.config.resources.clone() };
        let sandbox = Self {
            id: seed.id,
            config: seed.config,
            created_at: seed.created_at,
            handler: seed.handler,
            log_directory: seed.log_directory,
            namespaces: seed.namespaces,
            state: watch::Sender::new(seed.state),
            outcome: watch::Sender::new(outcome),
            commands,
            resources: Mutex::new(resources),
            monitor: Mutex::new(None),
            replacing: tokio::sync::Mutex::default(),
        };
        (Arc::new(sandbox), receiver)
    }

    /// Its state now.
    pub fn state(&self) -> SandboxState {
        self.state.borrow().clone()
    }

    /// What it may use, as the kubelet told it last.
    pub fn resources(&self) -> PodResources {
        self.resources.lock().clone()
    }

    pub(crate) fn set_resources(&self, resources: PodResources) {
        *self.resources.lock() = resources;
    }

    /// Whether containers can be made in it (CRI `SANDBOX_READY`).
    pub fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), SandboxState::Ready(_))
    }

    /// The pinned network namespace; `None` in the host's network.
    pub fn network_namespace(&self) -> Option<&std::path::Path> {
        self.namespaces.path(PodNamespace::Net)
    }

    pub(crate) fn visible(&self) -> bool {
        *self.state.borrow() != SandboxState::Creating
    }

    pub(crate) fn monitor(&self) -> Option<Monitor> {
        self.monitor.lock().clone()
    }
}
