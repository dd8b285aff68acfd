//! The event loop and what it owns.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ochre_monitor_api::wire::Outgoing;
use ochre_monitor_api::{Descriptors, Failure, FailureKind, Notice, Reply};
use ochre_sys::spawn::SignalFd;
use ochre_types::ContainerId;
use rustix::event::epoll::{Event, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use crate::Error;
use crate::buffer::Buffer;
use crate::cgroup::Hierarchies;
use crate::connection::{Connection, Gone, Requester};
use crate::container::Container;
use crate::exec::Execution;
use crate::operation::Operation;
use crate::poll::{Poll, Source, Stream, source};
use crate::streams::{self, Sink};

/// Daemons at one time; there should be one, and one more while it restarts.
const MAX_CONNECTIONS: usize = 64;
/// The number of the listening socket that the daemon hands over.
const LISTENER: i32 = 3;
/// Events taken from the kernel at once.
const EVENTS: usize = 32;

/// Everything a monitor knows. All numbers called serial come from one counter.
pub(crate) struct Monitor {
    pub(crate) dir: PathBuf,
    pub(crate) dir_fd: OwnedFd,
    pub(crate) poll: Poll,
    pub(crate) signals: SignalFd,
    pub(crate) listener: OwnedFd,
    pub(crate) connections: Vec<Connection>,
    pub(crate) containers: Vec<Container>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) executions: Vec<Execution>,
    /// Attachments to containers that are gone, until they have taken the last output.
    pub(crate) behind: Vec<Sink>,
    /// Children that were reaped before their runtime told their names, newest last.
    pub(crate) strangers: Vec<(i32, i32)>,
    pub(crate) hierarchies: Option<Hierarchies>,
    pub(crate) buffer: Buffer,
    pub(crate) serials: u32,
    pub(crate) ending: bool,
}

/// Serves a pod until it is shut down. Descriptor 3 must be the listening socket, and `dir` the directory it is in.
///
/// # Errors
/// [`Error`] if the process cannot work as a monitor at all.
pub fn run(dir: &Path) -> Result<(), Error> {
    let listener = ochre_sys::spawn::inherited(LISTENER).map_err(|source| Error::Listener { source })?;
    let mut monitor = Monitor::new(dir, listener)?;
    let mut events = Vec::with_capacity(EVENTS);
    while !monitor.ending {
        let timeout = monitor.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        monitor.poll.wait(&mut events, timeout).map_err(|source| Error::Poll { source })?;
        for event in &events {
            monitor.handle(event);
        }
        monitor.expire(Instant::now());
    }
    // So that nobody takes the socket of an ended monitor for that of a dead one.
    rustix::fs::unlinkat(&monitor.dir_fd, ochre_monitor_api::SOCKET, rustix::fs::AtFlags::empty()).ok();
    Ok(())
}

