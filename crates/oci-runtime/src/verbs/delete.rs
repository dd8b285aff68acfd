//! `delete`: removes a container and everything made for it.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::cli::Id;
use crate::container::{Container, StateError, Status, remove_remains};
use crate::error::{Error, describe, step};
use crate::hooks;
use crate::log::{Level, Log};

const KILL_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn delete(root: &Path, id: &Id, force: bool, log: &mut Log) -> Result<(), Error> {
    let container = match Container::open(root, id) {
        Ok(container) => container,
        Err(StateError::NotFound { .. }) if force => return Ok(()),
        // Without a readable record nothing is known that could be undone; the rest must not block the id for ever.
        Err(StateError::Damaged { .. } | StateError::Access { .. }) if force => {
            return Ok(remove_remains(root, id)?);
        }
        Err(error) => return Err(error.into()),
    };
    let status = container.status();
    let removable = matches!(status, Status::Stopped | Status::Created);
    if !removable && !force {
        container.require(&[Status::Stopped], "stopped", "delete")?;
    }
    if status != Status::Stopped {
        kill(&container)?;
    }
    let groups = &container.record.groups;
    // What is left of a container that shares its PID namespace. Usually nothing.
    if groups.remove().is_err() {
        groups.signal_all(Signal::KILL.as_raw())?;
        groups.remove()?;
    }
    if let Ok(spec) = container.spec() {
        let state = container.oci_state(Status::Stopped)?;
        // The container is gone whatever they say.
        if let Err(error) = hooks::run("poststop", &spec.hooks.poststop, &state) {
            log.write(Level::Warning, &describe(&error));
        }
    }
    Ok(container.remove()?)
}

/// Kills everything and waits for the first process.
fn kill(container: &Container) -> Result<(), Error> {
    let process = container.process();
    container.record.groups.signal_all(Signal::KILL.as_raw())?;
    let Some(process) = process else { return Ok(()) };
    // It may be outside its groups if `create` was killed early.
    drop(rustix::process::pidfd_send_signal(&process, Signal::KILL).map_err(std::io::Error::from));
    let limit = Timespec { tv_sec: KILL_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    let ready = loop {
        match rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.map_err(step("waiting for the container's process"))?,
        }
    };
    if ready == 0 {
        return Err(Error::StillAlive { id: container.record.id.clone(), seconds: KILL_TIMEOUT.as_secs() });
    }
    Ok(())
}
