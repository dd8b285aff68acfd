//! `kill`: sends a signal to the first process, or to all.

use std::path::Path;

use rustix::process::Signal;

use crate::cli::{Id, UsageError};
use crate::container::{Container, Status};
use crate::error::{Error, step};

pub(super) fn kill(root: &Path, id: &Id, signal: i32, all: bool) -> Result<(), Error> {
    let container = Container::open(root, id)?;
    if all {
        // Also of a container whose first process is gone: others may live in a PID namespace it shares.
        return Ok(container.record.groups.signal_all(signal)?);
    }
    let allowed = [Status::Created, Status::Running, Status::Paused];
    let status = container.require(&allowed, "created, running or paused", "kill")?;
    let Some(process) = container.process() else {
        container.require(&allowed, "created, running or paused", "kill")?;
        return Ok(());
    };
    if signal == 0 {
        return Ok(());
    }
    // All numbers, real-time signals included, came through the parser; the C library's own two are not among them.
    let signal = Signal::from_named_raw(signal)
        .or_else(|| ochre_sys::exec::realtime_signal(signal))
        .ok_or_else(|| UsageError::InvalidSignal { signal: signal.to_string() })?;
    rustix::process::pidfd_send_signal(process, signal).map_err(step("sending the signal"))?;
    if status == Status::Paused && signal == Signal::KILL {
        // A frozen process dies only when it thaws.
        container.record.groups.set_frozen(false)?;
    }
    Ok(())
}