impl Monitor {
    fn new(dir: &Path, listener: OwnedFd) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir_fd = rustix::fs::open(dir, flags, Mode::empty())
            .map_err(|error| Error::Directory { path: dir.into(), source: error.into() })?;
        let at_setup = |source| Error::Signals { source };
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| at_setup(e.into()))?;
        // A stray SIGTERM or SIGHUP must not cost a pod its logs and exit codes: they are received and ignored.
        let signals = [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
        let signals = SignalFd::block(&signals).map_err(at_setup)?;
        let poll = Poll::new().map_err(|source| Error::Poll { source })?;
        rustix::io::ioctl_fionbio(&listener, true)
            .and_then(|()| rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC))
            .map_err(|error| Error::Listener { source: error.into() })?;
        poll.add(&listener, Source::Listener, EventFlags::IN).map_err(|source| Error::Listener { source })?;
        poll.add(&signals, Source::Signals, EventFlags::IN).map_err(at_setup)?;
        crate::runtime::remove_leftovers(dir);
        Ok(Self {
            dir: dir.into(),
            dir_fd,
            poll,
            signals,
            listener,
            connections: Vec::new(),
            containers: Vec::new(),
            operations: Vec::new(),
            executions: Vec::new(),
            behind: Vec::new(),
            strangers: Vec::new(),
            hierarchies: None,
            buffer: Buffer::new(),
            serials: 0,
            ending: false,
        })
    }

    fn handle(&mut self, event: &Event) {
        let flags = event.flags;
        match source(event) {
            Some(Source::Listener) => self.accept(),
            Some(Source::Signals) => self.reap(),
            Some(Source::Connection(serial)) => self.serve(serial, flags),
            Some(Source::Output(serial, stream)) => self.output(serial, stream),
            Some(Source::Stdin(serial)) => self.deliver_stdin(serial),
            Some(Source::Oom(serial)) => self.oom_event(serial),
            Some(Source::Process(serial)) => self.adopted_ended(serial),
            Some(Source::Input(serial)) => self.typed(serial),
            Some(Source::Sink(serial)) => self.sink_ready(serial, flags),
            None => {}
        }
    }

    pub(crate) fn serial(&mut self) -> u32 {
        // Four billion operations are more than a pod lives to see; a collision would only misroute an event.
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    fn accept(&mut self) {
        for _ in 0..MAX_CONNECTIONS {
            let serial = self.serial();
            match Connection::accept(&self.listener, serial, &self.poll) {
                // One too many is closed at once.
                Ok(Some(connection)) if self.connections.len() < MAX_CONNECTIONS => {
                    self.connections.push(connection)
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    complain(&format_args!("cannot accept a connection: {error}"));
                    // Out of descriptors, most likely: the listener stays ready, so do not spin.
                    std::thread::sleep(Duration::from_millis(20));
                    return;
                }
            }
        }
    }

    fn serve(&mut self, serial: u32, flags: EventFlags) {
        if flags.intersects(EventFlags::OUT) {
            let poll = &self.poll;
            let flushed = self.connections.iter_mut().find(|c| c.serial == serial).map(|c| c.flush(poll));
            if flushed == Some(Err(Gone)) {
                return self.disconnect(serial);
            }
        }
        loop {
            let Some(connection) = self.connections.iter_mut().find(|c| c.serial == serial) else { return };
            let taken = connection.receive(&mut self.buffer).and_then(|frame| match frame {
                Some(frame) => self.request(serial, frame).map(Some),
                None => Ok(None),
            });
            match taken {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(Gone) => return self.disconnect(serial),
            }
        }
    }

    fn disconnect(&mut self, serial: u32) {
        self.connections.retain(|connection| connection.serial != serial);
        self.abandon_execs(serial);
    }

    /// Answers a request; whoever asked may be gone.
    pub(crate) fn reply(&mut self, to: Requester, reply: &Reply, descriptors: Descriptors) {
        self.send(to.connection, reply.encode(to.request, descriptors));
    }

    /// Answers a request with a failure.
    pub(crate) fn refuse(&mut self, to: Requester, kind: FailureKind, message: impl Into<String>) {
        self.reply(to, &Reply::Failed(Failure { kind, message: message.into() }), Descriptors::default());
    }

    /// Answers a request that gives nothing back.
    pub(crate) fn conclude(&mut self, to: Requester, result: io::Result<()>) {
        match result {
            Ok(()) => self.reply(to, &Reply::Done, Descriptors::default()),
            Err(error) => self.refuse(to, FailureKind::System, error.to_string()),
        }
    }

    fn send(&mut self, serial: u32, message: Outgoing) {
        let poll = &self.poll;
        let connection = self.connections.iter_mut().find(|c| c.serial == serial);
        if connection.is_some_and(|connection| connection.send(message, poll).is_err()) {
            self.disconnect(serial);
        }
    }

    /// Tells every daemon.
    pub(crate) fn notify(&mut self, notice: &Notice) {
        let poll = &self.poll;
        let mut gone = Vec::new();
        for connection in &mut self.connections {
            if connection.notify(notice, poll).is_err() {
                gone.push(connection.serial);
            }
        }
        gone.into_iter().for_each(|serial| self.disconnect(serial));
    }

    pub(crate) fn container(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.setup.id == *id)
    }

    pub(crate) fn container_by_serial(&mut self, serial: u32) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.serial == serial)
    }

    fn output(&mut self, serial: u32, stream: Stream) {
        let Self { containers, poll, buffer, .. } = self;
        if let Some(container) = containers.iter_mut().find(|c| c.serial == serial) {
            container.streams.pump(poll, stream, &mut container.log, buffer);
        }
    }

    fn deliver_stdin(&mut self, serial: u32) {
        let Self { containers, poll, .. } = self;
        if let Some(container) = containers.iter_mut().find(|c| c.serial == serial) {
            container.streams.deliver(poll);
        }
    }

    fn typed(&mut self, input: u32) {
        let Self { containers, poll, buffer, .. } = self;
        for container in containers {
            if container.streams.typed(poll, input, buffer) {
                return;
            }
        }
    }

    fn sink_ready(&mut self, sink: u32, flags: EventFlags) {
        let Self { containers, behind, poll, .. } = self;
        for container in containers {
            if container.streams.sink_ready(poll, sink, flags) {
                return;
            }
        }
        streams::sink_ready(behind, poll, sink, flags);
    }

    /// Lets go of a container and all its descriptors.
    pub(crate) fn forget(&mut self, serial: u32) {
        let Self { containers, behind, poll, buffer, .. } = self;
        containers.retain_mut(|container| {
            if container.serial != serial {
                return true;
            }
            behind.append(&mut container.close(poll, buffer));
            false
        });
    }
}

/// A line on stderr, which is the monitor's log file; after some lines nothing more, so that the file stays small.
pub(crate) fn complain(message: &std::fmt::Arguments<'_>) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static LINES: AtomicU32 = AtomicU32::new(0);
    if LINES.fetch_add(1, Ordering::Relaxed) < 500 {
        eprintln!("ochre-monitor: {message}");
    }
}
