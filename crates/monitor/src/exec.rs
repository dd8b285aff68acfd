//! Running more processes in a container.
//!
//! The runtime's `exec --detach` leaves the process to us as a child, with the daemon's pipes as its streams; the monitor
//! keeps no end of them, so an exec ends when its first process ends, whoever still holds a pipe. At its timeout, when it
//! is killed, when its container ends and when the daemon that asked for it is gone, everything it started goes with it.
//!
//! ```text
//!                                    ┌─ first process ended ──────────────▶ reported; others live on
//! Pending ──runtime ended──▶ Execution ─ timeout, kill, container ended ──▶ tree killed, reported
//!    │ kill, daemon gone          └─ terminal hung up ──▶ Execution(hung up) ─ grace over, or first process ended ─▶ tree killed
//!    ▼
//! runtime call and its tree killed
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ochre_monitor_api::{Descriptors, Exec, ExecExit, FailureKind, Notice, Reply, mark};
use ochre_types::ExecId;

use crate::connection::Requester;
use crate::create::{listen, receive_terminal};
use crate::monitor::Monitor;
use crate::operation::{Call, Operation, Task};
use crate::process::{self, Tree};
use crate::runtime::{CallStdio, socket_path};

/// How long an exec with a terminal may live on when the daemon that held the terminal is gone.
const GRACE: Duration = Duration::from_secs(5);

/// The exit code of a process that SIGHUP has ended.
const HUNG_UP: i32 = 129;

/// An exec whose runtime call is under way.
pub(crate) struct Pending {
    pub(crate) id: ExecId,
    /// When its time is over; counted from the request.
    deadline: Option<Instant>,
    console: Option<std::os::fd::OwnedFd>,
    /// Nobody wants it any more: the call is killed, and what it has started if it was quicker.
    revoked: bool,
}

/// A running exec.
pub(crate) struct Execution {
    id: ExecId,
    container: u32,
    /// Whose exec it is.
    connection: u32,
    pub(crate) pid: i32,
    /// The session its processes are in, if it is theirs alone.
    session: Option<i32>,
    terminal: bool,
    pub(crate) deadline: Option<Instant>,
    fate: Fate,
}

/// Why an exec ends, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// By itself, or at its deadline.
    Free,
    /// Nobody is at its terminal any more: it is killed at its deadline, and with its first process at the latest.
    HungUp,
    Killed,
    TimedOut,
}

impl Monitor {
    pub(crate) fn exec(&mut self, from: Requester, exec: Exec, stdio: Descriptors) {
        let Some(container) = self.container(&exec.id) else { return self.unknown(from) };
        let serial = container.serial;
        if container.process().is_none() {
            return self.refuse(from, FailureKind::WrongState, "the container is not running");
        }
        let pending = self.operations.iter().filter_map(|operation| match &operation.task {
            Task::Exec(pending) => Some(&pending.id),
            _ => None,
        });
        if pending.chain(self.executions.iter().map(|execution| &execution.id)).any(|id| *id == exec.exec_id)
        {
            return self.refuse(from, FailureKind::Exists, "the exec exists");
        }
        if let Err(error) = self.call_exec(from, serial, &exec, &stdio) {
            self.refuse(from, FailureKind::System, error.to_string());
        }
    }

