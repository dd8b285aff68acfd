//! Exec: a command in a container with a client at its streams.
//!
//! ```text
//!  Exec ──▶ monitor: runtime exec ──▶ process
//!    │ terminal: its master ─┐           │
//!    │ else three pipes ─────┴─ copied ──┤
//!    ▼                                   ▼
//!  client gone: terminal hung up,      exit code, once the output is delivered
//!  pipes closed, what is left killed
//! ```
//!
//! The processes of an exec belong to whoever waits for it, down to the daemon: when the client, this future or the
//! daemon goes, they are ended by the monitor (see `monitor-api`, `RunningExec`). A restarted daemon knows of no execs.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ochre_monitor_api::client::RunningExec;
use ochre_monitor_api::{Descriptors, Exec, mark};
use ochre_types::ExecId;
use oci_spec::runtime::{BoxBuilder, PosixRlimitBuilder, PosixRlimitType, Process};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, OutputModes, Winsize};
use tokio::sync::watch;

use super::Container;
use super::session::{Copied, End, Session, Size, Until, copy_in, copy_out, next, type_in};
use crate::engine::{Engine, Pods};
use crate::error::Error;

/// How long a client that wants a terminal may take to say how large its window is, before the command starts without
/// knowing it.
const FIRST_SIZE: Duration = Duration::from_millis(50);

/// What a command runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    Pipes,
    Terminal(Option<Size>),
}

impl Pods {
    /// Runs a command in a running container for a client, until it has ended and its output is delivered; returns its
    /// exit code, 128 plus the signal when one ended it. When the future is dropped, everything the command started is
    /// ended.
    ///
    /// # Errors
    /// `Missing`, `ContainerNotRunning`, `BeingKilled`, or the runtime's message.
    pub async fn exec(
        &self,
        container: &Container,
        command: &[String],
        session: Session,
    ) -> Result<i32, Error> {
        container.check_exec()?;
        if session.terminal {
            container.exec_on_terminal(&self.engine, command, session).await
        } else {
            container.exec_on_pipes(&self.engine, command, session).await
        }
    }
}

impl Container {
    /// Whether a command can be run in it now: while it runs, and while its processes are given time to end.
    ///
    /// # Errors
    /// `BeingKilled`, `ContainerNotRunning`.
    pub fn check_exec(&self) -> Result<(), Error> {
        let state = self.state();
        if self.killing() && state.process().is_some() {
            return Err(Error::BeingKilled { id: self.id.clone() });
        }
        if !state.was_started() {
            return Err(Error::ContainerNotRunning { id: self.id.clone(), state: state.name() });
        }
        Ok(())
    }

    /// What the monitor is asked for.
    pub(super) fn exec_request(
        &self,
        engine: &Engine,
        command: &[String],
        console: Console,
        timeout: Option<Duration>,
    ) -> Result<Exec, Error> {
        if command.is_empty() {
            return Err(Error::Missing { object: "exec request", field: "cmd" });
        }
        let exec_id = ExecId::generate();
        let terminal = console != Console::Pipes;
        let mut process = crate::bundle::exec_process(engine, self, command, terminal)?;
        let mark = mark::of(&exec_id);
        // A daemon that may not set it so high leaves it alone: such processes are found by tree and session only.
        if engine.node.defaults.held.hard_limit(PosixRlimitType::RlimitLocks, mark) == mark {
            set_mark(&mut process, mark);
        }
        if let Console::Terminal(Some(Size { width, height })) = console {
            let size = BoxBuilder::default().width(u64::from(width)).height(u64::from(height)).build();
            process.set_console_size(size.ok());
        }
        let object = || format!("exec in container {}", self.id);
        let process_json = serde_json::to_vec(&process)
            .map_err(|error| Error::BadRecord { path: object().into(), reason: error.to_string() })?;
        Ok(Exec { id: self.id.clone(), exec_id, process_json, terminal, timeout })
    }

    async fn exec_on_pipes(
        &self,
        engine: &Engine,
        command: &[String],
        session: Session,
    ) -> Result<i32, Error> {
        let failed = |error: std::io::Error| Error::io("making a pipe", "exec")(error);
        let request = self.exec_request(engine, command, Console::Pipes, None)?;
        let mut theirs = Descriptors::default();
        let stdin = session.stdin.map(|from| End::writer().map(|ours| (from, ours))).transpose();
        let stdin = stdin.map_err(failed)?.map(|(from, (end, their_end))| {
            theirs.stdin = Some(their_end);
            (from, end)
        });
        let mut outputs = Vec::new();
        for (to, slot) in [(session.stdout, &mut theirs.stdout), (session.stderr, &mut theirs.stderr)] {
            *slot = Some(match to {
                Some(to) => {
                    let (end, their_end) = End::reader().map_err(failed)?;
                    outputs.push((end, to));
                    their_end
                }
                None => nowhere().map_err(failed)?,
            });
        }
        let running = self.monitor()?.exec(request, theirs).await?;
        let (ended, receiver) = watch::channel(false);
        let copies = outputs.into_iter().map(|(end, to)| {
            let until = Until { ended: receiver.clone(), behind: 0 };
            // The pipe closes with the copy, so that a process whose client reads no more hears of it.
            async move {
                copy_out(&end, to, until).await;
            }
        });
        let copying = async {
            both(copies).await;
            Copied::End
        };
        let typing = async {
            if let Some((from, to)) = stdin {
                copy_in(from, to).await;
            }
        };
        finish(running, ended, copying, typing).await
    }

