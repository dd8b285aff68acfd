//! What a monitor knows of one container.
//!
//! ```text
//! Creating ──runtime create──▶ Created ──runtime start──▶ Running
//!     │ failed, timed out         │                          │
//!     ▼                           └───────init ended────▶ Exited ──runtime delete──▶ (forgotten)
//!  (forgotten)
//! ```

use std::os::fd::OwnedFd;
use std::time::Instant;

use ochre_monitor_api::{ContainerSnapshot, ContainerState, Create};
use ochre_types::{Exit, Timestamp};

use crate::cgroup::Cgroup;
use crate::connection::Requester;
use crate::log::Log;
use crate::oom::OomWatch;
use crate::poll::Poll;
use crate::streams::{Sink, Streams};

pub(crate) struct Container {
    pub(crate) serial: u32,
    pub(crate) setup: Create,
    pub(crate) state: State,
    pub(crate) started_at: Timestamp,
    pub(crate) streams: Streams,
    pub(crate) log: Log,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<OomWatch>,
    pub(crate) oom_killed: bool,
    /// Who waits, and until when, for init to be gone after the runtime's `delete`.
    pub(crate) deleting: Option<(Requester, Instant)>,
    /// An adopted init that has ended but whose status is not known yet: when to ask again, and when to give up.
    pub(crate) ended: Option<(Instant, Instant)>,
}

pub(crate) enum State {
    Creating,
    Created(Process),
    Running(Process),
    Exited { pid: i32, exit: Exit },
}

/// A living init.
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// `None` if it was dead before it could be opened.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Its session, which an exec never shares.
    pub(crate) session: i32,
    /// Tells it from a later process with the same pid.
    pub(crate) start_time: u64,
}

impl Container {
    /// A container whose streams are not connected yet.
    pub(crate) fn new(serial: u32, setup: Create, log: Log) -> Self {
        let streams = Streams::new(serial, setup.stdio.terminal, setup.stdio.stdin);
        Self {
            serial,
            setup,
            state: State::Creating,
            started_at: Timestamp::ZERO,
            streams,
            log,
            cgroup: None,
            oom: None,
            oom_killed: false,
            deleting: None,
            ended: None,
        }
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.state {
            State::Created(process) | State::Running(process) => Some(process),
            State::Creating | State::Exited { .. } => None,
        }
    }

    /// Whether a process of it may still run.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, State::Exited { .. })
    }

    pub(crate) fn snapshot(&self) -> ContainerSnapshot {
        let state = match &self.state {
            State::Creating => ContainerState::Creating,
            State::Created(process) => ContainerState::Created { pid: process.pid },
            State::Running(process) => ContainerState::Running { pid: process.pid },
            State::Exited { pid, exit } => ContainerState::Exited { pid: *pid, exit: *exit },
        };
        ContainerSnapshot { id: self.setup.id.clone(), state, started_at: self.started_at }
    }

    /// Writes out what is left of its output and takes every descriptor out of the event loop, except those of
    /// attachments that have not taken all of it yet, which come back.
    pub(crate) fn close(&mut self, poll: &Poll, buffer: &mut [u8]) -> Vec<Sink> {
        let behind = self.streams.close(poll, &mut self.log, buffer);
        if let Some(watch) = self.oom.take() {
            watch.close(poll);
        }
        if let Some(pidfd) = self.process().and_then(|process| process.pidfd.as_ref()) {
            poll.remove(pidfd);
        }
        behind
    }
}
