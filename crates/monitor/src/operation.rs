//! Calls of the runtime that are under way.
//!
//! ```text
//! Running ──ended──▶ the task's own `…_finished`
//!    │ deadline: whole process tree killed
//!    ▼
//! Killed ──ended──▶ the same, as timed out
//!    │ still there after some seconds (uninterruptible sleep)
//!    ▼
//! the requester is answered; the call is finished when the kernel lets go of it
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ochre_monitor_api::{Failure, FailureKind, mark};

use crate::connection::Requester;
use crate::exec::Pending;
use crate::monitor::{Monitor, complain};
use crate::process::Tree;
use crate::runtime::{self, CallFiles, CallStdio};

/// How long a killed call may take to disappear.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Operation {
    pub(crate) task: Task,
    /// The container's serial.
    pub(crate) container: u32,
    pub(crate) pid: i32,
    pub(crate) deadline: Option<Instant>,
    pub(crate) timeout: Duration,
    pub(crate) killed: bool,
    pub(crate) requester: Option<Requester>,
    pub(crate) files: CallFiles,
    pub(crate) printed: OwnedFd,
}

pub(crate) enum Task {
    /// With the console socket of a terminal.
    Create(Option<OwnedFd>),
    Start,
    Delete,
    Update,
    KillAll,
    Exec(Box<Pending>),
    /// Removes what a failed `create` left, then reports that failure.
    Discard(Failure),
}

impl Task {
    fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start => "start",
            Self::Delete | Self::Discard(_) => "delete",
            Self::Update => "update",
            Self::KillAll => "kill",
            Self::Exec(_) => "exec",
        }
    }
}

/// A call that is about to be made.
pub(crate) struct Call<'a> {
    pub(crate) task: Task,
    pub(crate) container: u32,
    pub(crate) requester: Option<Requester>,
    pub(crate) files: CallFiles,
    pub(crate) arguments: &'a [&'a OsStr],
    pub(crate) stdio: CallStdio<'a>,
}

impl Operation {
    /// Kills what a failed runtime left running in its session, which nobody else can be in.
    pub(crate) fn kill_leftovers(&self) {
        self.tree(None).kill(None);
    }

    /// What a runtime has started: every call leads a session of its own, and an exec's processes have their mark.
    fn tree(&self, root: Option<i32>) -> Tree {
        let mark = match &self.task {
            Task::Exec(pending) => Some(mark::of(&pending.id)),
            _ => None,
        };
        Tree { root, session: Some(self.pid), mark }
    }

    /// Why the runtime did not do what it was asked for.
    pub(crate) fn failure(&self, monitor: &Monitor, code: i32, also: String) -> Failure {
        let verb = self.task.verb();
        if self.killed {
            let waited = self.timeout.as_millis();
            let message = format!("the runtime's {verb} did not finish within {waited} ms and was killed");
            return Failure { kind: FailureKind::TimedOut, message };
        }
        let logged = self.files.read_error(&monitor.dir_fd).unwrap_or_default();
        let message = runtime::message([logged, runtime::printed(&self.printed), also]);
        let ended = match code {
            0 => format!("the runtime's {verb} succeeded without doing it"),
            code if code > 128 => format!("the runtime's {verb} was killed by signal {}", code - 128),
            code => format!("the runtime's {verb} exited with status {code}"),
        };
        let message =
            message.map_or(ended.clone(), |text| if code == 0 { format!("{ended}: {text}") } else { text });
        Failure { kind: FailureKind::Runtime, message }
    }
}

impl Monitor {
    /// Fresh file names for a call.
    pub(crate) fn call_files(&mut self) -> CallFiles {
        CallFiles::new(self.dir.clone(), self.serial())
    }

    /// Starts a call. The container must exist.
    pub(crate) fn call(&mut self, call: Call<'_>) -> io::Result<()> {
        let Call { task, container, requester, files, arguments, stdio } = call;
        let setup = self.containers.iter().find(|c| c.serial == container).map(|c| &c.setup);
        let setup = setup.ok_or(io::ErrorKind::NotFound)?;
        let timeout = setup.timeout;
        match runtime::start(&setup.runtime, &files, arguments, &stdio) {
            Ok((child, printed)) => {
                let deadline = Instant::now().checked_add(timeout);
                let pid = child.pid;
                let killed = false;
                self.operations.push(Operation {
                    task,
                    container,
                    pid,
                    deadline,
                    timeout,
                    killed,
                    requester,
                    files,
                    printed,
                });
                Ok(())
            }
            Err(error) => {
                files.remove(&self.dir_fd);
                let text = format!("cannot execute {}: {error}", setup.runtime.path.display());
                Err(io::Error::new(error.kind(), text))
            }
        }
    }

    /// Whether a call other than an exec is under way for a container.
    pub(crate) fn busy(&self, container: u32) -> bool {
        self.operations.iter().any(|op| op.container == container && !matches!(op.task, Task::Exec(_)))
    }

    /// The runtime process of a call has ended.
    pub(crate) fn finished(&mut self, operation: Operation, code: i32) {
        let files = operation.files.clone();
        match operation.task {
            Task::Create(_) => self.create_finished(operation, code),
            Task::Exec(_) => self.exec_finished(operation, code),
            Task::Discard(_) => self.discard_finished(operation),
            Task::Start | Task::Delete | Task::Update | Task::KillAll => {
                self.control_finished(operation, code)
            }
        }
        files.remove(&self.dir_fd);
    }

    /// The next moment at which something must be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let operations = self.operations.iter().filter_map(|op| op.deadline);
        let executions = self.executions.iter().filter_map(|execution| execution.deadline);
        let containers = self.containers.iter().flat_map(|container| {
            let oom = container.oom.as_ref().and_then(|watch| watch.recheck);
            [oom, container.deleting.map(|(_, until)| until), container.ended.map(|(again, _)| again)]
        });
        operations.chain(executions).chain(containers.flatten()).min()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for index in 0..self.operations.len() {
            if due(self.operations[index].deadline) {
                self.operation_expired(index, now);
            }
        }
        for index in 0..self.executions.len() {
            if due(self.executions[index].deadline) {
                self.execution_expired(index);
            }
        }
        let serials: Vec<u32> = self.containers.iter().map(|container| container.serial).collect();
        for serial in serials {
            let Some(container) = self.container_by_serial(serial) else { continue };
            let recheck = container.oom.as_ref().and_then(|watch| watch.recheck);
            let (deleting, ended) = (container.deleting, container.ended);
            if due(recheck) {
                self.oom_recheck(serial);
            }
            if let Some((requester, until)) = deleting
                && until <= now
            {
                self.delete_expired(serial, requester);
            }
            if due(ended.map(|(again, _)| again)) {
                self.adopted_ended(serial);
            }
        }
    }

    fn operation_expired(&mut self, index: usize, now: Instant) {
        let operation = &mut self.operations[index];
        if !operation.killed {
            operation.killed = true;
            operation.deadline = Some(now + GRACE);
            operation.tree(Some(operation.pid)).kill(None);
            return;
        }
        operation.deadline = None;
        let verb = operation.task.verb();
        if let Some(requester) = operation.requester.take() {
            let message = format!("the runtime's {verb} did not finish in time and cannot be killed");
            complain(&format_args!("{message}"));
            self.refuse(requester, FailureKind::TimedOut, message);
        }
    }
}
