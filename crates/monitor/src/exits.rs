//! How processes end: reaping, the exit record, and OOM kills.

use std::io;

use ochre_monitor_api::{Notice, exit_record};
use ochre_sys::atomic::{self, Durability};
use ochre_types::{Exit, Timestamp};
use rustix::fs::{Mode, OFlags};
use rustix::process::WaitOptions;

use crate::container::{Container, State};
use crate::monitor::{Monitor, complain};
use crate::operation::Task;

/// Reaped children whose names may still be told by a runtime call under way.
const MAX_STRANGERS: usize = 256;
/// The exit code of a process that SIGKILL has ended.
const KILLED: i32 = 137;

impl Monitor {
    /// Reaps every child that has ended, whosever it was.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.next() {}
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let code =
                status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            // Stopped children are not reported without being asked for.
            let Some(code) = code else { continue };
            self.reaped(pid.as_raw_nonzero().get(), code);
        }
        if self.operations.is_empty() {
            self.strangers = Vec::new();
        }
    }

    fn reaped(&mut self, pid: i32, code: i32) {
        if let Some(index) = self.operations.iter().position(|operation| operation.pid == pid) {
            let operation = self.operations.remove(index);
            return self.finished(operation, code);
        }
        let is_init = |container: &&Container| container.process().is_some_and(|process| process.pid == pid);
        if let Some(serial) = self.containers.iter().find(is_init).map(|container| container.serial) {
            return self.exited(serial, code);
        }
        if let Some(index) = self.executions.iter().position(|execution| execution.pid == pid) {
            return self.execution_ended(index, code);
        }
        if self.strangers.len() >= MAX_STRANGERS {
            self.strangers.remove(0);
        }
        self.strangers.push((pid, code));
    }

    /// The init of a container has ended. Its last output goes to the log, the record to the disk, then the news out.
    pub(crate) fn exited(&mut self, serial: u32, code: i32) {
        let finished_at = Timestamp::now();
        self.oom_recheck(serial);
        if code == KILLED {
            self.look_for_unseen_oom_kill(serial);
        }
        let Self { containers, poll, buffer, .. } = self;
        let Some(container) = containers.iter_mut().find(|c| c.serial == serial) else { return };
        let Some(pid) = container.process().map(|process| process.pid) else { return };
        container.streams.drain(poll, &mut container.log, buffer);
        container.ended = None;
        if let Some(watch) = container.oom.take() {
            watch.close(poll);
        }
        let exit = Exit { code, finished_at, oom_killed: container.oom_killed };
        container.state = State::Exited { pid, exit };
        self.end_execs_of(serial);
        if let Err(error) = self.record(serial, pid, &exit) {
            complain(&format_args!("cannot record an exit: {error}"));
        }
        let starting = |task: &Task| matches!(task, Task::Start);
        if !self.operations.iter().any(|op| op.container == serial && starting(&op.task)) {
            self.announce_exit(serial);
        }
    }

    fn record(&self, serial: u32, pid: i32, exit: &Exit) -> io::Result<()> {
        let Some(container) = self.containers.iter().find(|c| c.serial == serial) else { return Ok(()) };
        let id = &container.setup.id;
        let record = exit_record::format(pid, exit);
        // Both directories are on a tmpfs that a power loss empties anyway.
        let own = atomic::write(
            &self.dir_fd,
            &exit_record::file_name(id),
            record.as_bytes(),
            0o600,
            Durability::Volatile,
        );
        if let Some(dir) = &container.setup.exit_dir {
            let dir =
                rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            atomic::write(dir, id.as_str(), exit.code.to_string().as_bytes(), 0o644, Durability::Volatile)?;
        }
        own
    }

    /// Tells everybody of a container that has ended, and concludes a deletion that waited for it.
    pub(crate) fn announce_exit(&mut self, serial: u32) {
        let Some(container) = self.container_by_serial(serial) else { return };
        let State::Exited { exit, .. } = container.state else { return };
        let (id, deleting) = (container.setup.id.clone(), container.deleting.take());
        self.notify(&Notice::Exited { id, exit });
        if let Some((requester, _)) = deleting {
            self.remove(serial);
            self.conclude(requester, Ok(()));
        }
    }

    pub(crate) fn oom_event(&mut self, serial: u32) {
        let Self { containers, poll, .. } = self;
        if let Some(watch) = containers.iter_mut().find(|c| c.serial == serial).and_then(|c| c.oom.as_mut()) {
            watch.event(poll);
        }
        self.look_for_oom_kill(serial);
    }

    /// Looks at the counter for the last time for now.
    pub(crate) fn oom_recheck(&mut self, serial: u32) {
        if let Some(watch) = self.container_by_serial(serial).and_then(|container| container.oom.as_mut()) {
            watch.recheck = None;
        }
        self.look_for_oom_kill(serial);
    }

    fn look_for_oom_kill(&mut self, serial: u32) {
        let Some(container) = self.container_by_serial(serial) else { return };
        if container.oom.as_mut().is_some_and(crate::oom::OomWatch::killed) {
            self.oom_killed(serial);
        }
    }

    /// The container was ended by SIGKILL: the OOM killer's if its group is gone and the slice knows of one.
    fn look_for_unseen_oom_kill(&mut self, serial: u32) {
        let Some(container) = self.container_by_serial(serial) else { return };
        let unseen = container.oom.as_ref().is_some_and(crate::oom::OomWatch::killed_unseen);
        if unseen && !container.oom_killed {
            self.oom_killed(serial);
        }
    }

    fn oom_killed(&mut self, serial: u32) {
        for watch in self.containers.iter_mut().filter_map(|container| container.oom.as_mut()) {
            watch.claimed();
        }
        let Some(container) = self.container_by_serial(serial) else { return };
        container.oom_killed = true;
        let id = container.setup.id.clone();
        self.notify(&Notice::Oom { id });
    }
}