    fn call_exec(&mut self, from: Requester, serial: u32, exec: &Exec, ends: &Descriptors) -> io::Result<()> {
        let files = self.call_files();
        files.write_json(&self.dir_fd, &exec.process_json)?;
        let console = exec.terminal.then(|| listen(&files, &self.dir_fd)).transpose()?;
        let (process, pid_file) = (files.path("json"), files.path("pid"));
        let socket = socket_path(&files, &self.dir_fd);
        let mut arguments: Vec<&OsStr> = vec![
            "exec".as_ref(),
            "--process".as_ref(),
            &process,
            "--pid-file".as_ref(),
            &pid_file,
            "--detach".as_ref(),
        ];
        if console.is_some() {
            arguments.extend(["--console-socket".as_ref(), socket.as_os_str()]);
        }
        arguments.push(exec.id.as_str().as_ref());
        let deadline = exec.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let stdio = if exec.terminal {
            CallStdio::default()
        } else {
            let stdin = ends.stdin.as_ref().map(AsFd::as_fd);
            let (stdout, stderr) =
                (ends.stdout.as_ref().map(AsFd::as_fd), ends.stderr.as_ref().map(AsFd::as_fd));
            CallStdio { stdin, stdout, stderr }
        };
        let task =
            Task::Exec(Box::new(Pending { id: exec.exec_id.clone(), deadline, console, revoked: false }));
        self.call(Call {
            task,
            container: serial,
            requester: Some(from),
            files,
            arguments: &arguments,
            stdio,
        })?;
        if let (Some(operation), Some(deadline)) = (self.operations.last_mut(), deadline) {
            operation.deadline = Some(operation.deadline.map_or(deadline, |at| at.min(deadline)));
        }
        Ok(())
    }

