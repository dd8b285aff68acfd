//! What can be done to a container that exists: start, signal, update, delete.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ochre_monitor_api::exit_record;
use ochre_monitor_api::{Descriptors, FailureKind, Reply};
use ochre_types::{ContainerId, Timestamp};
use rustix::fs::AtFlags;
use rustix::process::Signal;

use crate::connection::Requester;
use crate::container::State;
use crate::monitor::Monitor;
use crate::operation::{Call, Operation, Task};
use crate::runtime::{CallStdio, memory_file};

/// How long a killed init may take to disappear.
const DYING: Duration = Duration::from_secs(10);

impl Monitor {
    pub(crate) fn start(&mut self, from: Requester, id: &ContainerId) {
        let Some(serial) = self.free(from, id) else { return };
        if !self.container(id).is_some_and(|container| matches!(container.state, State::Created(_))) {
            return self.refuse(from, FailureKind::WrongState, "only a created container can be started");
        }
        self.control(from, serial, Task::Start, &["start".as_ref(), id.as_str().as_ref()], None);
    }

    pub(crate) fn update(&mut self, from: Requester, id: &ContainerId, resources_json: &[u8]) {
        let Some(serial) = self.free(from, id) else { return };
        let arguments: [&OsStr; 4] =
            ["update".as_ref(), "--resources".as_ref(), "-".as_ref(), id.as_str().as_ref()];
        self.control(from, serial, Task::Update, &arguments, Some(resources_json));
    }

    pub(crate) fn delete(&mut self, from: Requester, id: &ContainerId) {
        let Some(serial) = self.free(from, id) else { return };
        let arguments: [&OsStr; 3] = ["delete".as_ref(), "--force".as_ref(), id.as_str().as_ref()];
        self.control(from, serial, Task::Delete, &arguments, None);
    }

    pub(crate) fn signal(&mut self, from: Requester, id: &ContainerId, signal: i32, all: bool) {
        let Some(container) = self.container(id) else { return self.unknown(from) };
        if !(1..=64).contains(&signal) {
            return self.refuse(from, FailureKind::Invalid, format!("{signal} is not a signal"));
        }
        if !all {
            let result = match container.process().and_then(|process| process.pidfd.as_ref()) {
                Some(pidfd) => ochre_sys::pidfd::send_signal(pidfd, signal),
                None => {
                    return self.refuse(from, FailureKind::WrongState, "the container's init is not alive");
                }
            };
            return self.conclude(from, result);
        }
        if let Some(cgroup) = container.cgroup.as_ref().filter(|cgroup| cgroup.members.is_some()) {
            cgroup.signal(signal);
            return self.conclude(from, Ok(()));
        }
        let Some(serial) = self.free(from, id) else { return };
        let number = signal.to_string();
        let arguments: [&OsStr; 4] =
            ["kill".as_ref(), "--all".as_ref(), id.as_str().as_ref(), number.as_str().as_ref()];
        self.control(from, serial, Task::KillAll, &arguments, None);
    }

    /// The serial of a container for which no other call is under way.
    fn free(&mut self, from: Requester, id: &ContainerId) -> Option<u32> {
        let Some(serial) = self.container(id).map(|container| container.serial) else {
            self.unknown(from);
            return None;
        };
        let deleting = self.container(id).is_some_and(|container| container.deleting.is_some());
        if deleting || self.busy(serial) {
            self.refuse(from, FailureKind::WrongState, "another operation is under way for the container");
            return None;
        }
        Some(serial)
    }

    fn control(
        &mut self,
        from: Requester,
        container: u32,
        task: Task,
        arguments: &[&OsStr],
        input: Option<&[u8]>,
    ) {
        let files = self.call_files();
        let result = input.map(memory_file).transpose().and_then(|input| {
            let stdio = CallStdio { stdin: input.as_ref().map(AsFd::as_fd), ..CallStdio::default() };
            self.call(Call { task, container, requester: Some(from), files, arguments, stdio })
        });
        if let Err(error) = result {
            self.refuse(from, FailureKind::System, error.to_string());
        }
    }

    pub(crate) fn control_finished(&mut self, operation: Operation, code: i32) {
        let serial = operation.container;
        let failed = operation.killed || code != 0;
        let result = if failed { Err(operation.failure(self, code, String::new())) } else { Ok(()) };
        if matches!(operation.task, Task::Delete) && result.is_ok() {
            return self.deleted(&operation);
        }
        if matches!(operation.task, Task::Start) && result.is_ok() {
            self.started(serial);
        }
        if let Some(requester) = operation.requester {
            match result {
                Ok(()) => self.conclude(requester, Ok(())),
                Err(failure) => self.reply(requester, &Reply::Failed(failure), Descriptors::default()),
            }
        }
        if matches!(operation.task, Task::Start) {
            // An exit that happened meanwhile was held back so that it does not overtake this answer.
            self.announce_exit(serial);
        }
    }

    fn started(&mut self, serial: u32) {
        let Some(container) = self.container_by_serial(serial) else { return };
        container.started_at = Timestamp::now();
        let state = std::mem::replace(&mut container.state, State::Creating);
        container.state = match state {
            State::Created(process) => State::Running(process),
            // It ran and ended before the runtime returned.
            other => other,
        };
    }

    fn deleted(&mut self, operation: &Operation) {
        let serial = operation.container;
        let Some(container) = self.container_by_serial(serial) else { return };
        if let Some(process) = container.process() {
            // The runtime is satisfied; init's end just has not arrived here yet, or the runtime did nothing.
            if let Some(pidfd) = &process.pidfd {
                ochre_sys::pidfd::send_signal(pidfd, Signal::KILL.as_raw()).ok();
            }
            let until = Instant::now() + DYING;
            if let Some(requester) = operation.requester {
                container.deleting = Some((requester, until));
                return;
            }
        }
        self.remove(serial);
        if let Some(requester) = operation.requester {
            self.conclude(requester, Ok(()));
        }
    }

    /// Forgets a deleted container and its exit record.
    pub(crate) fn remove(&mut self, serial: u32) {
        if let Some(container) = self.containers.iter().find(|c| c.serial == serial) {
            let name = exit_record::file_name(&container.setup.id);
            // There is none if it never ran.
            rustix::fs::unlinkat(&self.dir_fd, name, AtFlags::empty()).ok();
        }
        self.forget(serial);
    }

    pub(crate) fn delete_expired(&mut self, serial: u32, requester: Requester) {
        if let Some(container) = self.container_by_serial(serial) {
            container.deleting = None;
        }
        self.refuse(requester, FailureKind::TimedOut, "the container's init was killed and does not die");
    }
}
