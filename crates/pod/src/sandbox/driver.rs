//! The one task that changes a sandbox.
//!
//! Requests never own work: they send a command and wait for the answer. A caller that goes away changes nothing, and
//! its retry either joins the creation (`outcome`) or queues behind it. The task ends when the sandbox is gone.

use std::sync::Arc;

use ochre_runtime::config::SandboxConfig;
use ochre_types::SandboxId;
use tokio::sync::{mpsc, oneshot};

use super::run::Plan;
use super::state::Event;
use super::{PodResources, Sandbox, SandboxState};
use crate::engine::{Engine, Pods};
use crate::error::{Error, Shared};
use crate::events::EventKind;
use crate::registry::Claim;

/// Answers one command.
pub(crate) type Reply = oneshot::Sender<Result<(), Shared>>;

/// What a sandbox can be asked to do.
pub(crate) enum Command {
    /// Stop its containers and take its network down.
    Stop(Reply),
    /// Remove it with everything in it.
    Remove(Reply),
    /// Note what it may use.
    Update {
        /// What has changed; boxed, since it is far larger than the other commands.
        resources: Box<PodResources>,
        /// Where the answer goes.
        reply: Reply,
    },
}

impl Pods {
    /// Makes a pod and waits until it is ready. The same request again, while the first one runs or after it, gets the
    /// same id.
    ///
    /// # Errors
    /// Invalid input, a taken name, or whatever step failed; nothing half-made stays then.
    pub async fn run(&self, config: SandboxConfig) -> Result<SandboxId, Shared> {
        let plan = Plan::check(&self.engine, &config).map_err(Arc::new)?;
        let mut started = None;
        let metadata = config.metadata.clone();
        let claim = self.engine.registry.claim_sandbox(&metadata, |pairs| {
            let id = pairs.free_id(SandboxId::generate);
            let (sandbox, commands) = Sandbox::new(plan.seed(&self.engine, &config, id));
            started = Some(commands);
            sandbox
        });
        let sandbox = match claim {
            Claim::New(sandbox) => {
                if let Some(commands) = started {
                    tokio::spawn(create(Arc::clone(&self.engine), Arc::clone(&sandbox), commands));
                }
                sandbox
            }
            Claim::Taken(owner) => same_request(owner, &config).map_err(Arc::new)?,
        };
        sandbox.created().await?;
        Ok(sandbox.id.clone())
    }

    /// Stops a pod: its containers are killed, its network and namespaces go. Stopping a stopped pod succeeds.
    ///
    /// # Errors
    /// Everything that could not be taken down; a retry goes on from there.
    pub async fn stop(&self, sandbox: &Sandbox) -> Result<(), Shared> {
        sandbox.ask_stop().await
    }

    /// Removes a pod and its containers, stopping them first.
    ///
    /// # Errors
    /// Everything that could not be removed; a retry goes on from there.
    pub async fn remove(&self, sandbox: &Sandbox) -> Result<(), Shared> {
        sandbox.ask_remove().await
    }
}

impl Sandbox {
    /// Waits for the end of the creation.
    async fn created(&self) -> Result<(), Shared> {
        let mut outcome = self.outcome.subscribe();
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(self.interrupted()),
        }
    }

    pub(crate) async fn ask_stop(&self) -> Result<(), Shared> {
        self.ask(Command::Stop).await
    }

    pub(crate) async fn ask_remove(&self) -> Result<(), Shared> {
        self.ask(Command::Remove).await
    }

    pub(super) async fn ask_update(&self, resources: PodResources) -> Result<(), Shared> {
        self.ask(|reply| Command::Update { resources: Box::new(resources), reply }).await
    }

    async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), Shared> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_err() {
            // The driver ends only when the sandbox is gone, which is what stop and remove want.
            return Ok(());
        }
        answer.await.unwrap_or_else(|_| Ok(()))
    }

    fn interrupted(&self) -> Shared {
        Arc::new(Error::Interrupted { object: format!("pod {}", self.id) })
    }

    /// Moves to the next state and publishes it.
    pub(super) fn advance(&self, event: Event) -> Result<(), Error> {
        let next = self
            .state()
            .apply(event)
            .map_err(|source| Error::SandboxRefused { id: self.id.clone(), source })?;
        self.state.send_replace(next);
        Ok(())
    }
}

/// A second request for a taken name: the retry of the same one, or a different pod.
fn same_request(owner: Arc<Sandbox>, config: &SandboxConfig) -> Result<Arc<Sandbox>, Error> {
    let taken = |hint| {
        let name = &owner.config.metadata;
        Error::SandboxNameTaken {
            name: name.name.clone(),
            namespace: name.namespace.clone(),
            uid: name.uid.clone(),
            attempt: name.attempt,
            id: owner.id.clone(),
            state: owner.state().name(),
            hint,
        }
    };
    match owner.state() {
        SandboxState::Creating | SandboxState::Ready(_) if owner.config == *config => Ok(owner),
        SandboxState::Creating | SandboxState::Ready(_) => {
            Err(taken("its configuration differs; use another uid or attempt, or remove it first"))
        }
        SandboxState::Stopping(_) | SandboxState::Stopped | SandboxState::Removing => {
            Err(taken("remove it first, or use another attempt"))
        }
    }
}

async fn create(engine: Arc<Engine>, sandbox: Arc<Sandbox>, commands: mpsc::Receiver<Command>) {
    let result = super::run::run(&engine, &sandbox).await.and_then(|live| sandbox.advance(Event::Ran(live)));
    match result {
        Ok(()) => {
            engine.publish_sandbox(EventKind::Created, &sandbox);
            engine.publish_sandbox(EventKind::Started, &sandbox);
            sandbox.outcome.send_replace(Some(Ok(())));
            drive(engine, sandbox, commands).await;
        }
        Err(error) => {
            // The name is free before anybody hears of the failure, so that the next try never finds it taken.
            engine.registry.forget_sandbox(&sandbox);
            sandbox.outcome.send_replace(Some(Err(Arc::new(error))));
        }
    }
}

/// Serves commands until the sandbox is gone.
pub(crate) async fn drive(engine: Arc<Engine>, sandbox: Arc<Sandbox>, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Stop(reply) => {
                let result = super::stop::stop(&engine, &sandbox).await.map_err(Arc::new);
                // A caller that went away has no use for the answer.
                drop(reply.send(result));
            }
            Command::Update { resources, reply } => {
                let result = super::resources::update(&engine, &sandbox, *resources).await.map_err(Arc::new);
                drop(reply.send(result));
            }
            Command::Remove(reply) => {
                let result = super::remove::remove(&engine, &sandbox).await.map_err(Arc::new);
                let gone = result.is_ok();
                drop(reply.send(result));
                if gone {
                    return;
                }
            }
        }
    }
}
