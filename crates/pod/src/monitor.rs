//! The daemon's side of a pod's monitor: starting it, hearing its events, noticing its death.
//!
//! ```text
//!   launch ──▶ pump(events) ── Exited ──▶ the container's driver
//!                  │
//!             Disconnected ──▶ pod still up? ── connect again, or launch and adopt what lives ──▶ pump
//!                                   └─ no ──▶ end
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ochre_monitor_api::client::{Error as MonitorError, Event, Events, Monitor};
use ochre_monitor_api::{
    Adopt, ContainerState, Create, Descriptors, Snapshot, StdinMode, Stdio, exit_record,
};
use ochre_runtime::cgroup::MonitorPlacement;
use ochre_types::{Exit, Timestamp};

use crate::container::Container;
use crate::container::state::ExitReason;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::sandbox::run::{launch_options, pause_id};
use crate::sandbox::{Sandbox, SandboxState};

/// CRI-O's `container_create_timeout`.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(240);
/// How long a monitor may take from the end of its connections to the end of its socket.
const DYING: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(5);
/// The exit code of a container whose exit nobody saw, as with every engine of the field.
const LOST_CODE: i32 = 255;

/// Starts the pod's monitor and the task that hears it.
pub(crate) async fn launch(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<Monitor, Error> {
    let (monitor, events) = start(engine, sandbox).await?;
    listen(engine, sandbox, &monitor, events);
    place(engine, sandbox, &monitor).await?;
    Ok(monitor)
}

/// Starts a monitor. One that is just dying still listens for a moment after its connections have ended.
async fn start(engine: &Engine, sandbox: &Sandbox) -> Result<(Monitor, Events), Error> {
    let began = tokio::time::Instant::now();
    loop {
        match Monitor::launch(launch_options(engine, sandbox)).await {
            Err(MonitorError::AlreadyRunning { .. }) if began.elapsed() < DYING => {
                tokio::time::sleep(AGAIN).await;
            }
            started => {
                let (monitor, _, events) = started?;
                return Ok((monitor, events));
            }
        }
    }
}

/// Takes a monitor out of the daemon's unit, before anything is asked of it: what it starts stays where it stands. The
/// place follows from the sandbox's id, so the sandbox's record is the intent.
async fn place(engine: &Engine, sandbox: &Sandbox, monitor: &Monitor) -> Result<(), Error> {
    let placement = MonitorPlacement::plan(engine.node.driver, &sandbox.id);
    if placement == MonitorPlacement::DaemonsGroup {
        return Ok(());
    }
    let pid = monitor.pid();
    blocking(sandbox.id.to_string(), move || Ok(placement.place(pid)?)).await
}

/// Connects to a monitor that outlived the daemon; `None` when there is none any more.
pub(crate) async fn reconnect(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Option<Snapshot> {
    let socket = engine.sandbox_dir(sandbox).join("monitor.sock");
    let (monitor, snapshot, events) = Monitor::connect(&socket).await.ok()?;
    listen(engine, sandbox, &monitor, events);
    Some(snapshot)
}

fn listen(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, monitor: &Monitor, events: Events) {
    *sandbox.monitor.lock() = Some(monitor.clone());
    tokio::spawn(pump(Arc::clone(engine), Arc::clone(sandbox), events));
}

/// Hears one monitor until its pod is down.
async fn pump(engine: Arc<Engine>, sandbox: Arc<Sandbox>, mut events: Events) {
    let pause = pause_id(&sandbox.id);
    loop {
        match events.next().await {
            Some(Event::Exited { id, .. }) if id == pause => {
                // Its namespace and everything in it went along: the kubelet must see the pod NOTREADY and make another.
                if sandbox.is_ready() {
                    tracing::warn!(pod = %sandbox.id, "the pause process has ended; stopping the pod");
                    let sandbox = Arc::clone(&sandbox);
                    tokio::spawn(async move {
                        if let Err(error) = sandbox.ask_stop().await {
                            tracing::warn!(pod = %sandbox.id, "{error}");
                        }
                    });
                }
            }
            Some(Event::Exited { id, exit }) => report(&engine, id.as_str(), exit, ExitReason::Process),
            Some(Event::Oom { id }) => {
                tracing::info!(container = %id, "the kernel killed a process for want of memory")
            }
            Some(Event::Disconnected) | None => match replace(&engine, &sandbox).await {
                Some(next) => events = next,
                None => return,
            },
        }
    }
}

/// A monitor died under a pod that is up: a new one adopts what still lives.
async fn replace(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Option<Events> {
    let _turn = sandbox.replacing.lock().await;
    if sandbox.monitor.lock().take().is_none() || !matches!(sandbox.state(), SandboxState::Ready(_)) {
        return None;
    }
    let socket = engine.sandbox_dir(sandbox).join("monitor.sock");
    if let Ok((monitor, snapshot, events)) = Monitor::connect(&socket).await {
        // Only the connection has ended: this daemon did not keep up with it.
        *sandbox.monitor.lock() = Some(monitor);
        catch_up(engine, &snapshot);
        return Some(events);
    }
    tracing::warn!(pod = %sandbox.id, "the pod's monitor has died; starting another one");
    match start(engine, sandbox).await {
        Ok((monitor, events)) => {
            *sandbox.monitor.lock() = Some(monitor.clone());
            if let Err(error) = place(engine, sandbox, &monitor).await {
                // It works all the same, until somebody stops the daemon's unit.
                tracing::warn!(pod = %sandbox.id, "the new monitor stays in the daemon's control group: {error}");
            }
            adopt_all(engine, sandbox, &monitor).await;
            Some(events)
        }
        Err(error) => {
            tracing::error!(pod = %sandbox.id, "no new monitor could be started: {error}");
            None
        }
    }
}

/// Reports the exits that happened while nobody listened.
fn catch_up(engine: &Engine, snapshot: &Snapshot) {
    for known in &snapshot.containers {
        if let ContainerState::Exited { exit, .. } = known.state {
            report(engine, known.id.as_str(), exit, ExitReason::Process);
        }
    }
}

/// Hands every container that may live to a new monitor; an exit that the old one had noted is used as it is.
pub(crate) async fn adopt_all(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, monitor: &Monitor) {
    let dir = engine.sandbox_dir(sandbox);
    if let Err(error) = adopt_pause(engine, sandbox, monitor).await {
        tracing::warn!(pod = %sandbox.id, "its pause process cannot be watched: {error}");
    }
    for container in engine.containers_of(sandbox) {
        let Some(process) = container.state().process() else { continue };
        if let Ok(Some((pid, exit))) = exit_record::read(&dir, &container.id)
            && pid == process.pid
        {
            container.report_exit(exit, ExitReason::Process);
            continue;
        }
        let adopted = match adoption(engine, &container, process.pid) {
            Ok(adoption) => {
                let spare = container.take_spare();
                monitor.adopt(adoption, spare).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = adopted {
            tracing::warn!(container = %container.id, "its process is gone and nobody saw the exit code: {error}");
            container.report_exit(lost(), ExitReason::Lost);
        }
    }
}

async fn adopt_pause(engine: &Engine, sandbox: &Sandbox, monitor: &Monitor) -> Result<(), Error> {
    match crate::sandbox::pause::adoption(engine, sandbox)? {
        Some(adoption) => Ok(monitor.adopt(adoption, Descriptors::default()).await?),
        None => Ok(()),
    }
}

fn adoption(engine: &Engine, container: &Container, pid: i32) -> Result<Adopt, Error> {
    let log_path = container.made().and_then(|made| made.log_path.clone());
    Ok(Adopt {
        container: creation(engine, container, log_path)?,
        pid,
        // Checked by the pidfd that comes along, or not at all: a record has no room for it yet.
        start_time: 0,
        started_at: crate::container::started_at(&container.state()),
    })
}

/// How the monitor is told to make a container, and to treat it ever after.
pub(crate) fn creation(
    engine: &Engine,
    container: &Container,
    log_path: Option<PathBuf>,
) -> Result<Create, Error> {
    let handler = engine.node.handlers.get(&container.sandbox.handler)?;
    let stdin = match (container.config.stdin, container.config.stdin_once) {
        (false, _) => StdinMode::Closed,
        (true, false) => StdinMode::Open,
        (true, true) => StdinMode::Once,
    };
    Ok(Create {
        id: container.id.clone(),
        runtime: crate::sandbox::run::runtime_command(engine, handler),
        bundle: engine.bundle(&container.sandbox, &container.id),
        stdio: Stdio { terminal: container.config.tty, stdin },
        log_path,
        exit_dir: Some(engine.node.paths.exits_dir.clone()),
        timeout: RUNTIME_TIMEOUT,
    })
}

/// An exit that nobody saw.
pub(crate) fn lost() -> Exit {
    Exit { code: LOST_CODE, finished_at: Timestamp::now(), oom_killed: false }
}

fn report(engine: &Engine, id: &str, exit: Exit, reason: ExitReason) {
    match engine.registry.container(id) {
        Ok(container) => container.report_exit(exit, reason),
        // Its removal won the race; nobody waits for it.
        Err(_) => tracing::debug!(container = id, "an exit of a container that is gone"),
    }
}
