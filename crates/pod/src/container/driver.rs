//! The one task that changes a container.
//!
//! It serves commands one after the other and hears of the container's end at any time. Only a stop waits long, and it
//! keeps listening while it waits (`stop.rs`). The task ends when the container is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ochre_runtime::config::{ContainerConfig, Resources};
use ochre_types::{ContainerId, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::state::{ContainerState, Event};
use super::{Container, Seed};
use crate::engine::{Engine, Pods};
use crate::error::{Error, Shared};
use crate::events::EventKind;
use crate::registry::Claim;
use crate::sandbox::Sandbox;

/// Answers one command.
pub(crate) type Reply = oneshot::Sender<Result<(), Shared>>;

/// What a container can be asked to do.
pub(crate) enum Command {
    /// Start its process.
    Start(Reply),
    /// Stop its process.
    Stop {
        /// Grace before SIGKILL.
        timeout: Duration,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Remove it.
    Remove(Reply),
    /// Write a checkpoint of it.
    Checkpoint {
        /// The archive.
        location: PathBuf,
        /// How long it may take.
        timeout: Duration,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Change its limits.
    Update {
        /// The fields that change.
        resources: Resources,
        /// Where the answer goes.
        reply: Reply,
    },
}

impl Pods {
    /// Makes a container in a ready pod. The same request again, while the first one runs or before the container was
    /// started, gets the same id.
    ///
    /// # Errors
    /// Invalid input, a taken name, or whatever step failed; nothing half-made stays then.
    pub async fn create(
        &self,
        sandbox: &Arc<Sandbox>,
        config: ContainerConfig,
    ) -> Result<ContainerId, Shared> {
        check_ready(sandbox).map_err(Arc::new)?;
        super::create::check(&self.engine, sandbox, &config).map_err(Arc::new)?;
        crate::user_namespace::check_container(&config, &sandbox.config).map_err(Arc::new)?;
        let mut started = None;
        let metadata = config.metadata.clone();
        let claim = self.engine.registry.claim_container(&sandbox.id, &metadata, || {
            let (container, commands) = Container::new(Seed {
                id: ContainerId::generate(),
                sandbox: Arc::clone(sandbox),
                config: config.clone(),
                created_at: Timestamp::now(),
                state: ContainerState::Creating,
                made: None,
            });
            started = Some(commands);
            container
        });
        let container = match claim {
            Claim::New(container) => {
                if let Some(commands) = started {
                    tokio::spawn(create(Arc::clone(&self.engine), Arc::clone(&container), commands));
                }
                container
            }
            Claim::Taken(owner) => same_request(owner, &config).map_err(Arc::new)?,
        };
        container.created().await?;
        Ok(container.id.clone())
    }
}

impl Container {
    /// Waits for the end of the creation.
    async fn created(&self) -> Result<(), Shared> {
        let mut outcome = self.outcome.subscribe();
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => {
                Err(Arc::new(Error::Interrupted { object: format!("container {}", self.id) }))
            }
        }
    }
}

/// Containers are made in ready pods only.
pub(super) fn check_ready(sandbox: &Sandbox) -> Result<(), Error> {
    if sandbox.is_ready() {
        return Ok(());
    }
    Err(Error::SandboxNotReady { id: sandbox.id.clone(), state: sandbox.state().name() })
}

/// A second request for a taken name: the retry of the same one, or a different container.
fn same_request(owner: Arc<Container>, config: &ContainerConfig) -> Result<Arc<Container>, Error> {
    let taken = |hint| Error::ContainerNameTaken {
        name: owner.config.metadata.name.clone(),
        attempt: owner.config.metadata.attempt,
        sandbox: owner.sandbox.id.clone(),
        id: owner.id.clone(),
        hint,
    };
    match owner.state() {
        ContainerState::Creating | ContainerState::Created(_) if owner.config == *config => Ok(owner),
        ContainerState::Creating | ContainerState::Created(_) => {
            Err(taken("its configuration differs; use another attempt, or remove it first"))
        }
        ContainerState::Running { .. }
        | ContainerState::Stopping { .. }
        | ContainerState::Exited { .. }
        | ContainerState::Removing { .. } => Err(taken("use another attempt, or remove it first")),
    }
}

async fn create(engine: Arc<Engine>, container: Arc<Container>, commands: mpsc::Receiver<Command>) {
    let made = super::create::create(&engine, &container).await;
    match made.and_then(|process| container.advance(Event::Created(process))) {
        Ok(()) => {
            engine.publish_container(EventKind::Created, &container);
            container.outcome.send_replace(Some(Ok(())));
            drive(engine, container, commands).await;
        }
        Err(error) => {
            // The name is free before anybody hears of the failure, so that the next try never finds it taken.
            engine.registry.forget_container(&container);
            container.outcome.send_replace(Some(Err(Arc::new(error))));
        }
    }
}

/// Serves commands and the container's end until it is gone.
pub(crate) async fn drive(
    engine: Arc<Engine>,
    container: Arc<Container>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut exit = container.exit.subscribe();
    loop {
        let command = tokio::select! {
            biased;
            ended = super::exit::reported(&mut exit), if container.state().process().is_some() => {
                if let Some((end, reason)) = ended {
                    super::exit::settle(&engine, &container, end, reason).await;
                }
                continue;
            }
            command = commands.recv() => command,
        };
        let Some(command) = command else { return };
        if serve(&engine, &container, command, &mut commands).await {
            return;
        }
    }
}

/// Serves one command; true when the container is gone.
async fn serve(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    command: Command,
    commands: &mut mpsc::Receiver<Command>,
) -> bool {
    // A caller that went away has no use for the answer, hence the drops.
    match command {
        Command::Start(reply) => {
            let result = super::start::start(engine, container).await.map_err(Arc::new);
            drop(reply.send(result));
            false
        }
        Command::Stop { timeout, reply } => {
            let removals = super::stop::stop(engine, container, timeout, reply, commands).await;
            let mut gone = false;
            for removal in removals {
                gone |= remove(engine, container, removal).await;
            }
            gone
        }
        Command::Remove(reply) => {
            if container.state().process().is_some() {
                let (waiter, stopped) = oneshot::channel();
                let removals = super::stop::stop(engine, container, Duration::ZERO, waiter, commands).await;
                if let Ok(Err(error)) = stopped.await {
                    for refused in removals.into_iter().chain([reply]) {
                        drop(refused.send(Err(Arc::clone(&error))));
                    }
                    return false;
                }
                let mut gone = remove(engine, container, reply).await;
                for removal in removals {
                    gone |= remove(engine, container, removal).await;
                }
                return gone;
            }
            remove(engine, container, reply).await
        }
        Command::Checkpoint { location, timeout, reply } => {
            let made = crate::checkpoint::perform(engine, container, location, timeout).await;
            drop(reply.send(made.map_err(Arc::new)));
            false
        }
        Command::Update { resources, reply } => {
            let result = super::update::update(engine, container, resources).await.map_err(Arc::new);
            drop(reply.send(result));
            false
        }
    }
}

async fn remove(engine: &Arc<Engine>, container: &Arc<Container>, reply: Reply) -> bool {
    let result = super::remove::remove(engine, container).await.map_err(Arc::new);
    let gone = result.is_ok();
    drop(reply.send(result));
    gone
}
