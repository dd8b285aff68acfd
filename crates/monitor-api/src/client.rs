//! The daemon's side of a monitor, on tokio.
//!
//! A [`Monitor`] is a handle on one connection; clones share it. One task per connection moves frames. Requests may run
//! concurrently, and dropping the future of one leaves the connection and the monitor's work alone (the answer is
//! dropped), except that an exec nobody waits for any more is ended, started or not.
//!
//! When the connection ends for whatever reason, every waiting request fails with [`Error::Disconnected`] and [`Events`]
//! yields [`Event::Disconnected`] last. The daemon then connects again ([`Monitor::connect`]): if that fails the monitor
//! is dead, and a new one ([`Monitor::launch`]) adopts its containers ([`Monitor::adopt`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ochre_types::{ContainerId, ExecId, Exit};
use tokio::sync::{mpsc, oneshot};

use crate::message::{Adopt, Attach, Create, Exec, ExecExit, Reply, Request, Snapshot};
use crate::wire::{Descriptors, Outgoing};

mod connection;
mod error;
mod launch;

pub use error::{Error, Operation};
pub use launch::LaunchOptions;

/// Events that may wait to be taken; a daemon that falls further behind loses the connection and gets a new snapshot.
const EVENTS: usize = 256;
/// Requests that may wait to be sent.
const REQUESTS: usize = 64;
/// How long the processes of an exec may live on when their terminal is hung up: a shell tells its jobs, an editor saves
/// what it has.
pub const HANG_UP: Duration = Duration::from_secs(5);
/// How long a monitor may take to say hello.
const GREETING: Duration = Duration::from_secs(10);

/// A connection to a pod's monitor.
#[derive(Debug, Clone)]
pub struct Monitor {
    pid: i32,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Waiting>,
}

/// Who waits for what on a connection.
#[derive(Debug, Default)]
struct Waiting {
    next_id: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    replies: HashMap<u32, oneshot::Sender<(Reply, Descriptors)>>,
    execs: HashMap<ExecId, oneshot::Sender<ExecExit>>,
}

impl Waiting {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // The table is consistent between any two statements that hold it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a monitor reports unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container's init has ended; the exit record is on disk.
    Exited {
        /// The container.
        id: ContainerId,
        /// How.
        exit: Exit,
    },
    /// The kernel's OOM killer has killed a process of the container.
    Oom {
        /// The container.
        id: ContainerId,
    },
    /// The connection has ended; nothing follows.
    Disconnected,
}

/// The events of one connection.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    ended: bool,
}

impl Events {
    /// The next event; [`Event::Disconnected`] once at the end, then `None`. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Some(event) => Some(event),
            None => (!std::mem::replace(&mut self.ended, true)).then_some(Event::Disconnected),
        }
    }
}

/// A container that has just been made.
#[derive(Debug)]
pub struct Created {
    /// Its init.
    pub pid: i32,
    /// The pidfd of init, and spare ends of its output (or its terminal). Holding them until the container is deleted
    /// lets it survive the monitor's death, see [`Monitor::adopt`].
    pub spare: Descriptors,
}

/// An exec that has started. Dropping it, or the future of [`RunningExec::wait`], ends the exec: what it started is killed
/// at once, or [`HANG_UP`] later if it has a terminal (whose master the owner closes).
#[derive(Debug)]
pub struct RunningExec {
    /// Its first process.
    pub pid: i32,
    /// The terminal's master, if it has one.
    pub console: Option<OwnedFd>,
    exit: oneshot::Receiver<ExecExit>,
    /// Taken once it has ended.
    running: Option<ExecId>,
    terminal: bool,
    monitor: Monitor,
}

impl RunningExec {
    /// Waits for the first process to end. Others may live on and hold its pipes.
    ///
    /// # Errors
    /// [`Error::Disconnected`]; how the exec ends is lost then.
    pub async fn wait(mut self) -> Result<ExecExit, Error> {
        let ended = (&mut self.exit).await;
        self.running = None;
        ended.map_err(|_| Error::Disconnected { pid: self.monitor.pid })
    }
}

impl Drop for RunningExec {
    fn drop(&mut self) {
        if let Some(exec_id) = self.running.take() {
            self.monitor.abandon(exec_id, if self.terminal { HANG_UP } else { Duration::ZERO });
        }
    }
}

impl Monitor {
    /// Connects to a running monitor.
    ///
    /// # Errors
    /// [`Error::Connect`] if nobody listens at `socket` (the monitor is dead), [`Error::Version`] for a monitor of another
    /// protocol version, [`Error::Greeting`] for one that does not answer within 10 s.
    pub async fn connect(socket: &Path) -> Result<(Self, Snapshot, Events), Error> {
        let stream = launch::connect(socket).await?;
        let (outgoing, requests) = mpsc::channel(REQUESTS);
        let (sender, receiver) = mpsc::channel(EVENTS);
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(connection::run(stream, requests, sender, Arc::clone(&waiting)));
        let mut monitor = Self { pid: 0, outgoing, waiting };
        let hello = monitor.ask(&Request::Hello { version: crate::PROTOCOL }, Descriptors::default());
        let answered = tokio::time::timeout(GREETING, hello).await;
        let reply = answered.map_err(|_| Error::Greeting { path: socket.into() })??;
        let (Reply::Hello(snapshot), _) = reply else { return Err(Error::UnexpectedReply) };
        if snapshot.version != crate::PROTOCOL {
            return Err(Error::Version { theirs: snapshot.version, ours: crate::PROTOCOL });
        }
        monitor.pid = snapshot.pid;
        Ok((monitor, snapshot, Events { receiver, ended: false }))
    }

