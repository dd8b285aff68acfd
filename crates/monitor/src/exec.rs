//! Running more processes in a container.
//!
//! The runtime's `exec --detach` leaves the process to us as a child, with the daemon's pipes as its streams; the monitor
//! keeps no end of them, so an exec ends when its first process ends, whoever still holds a pipe. At its timeout, or when
//! it is killed, everything it started goes with it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use ochre_monitor_api::{Descriptors, Exec, ExecExit, FailureKind, Notice, Reply};
use ochre_types::ExecId;

use crate::connection::Requester;
use crate::create::{listen, receive_terminal};
use crate::monitor::Monitor;
use crate::operation::{Call, Operation, Task};
use crate::process::{self, Tree};
use crate::runtime::{CallStdio, socket_path};

/// An exec whose runtime call is under way.
pub(crate) struct Pending {
    id: ExecId,
    /// When its time is over; counted from the request.
    deadline: Option<Instant>,
    console: Option<std::os::fd::OwnedFd>,
}

/// A running exec.
pub(crate) struct Execution {
    id: ExecId,
    container: u32,
    pub(crate) pid: i32,
    /// The session its processes are in, if it is theirs alone.
    session: Option<i32>,
    pub(crate) deadline: Option<Instant>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Free,
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
        let task = Task::Exec(Box::new(Pending { id: exec.exec_id.clone(), deadline, console }));
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
        self.executions.push(Execution {
            id: pending.id,
            container: operation.container,
            pid,
            session: session.filter(|session| *session > 0 && !foreign.contains(&Some(*session))),
            deadline: pending.deadline,
            fate: Fate::Free,
        });
        if let Some(index) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.remove(index);
            self.execution_ended(self.executions.len() - 1, code);
        }
    }

    pub(crate) fn kill_exec(&mut self, from: Requester, id: &ExecId) {
        let now = Instant::now();
        let starting = self
            .operations
            .iter_mut()
            .find(|op| matches!(&op.task, Task::Exec(pending) if pending.id == *id));
        if let Some(operation) = starting {
            // The next round of the loop kills the runtime call and all it has started.
            operation.deadline = operation.deadline.map(|at| at.min(now)).or(Some(now));
            return self.conclude(from, Ok(()));
        }
        match self.executions.iter().position(|execution| execution.id == *id) {
            Some(index) => {
                self.end_execution(index, Fate::Killed);
                self.conclude(from, Ok(()));
            }
            None => self.refuse(from, FailureKind::Unknown, "the monitor has no such exec"),
        }
    }

    pub(crate) fn execution_expired(&mut self, index: usize) {
        self.end_execution(index, Fate::TimedOut);
    }

    fn end_execution(&mut self, index: usize, fate: Fate) {
        let execution = &mut self.executions[index];
        (execution.deadline, execution.fate) = (None, fate);
        let tree = Tree { root: Some(execution.pid), session: execution.session };
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
        let fate = self.executions[index].fate;
        if fate != Fate::Free {
            // What was born between the last look and the kill. The leader's pid is free by now and must not be hit.
            let session = self.executions[index].session;
            self.kill_tree(index, Tree { root: None, session });
        }
        let execution = self.executions.remove(index);
        let exit = ExecExit { code, timed_out: fate == Fate::TimedOut };
        self.notify(&Notice::ExecExited { exec_id: execution.id, exit });
    }
}