    async fn exec_on_terminal(
        &self,
        engine: &Engine,
        command: &[String],
        session: Session,
    ) -> Result<i32, Error> {
        let Session { stdin, stdout, mut sizes, .. } = session;
        let size = tokio::time::timeout(FIRST_SIZE, next(&mut sizes)).await.ok().flatten();
        let request = self.exec_request(engine, command, Console::Terminal(size), None)?;
        let mut running = self.monitor()?.exec(request, Descriptors::default()).await?;
        let failed = |error: std::io::Error| Error::io("using a terminal", "exec")(error);
        let missing = || failed(std::io::ErrorKind::NotFound.into());
        let console = running.console.take().ok_or_else(missing)?;
        prepare(&console, size).map_err(failed)?;
        let console = End::new(console).map_err(failed)?;
        let (ended, receiver) = watch::channel(false);
        let until = Until { ended: receiver, behind: 0 };
        let copying = async {
            match stdout {
                Some(to) => copy_out(&console, to, until).await,
                // A terminal nobody looks at must not fill up.
                None => copy_out(&console, Box::new(tokio::io::sink()), until).await,
            }
        };
        let typing = async {
            let resizing = async {
                while let Some(size) = next(&mut sizes).await {
                    // Fails only when the terminal is gone, and then it does not matter.
                    resize(&console, size);
                }
            };
            let typing = async {
                if let Some(from) = stdin {
                    type_in(from, &console).await;
                }
            };
            tokio::join!(resizing, typing);
        };
        finish(running, ended, copying, typing).await
    }
}

/// Waits for the end of the process, and of its output. A client that takes no more output of a terminal is gone.
async fn finish(
    running: RunningExec,
    ended: watch::Sender<bool>,
    copying: impl Future<Output = Copied>,
    typing: impl Future<Output = ()>,
) -> Result<i32, Error> {
    let waiting = running.wait();
    tokio::pin!(waiting, copying, typing);
    let (mut copied, mut typed) = (None, false);
    let exit = loop {
        tokio::select! {
            exit = &mut waiting => break exit?,
            how = &mut copying, if copied.is_none() => {
                if how == Copied::Refused {
                    return Err(Error::ClientGone);
                }
                copied = Some(how);
            }
            () = &mut typing, if !typed => typed = true,
        }
    };
    ended.send_replace(true);
    if copied.is_none() {
        copying.await;
    }
    Ok(exit.code)
}

/// Runs up to two copies side by side.
pub(super) async fn both(mut copies: impl Iterator<Item = impl Future<Output = ()>>) {
    match (copies.next(), copies.next()) {
        (Some(first), Some(second)) => {
            tokio::join!(first, second);
        }
        (Some(only), None) => only.await,
        (None, _) => {}
    }
}

/// Where output goes that nobody asked for.
fn nowhere() -> std::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

fn set_mark(process: &mut Process, mark: u64) {
    let mut limits = process.rlimits().clone().unwrap_or_default();
    limits.retain(|limit| limit.typ() != PosixRlimitType::RlimitLocks);
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitLocks).soft(mark).hard(mark).build();
    // The builder fails only for fields without a value, and every field has a default.
    limits.extend(limit);
    process.set_rlimits(Some(limits));
}

/// Makes line ends what clients expect (runtimes switch that off), and the size right before the command looks.
fn prepare(console: &OwnedFd, size: Option<Size>) -> std::io::Result<()> {
    let mut modes = rustix::termios::tcgetattr(console)?;
    modes.output_modes |= OutputModes::ONLCR;
    rustix::termios::tcsetattr(console, OptionalActions::Now, &modes)?;
    if let Some(size) = size {
        rustix::termios::tcsetwinsize(console, window(size))?;
    }
    Ok(())
}

fn resize(console: &End, size: Size) {
    rustix::termios::tcsetwinsize(console.fd(), window(size)).ok();
}

fn window(size: Size) -> Winsize {
    Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 }
}