    /// Starts a monitor and connects to it. Its directory is made if it is missing.
    ///
    /// A dropped future may leave the monitor running without containers; [`Monitor::connect`] finds it in its directory.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if a monitor answers in that directory; [`Error::Directory`], [`Error::Launch`], or those
    /// of [`Monitor::connect`].
    pub async fn launch(options: LaunchOptions) -> Result<(Self, Snapshot, Events), Error> {
        let socket = options.dir.join(crate::SOCKET);
        launch::launch(options).await?;
        Self::connect(&socket).await
    }

    /// The monitor's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Makes a container.
    ///
    /// # Errors
    /// [`Error::RuntimeFailed`] with the runtime's own words, [`Error::TimedOut`], [`Error::Exists`], [`Error::System`] (the
    /// log cannot be opened, the runtime cannot be executed), [`Error::Disconnected`]. Nothing is left behind.
    pub async fn create(&self, create: Create) -> Result<Created, Error> {
        let context = (Operation::Create, create.id.clone());
        match self.request(Request::Create(create), Descriptors::default(), context).await? {
            (Reply::Created { pid }, spare) => Ok(Created { pid, spare }),
            _ => Err(Error::UnexpectedReply),
        }
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// As [`Monitor::create`]; [`Error::WrongState`] if it is not in the created state.
    pub async fn start(&self, id: &ContainerId) -> Result<(), Error> {
        self.simple(Request::Start { id: id.clone() }, (Operation::Start, id.clone())).await
    }

    /// Sends a signal to init, or to all processes of the container.
    ///
    /// # Errors
    /// [`Error::WrongState`] if init is dead, [`Error::Invalid`] for an impossible signal number.
    pub async fn signal(&self, id: &ContainerId, signal: i32, all: bool) -> Result<(), Error> {
        self.simple(Request::Signal { id: id.clone(), signal, all }, (Operation::Signal, id.clone())).await
    }

    /// Deletes a container, killing what is left of it. Its exit event, if it was alive, comes before the answer.
    ///
    /// # Errors
    /// As [`Monitor::create`]; the container is still known then and the call can be repeated.
    pub async fn delete(&self, id: &ContainerId) -> Result<(), Error> {
        self.simple(Request::Delete { id: id.clone() }, (Operation::Delete, id.clone())).await
    }

    /// Changes the container's limits (OCI `linux.resources` as JSON).
    ///
    /// # Errors
    /// As [`Monitor::create`].
    pub async fn update(&self, id: &ContainerId, resources_json: Vec<u8>) -> Result<(), Error> {
        self.simple(Request::Update { id: id.clone(), resources_json }, (Operation::Update, id.clone())).await
    }

    /// Opens the log path again; the new file exists when this returns.
    ///
    /// # Errors
    /// [`Error::System`]; the old file stays in use.
    pub async fn reopen_log(&self, id: &ContainerId) -> Result<(), Error> {
        self.simple(Request::ReopenLog { id: id.clone() }, (Operation::ReopenLog, id.clone())).await
    }

    /// Changes the size of the container's terminal.
    ///
    /// # Errors
    /// [`Error::System`] if it has none.
    pub async fn resize(&self, id: &ContainerId, width: u16, height: u16) -> Result<(), Error> {
        self.simple(Request::Resize { id: id.clone(), width, height }, (Operation::Resize, id.clone())).await
    }

    /// Closes the container's stdin after what was typed.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub async fn close_stdin(&self, id: &ContainerId) -> Result<(), Error> {
        self.simple(Request::CloseStdin { id: id.clone() }, (Operation::CloseStdin, id.clone())).await
    }

