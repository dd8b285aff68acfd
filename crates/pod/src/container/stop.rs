//! StopContainer, the story: signal → wait, listening → SIGKILL at the deadline → exited.
//!
//! While it waits, a further stop with a shorter timeout moves the deadline forward, and a removal moves it to now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Container;
use super::driver::{Command, Reply};
use super::state::Event;
use crate::engine::Engine;
use crate::error::Error;

/// How long a process may take to die of SIGKILL before the caller hears that it does not.
const KILL_PATIENCE: Duration = Duration::from_secs(20);
/// The longest grace; CRI's seconds are 64 bits wide, the clock's arithmetic is not.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Who waits for the end of a stop.
struct Waiters {
    stops: Vec<Reply>,
    removals: Vec<Reply>,
}

/// Stops the container and answers every waiter; returns the removals that came meanwhile, to be served next.
pub(super) async fn stop(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    timeout: Duration,
    reply: Reply,
    commands: &mut mpsc::Receiver<Command>,
) -> Vec<Reply> {
    let mut waiters = Waiters { stops: vec![reply], removals: Vec::new() };
    let result = if container.state().process().is_none() {
        Ok(())
    } else {
        end(engine, container, timeout, commands, &mut waiters).await
    };
    let result = result.map_err(Arc::new);
    for waiter in waiters.stops {
        drop(waiter.send(result.clone()));
    }
    if result.is_ok() {
        return waiters.removals;
    }
    for waiter in waiters.removals {
        drop(waiter.send(result.clone()));
    }
    Vec::new()
}

async fn end(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    timeout: Duration,
    commands: &mut mpsc::Receiver<Command>,
    waiters: &mut Waiters,
) -> Result<(), Error> {
    let never_started = !container.state().is_running();
    container.advance(Event::StopRequested)?;
    let mut exit = container.exit.subscribe();
    let began = Instant::now();
    let mut deadline = began + timeout.min(LONGEST_GRACE);
    // A container that never ran has nobody to hear a polite signal.
    let mut killed = timeout.is_zero() || never_started;
    if killed {
        deadline = began + KILL_PATIENCE;
        kill(container).await;
    } else {
        let signal = container.made().map_or(Signal::TERM.as_raw(), |made| made.stop_signal);
        send(container, signal, false).await;
    }
    loop {
        tokio::select! {
            biased;
            ended = super::exit::reported(&mut exit) => {
                if let Some((end, reason)) = ended {
                    super::exit::settle(engine, container, end, reason).await;
                }
                return Ok(());
            }
            () = tokio::time::sleep_until(deadline) => {
                if killed {
                    return Err(unkillable(container));
                }
                tracing::info!(container = %container.id, "the grace period is over; killing it");
                killed = true;
                deadline = Instant::now() + KILL_PATIENCE;
                kill(container).await;
            }
            command = commands.recv() => {
                let grace = match command {
                    Some(Command::Stop { timeout, reply }) => { waiters.stops.push(reply); timeout }
                    Some(Command::Remove(reply)) => { waiters.removals.push(reply); Duration::ZERO }
                    Some(
                        Command::Start(reply)
                        | Command::Update { reply, .. }
                        | Command::Checkpoint { reply, .. },
                    ) => {
                        drop(reply.send(Err(Arc::new(not_running(container)))));
                        continue;
                    }
                    None => return Err(Error::Interrupted { object: format!("container {}", container.id) }),
                };
                if !killed {
                    deadline = deadline.min(Instant::now() + grace.min(LONGEST_GRACE));
                }
            }
        }
    }
}

fn not_running(container: &Container) -> Error {
    Error::ContainerNotRunning { id: container.id.clone(), state: container.state().name() }
}

fn unkillable(container: &Container) -> Error {
    let pid = container.state().process().map_or(0, |process| process.pid);
    Error::Unkillable { id: container.id.clone(), pid, seconds: KILL_PATIENCE.as_secs() }
}

async fn kill(container: &Container) {
    container.killing.store(true, Ordering::Relaxed);
    send(container, Signal::KILL.as_raw(), true).await;
}

/// A signal that cannot be sent is no failure of the stop: the process may have just ended, and the deadline decides.
async fn send(container: &Container, signal: i32, all: bool) {
    let sent = match container.monitor() {
        Ok(monitor) => monitor.signal(&container.id, signal, all).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::debug!(container = %container.id, signal, "the monitor did not deliver the signal: {error}");
        kill_directly(container, signal);
    }
}

/// Without a monitor the process is signalled by its descriptor.
fn kill_directly(container: &Container, signal: i32) {
    let Some(process) = container.state().process() else { return };
    let (Some(pid), Some(signal)) =
        (rustix::process::Pid::from_raw(process.pid), Signal::from_named_raw(signal))
    else {
        return;
    };
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        // The process is gone: that is what was wanted.
        rustix::process::pidfd_send_signal(pidfd, signal).ok();
    }
}