    pub(crate) fn exec_finished(&mut self, operation: Operation, code: i32) {
        let pid = if code == 0 && !operation.killed { self.new_child(&operation.files) } else { None };
        let Task::Exec(pending) = &operation.task else { return };
        let terminal = pending.console.as_ref().filter(|_| pid.is_some()).map(receive_terminal).transpose();
        let (pid, terminal) = match (pid, terminal) {
            (Some(pid), Ok(terminal)) => (pid, terminal),
            (found, received) => {
                if let Some(pid) = found {
                    process::signal(pid, rustix::process::Signal::KILL.as_raw());
                }
                operation.kill_leftovers();
                let mut failure = operation.failure(self, code, String::new());
                if let Err(error) = received {
                    failure.message = format!("no terminal: {error}");
                }
                if let Some(requester) = operation.requester {
                    self.reply(requester, &Reply::Failed(failure), Descriptors::default());
                }
                return;
            }
        };
        if let Some(requester) = operation.requester {
            let descriptors = Descriptors { terminal, ..Descriptors::default() };
            self.reply(requester, &Reply::ExecStarted { pid }, descriptors);
        }
        let init = self.container_by_serial(operation.container).and_then(|c| c.process().map(|p| p.session));
        let session = process::stat(pid).map(|stat| stat.session);
        let foreign = [init, Some(operation.pid), process::stat(process::own_pid()).map(|stat| stat.session)];
        let Task::Exec(pending) = operation.task else { return };
        let connection = operation.requester.map_or(0, |requester| requester.connection);
        self.executions.push(Execution {
            id: pending.id,
            container: operation.container,
            connection,
            pid,
            session: session.filter(|session| *session > 0 && !foreign.contains(&Some(*session))),
            terminal: pending.console.is_some(),
            deadline: pending.deadline,
            fate: Fate::Free,
        });
        let index = self.executions.len() - 1;
        if let Some(stranger) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.remove(stranger);
            return self.execution_ended(index, code);
        }
        if pending.revoked {
            self.end_execution(index, Fate::Killed);
        }
    }

    pub(crate) fn kill_exec(&mut self, from: Requester, id: &ExecId, grace: Duration) {
        let starting = self
            .operations
            .iter_mut()
            .find(|op| matches!(&op.task, Task::Exec(pending) if pending.id == *id));
        if let Some(operation) = starting {
            operation.revoke();
            return self.conclude(from, Ok(()));
        }
        match self.executions.iter().position(|execution| execution.id == *id) {
            Some(index) => {
                self.release(index, grace);
                self.conclude(from, Ok(()));
            }
            None => {
                // Its first process was quicker, because its terminal was hung up, as a rule; others may be left.
                Tree { root: None, session: None, mark: Some(mark::of(id)) }.kill(None);
                self.refuse(from, FailureKind::Unknown, "the monitor has no such exec");
            }
        }
    }

    /// Kills an exec at once, or after the grace if its terminal was hung up.
    fn release(&mut self, index: usize, grace: Duration) {
        let execution = &mut self.executions[index];
        if grace.is_zero() {
            return self.end_execution(index, Fate::Killed);
        }
        if execution.fate == Fate::Free {
            let until = Instant::now().checked_add(grace);
            (execution.deadline, execution.fate) = (until, Fate::HungUp);
        }
    }

    /// Ends the execs of a connection that has ended: nobody hears of them any more. Their pipes and terminals have gone
    /// with the daemon, or go now.
    pub(crate) fn abandon_execs(&mut self, connection: u32) {
        let theirs = |op: &&mut Operation| op.requester.is_some_and(|from| from.connection == connection);
        let is_exec = |op: &&mut Operation| matches!(op.task, Task::Exec(_));
        self.operations.iter_mut().filter(theirs).filter(is_exec).for_each(Operation::revoke);
        for index in 0..self.executions.len() {
            if self.executions[index].connection == connection {
                let grace = if self.executions[index].terminal { GRACE } else { Duration::ZERO };
                self.release(index, grace);
            }
        }
    }

    /// Ends the execs of a container whose init has ended; a PID namespace of the container's own has ended them already.
    pub(crate) fn end_execs_of(&mut self, container: u32) {
        let theirs = |op: &&mut Operation| op.container == container && matches!(op.task, Task::Exec(_));
        self.operations.iter_mut().filter(theirs).for_each(Operation::revoke);
        for index in 0..self.executions.len() {
            if self.executions[index].container == container {
                self.end_execution(index, Fate::Killed);
            }
        }
    }

    pub(crate) fn execution_expired(&mut self, index: usize) {
        let fate = if self.executions[index].fate == Fate::HungUp { Fate::Killed } else { Fate::TimedOut };
        self.end_execution(index, fate);
    }

    fn end_execution(&mut self, index: usize, fate: Fate) {
        let execution = &mut self.executions[index];
        (execution.deadline, execution.fate) = (None, fate);
        let tree = execution.tree(Some(execution.pid));
        self.kill_tree(index, tree);
    }

    fn kill_tree(&self, index: usize, tree: Tree) {
        let container = self.executions[index].container;
        let cgroup = self.containers.iter().find(|c| c.serial == container).and_then(|c| c.cgroup.as_ref());
        match cgroup.filter(|cgroup| cgroup.members.is_some()) {
            Some(cgroup) => tree.kill(Some(&|| cgroup.processes())),
            None => tree.kill(None),
        }
    }

    /// The first process of an exec has been reaped.
    pub(crate) fn execution_ended(&mut self, index: usize, code: i32) {
        let execution = &mut self.executions[index];
        if execution.terminal && code == HUNG_UP && execution.fate == Fate::Free {
            // The news that whoever held the terminal has gone is still on the way.
            execution.fate = Fate::HungUp;
        }
        let fate = execution.fate;
        if fate != Fate::Free {
            // What was born between the last look and the kill. The leader's pid is free by now and must not be hit.
            self.kill_tree(index, self.executions[index].tree(None));
        }
        let execution = self.executions.remove(index);
        let exit = ExecExit { code, timed_out: fate == Fate::TimedOut };
        self.notify(&Notice::ExecExited { exec_id: execution.id, exit });
    }
}

impl Operation {
    /// Makes the next round of the loop kill the call of an exec and all it has started.
    fn revoke(&mut self) {
        let now = Instant::now();
        if let Task::Exec(pending) = &mut self.task
            && !self.killed
        {
            pending.revoked = true;
            self.deadline = self.deadline.map(|at| at.min(now)).or(Some(now));
        }
    }
}

impl Execution {
    /// Its processes; the first one only while its pid is its own.
    fn tree(&self, root: Option<i32>) -> Tree {
        Tree { root, session: self.session, mark: Some(mark::of(&self.id)) }
    }
}