    /// Runs a process in a container. Without a terminal, `stdio` holds the process's own ends of pipes.
    ///
    /// # Errors
    /// As [`Monitor::create`]; nothing runs then. [`Error::TimedOut`] also when the exec's own timeout passes before it has
    /// started.
    pub async fn exec(&self, exec: Exec, stdio: Descriptors) -> Result<RunningExec, Error> {
        let (sender, exit) = oneshot::channel();
        let (exec_id, id, terminal) = (exec.exec_id.clone(), exec.id.clone(), exec.terminal);
        match self.waiting.table().execs.entry(exec_id.clone()) {
            // The first one's waiter must not be lost to a second with the same name.
            Entry::Occupied(_) => {
                let message = "the exec exists".to_owned();
                return Err(Error::Exists { operation: Operation::Exec, id, message });
            }
            Entry::Vacant(free) => free.insert(sender),
        };
        let mut abandoned = Abandoned { monitor: self, exec_id: Some(exec_id) };
        let reply = self.request(Request::Exec(exec), stdio, (Operation::Exec, id)).await;
        let exec_id = abandoned.exec_id.take();
        match reply {
            Ok((Reply::ExecStarted { pid }, descriptors)) => Ok(RunningExec {
                pid,
                console: descriptors.terminal,
                exit,
                running: exec_id,
                terminal,
                monitor: self.clone(),
            }),
            other => {
                if let Some(exec_id) = exec_id {
                    self.waiting.table().execs.remove(&exec_id);
                }
                Err(other.err().unwrap_or(Error::UnexpectedReply))
            }
        }
    }

    /// Kills an exec and everything it started; [`RunningExec::wait`] then returns.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it has ended.
    pub async fn kill_exec(&self, id: &ContainerId, exec_id: &ExecId) -> Result<(), Error> {
        let request = Request::KillExec { exec_id: exec_id.clone(), grace: Duration::ZERO };
        self.simple(request, (Operation::KillExec, id.clone())).await
    }

    /// Ends an exec that nobody waits for any more. It may have ended by itself.
    fn abandon(&self, exec_id: ExecId, grace: Duration) {
        self.waiting.table().execs.remove(&exec_id);
        let request = Request::KillExec { exec_id, grace };
        let number = self.waiting.next_id.fetch_add(1, Ordering::Relaxed);
        let sent = self.outgoing.try_send(request.encode(number, Descriptors::default()));
        if let Err(mpsc::error::TrySendError::Full(frame)) = sent
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let outgoing = self.outgoing.clone();
            // Where the connection ends instead, the monitor ends its execs by itself.
            runtime.spawn(async move { outgoing.send(frame).await.ok() });
        }
    }

    /// Copies a container's output to `stdout` and `stderr`, and `stdin` to the container, until an end is closed. The
    /// other ends must be pipes or sockets.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::System`].
    pub async fn attach(&self, id: &ContainerId, ends: Descriptors) -> Result<(), Error> {
        let request = Request::Attach(Attach { id: id.clone() });
        self.request(request, ends, (Operation::Attach, id.clone())).await.map(drop)
    }

    /// Takes over a container of a dead monitor, with the spare descriptors of [`Created`] if they are still held. A
    /// container that has ended meanwhile is reported by an event at once.
    ///
    /// # Errors
    /// [`Error::Exists`] if this monitor has it already.
    pub async fn adopt(&self, adopt: Adopt, spare: Descriptors) -> Result<(), Error> {
        let context = (Operation::Adopt, adopt.container.id.clone());
        self.request(Request::Adopt(adopt), spare, context).await.map(drop)
    }

    /// Ends the monitor.
    ///
    /// # Errors
    /// [`Error::ContainersAlive`] if a container is alive. A monitor that ends before its answer arrives is a success.
    pub async fn shutdown(&self) -> Result<(), Error> {
        match self.ask(&Request::Shutdown, Descriptors::default()).await {
            Ok((Reply::Done, _)) | Err(Error::Disconnected { .. }) => Ok(()),
            Ok((Reply::Failed(failure), _)) => {
                Err(Error::ContainersAlive { pid: self.pid, message: failure.message })
            }
            Ok(_) => Err(Error::UnexpectedReply),
            Err(error) => Err(error),
        }
    }

    async fn simple(&self, request: Request, context: (Operation, ContainerId)) -> Result<(), Error> {
        self.request(request, Descriptors::default(), context).await.map(drop)
    }

    async fn request(
        &self,
        request: Request,
        descriptors: Descriptors,
        (operation, id): (Operation, ContainerId),
    ) -> Result<(Reply, Descriptors), Error> {
        match self.ask(&request, descriptors).await? {
            (Reply::Failed(failure), _) => Err(Error::from_failure(operation, id, failure)),
            answer => Ok(answer),
        }
    }

    async fn ask(&self, request: &Request, descriptors: Descriptors) -> Result<(Reply, Descriptors), Error> {
        let gone = || Error::Disconnected { pid: self.pid };
        let number = self.waiting.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = request.encode(number, descriptors);
        if !frame.fits() {
            return Err(Error::TooLarge { limit: crate::wire::MAX_FRAME });
        }
        let permit = self.outgoing.reserve().await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut table = self.waiting.table();
            if table.closed {
                return Err(gone());
            }
            table.replies.insert(number, sender);
        }
        permit.send(frame);
        receiver.await.map_err(|_| gone())
    }
}

/// Kills an exec whose requester went away before it had started: nobody would ever see its output or end it.
struct Abandoned<'a> {
    monitor: &'a Monitor,
    exec_id: Option<ExecId>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(exec_id) = self.exec_id.take() {
            self.monitor.abandon(exec_id, Duration::ZERO);
        }
    }
}
