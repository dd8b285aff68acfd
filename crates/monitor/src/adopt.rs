//! Taking over a container whose monitor has died.
//!
//! Its init is not our child, so its end is heard of through a pidfd. Its exit code is read from `/proc` while it is a
//! zombie, or from the kernel's record once the machine's init has reaped it (Linux 6.15). Where both fail the code is
//! 255: known to be dead, cause unknown.

use std::time::{Duration, Instant};

use ochre_monitor_api::{Adopt, Descriptors, FailureKind, exit_record};
use ochre_types::Timestamp;
use rustix::event::epoll::EventFlags;

use crate::connection::Requester;
use crate::container::{Container, Process, State};
use crate::log::Log;
use crate::monitor::{Monitor, complain};
use crate::poll::Source;
use crate::process;

/// What an exit code is when nobody can know it.
const UNKNOWN: i32 = 255;
/// How long the machine's init may take to reap the process.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(10);

impl Monitor {
    pub(crate) fn adopt(&mut self, from: Requester, adopt: Adopt, mut descriptors: Descriptors) {
        let id = &adopt.container.id;
        if self.container(id).is_some() {
            return self.refuse(from, FailureKind::Exists, "the container exists");
        }
        let recorded = exit_record::read(&self.dir, id).ok().flatten();
        let pidfd = descriptors.pidfd.take().or_else(|| process::open(adopt.pid));
        // Checked after the pidfd is open: from then on the pid cannot become somebody else's.
        let found = process::stat(adopt.pid);
        let same = found.is_none_or(|stat| adopt.start_time == 0 || stat.start_time == adopt.start_time);
        let (serial, pid) = (self.serial(), adopt.pid);
        // A log that does not open must not keep a container unwatched.
        let path = adopt.container.log_path.clone();
        let log = Log::open(path.clone()).unwrap_or_else(|error| Log::broken(path, error));
        let mut container = Container::new(serial, adopt.container, log);
        container.started_at = adopt.started_at;
        if let Err(error) =
            container.streams.connect(descriptors).and_then(|()| container.streams.watch(&self.poll))
        {
            complain(&format_args!("the streams of container {} are lost: {error}", container.setup.id));
        }
        let pidfd = pidfd.filter(|_| same);
        let watched = pidfd.is_some();
        let (session, start_time) = found.map_or((pid, 0), |stat| (stat.session, stat.start_time));
        let process = Process { pid, pidfd, session, start_time };
        container.state = match recorded {
            Some((pid, exit)) => State::Exited { pid, exit },
            None if adopt.started_at == Timestamp::ZERO => State::Created(process),
            None => State::Running(process),
        };
        self.containers.push(container);
        self.conclude(from, Ok(()));
        if recorded.is_some() {
            self.announce_exit(serial);
        } else if watched {
            self.watch_adopted(serial, pid);
        } else {
            self.exited(serial, UNKNOWN);
        }
    }

    fn watch_adopted(&mut self, serial: u32, pid: i32) {
        let Self { containers, poll, .. } = self;
        let container = containers.iter().find(|c| c.serial == serial);
        let Some(pidfd) = container.and_then(|c| c.process()?.pidfd.as_ref()) else { return };
        if let Err(error) = poll.add(pidfd, Source::Process(serial), EventFlags::IN) {
            complain(&format_args!("cannot watch process {pid}: {error}"));
        }
        self.watch_memory(serial, pid);
    }

    /// The init of an adopted container has ended; asks for its status, again and again for a while if nobody has
    /// reaped it yet.
    pub(crate) fn adopted_ended(&mut self, serial: u32) {
        let Self { containers, poll, .. } = self;
        let Some(container) = containers.iter_mut().find(|c| c.serial == serial) else { return };
        let Some(process) = container.process() else { return };
        let Some(pidfd) = process.pidfd.as_ref() else { return };
        let now = Instant::now();
        let zombie = process::stat(process.pid).filter(|stat| stat.start_time == process.start_time);
        let status = match zombie.and_then(|stat| stat.status) {
            Some(status) => Ok(Some(status)),
            None => ochre_sys::pidfd::wait_status(pidfd),
        };
        let code = match status {
            Ok(Some(status)) => code(status),
            Ok(None) if container.ended.is_none_or(|(_, until)| now < until) => {
                // It stays readable until then.
                poll.remove(pidfd);
                let until = container.ended.map_or(now + PATIENCE, |(_, until)| until);
                container.ended = Some((now + AGAIN, until));
                return;
            }
            Ok(None) | Err(_) => UNKNOWN,
        };
        poll.remove(pidfd);
        self.exited(serial, code);
    }
}

/// A wait status as an exit code.
fn code(status: i32) -> i32 {
    match status & 0x7f {
        0 => (status >> 8) & 0xff,
        signal => 128 + signal,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn wait_statuses_become_exit_codes() {
        for (status, code) in [(0, 0), (42 << 8, 42), (9, 137), (0x8b, 139), (255 << 8, 255)] {
            assert_eq!(super::code(status), code);
        }
    }
}
