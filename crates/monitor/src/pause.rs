//! The pod's pause process: PID 1 of a shared PID namespace. It adopts and reaps what the pod's containers orphan.

use std::time::Duration;

use ochre_sys::spawn::SignalFd;
use rustix::process::{Signal, WaitOptions};

use crate::Error;

/// Reaps children until SIGTERM or SIGINT arrives. Needs no file system; descriptors 0 to 2 must be open.
///
/// # Errors
/// [`Error::Signals`] if signals cannot be received.
pub fn pause() -> Result<(), Error> {
    let failed = |source| Error::Signals { source };
    let ends = [Signal::TERM.as_raw(), Signal::INT.as_raw()];
    let signals = SignalFd::block(&[Signal::CHILD.as_raw(), ends[0], ends[1]]).map_err(failed)?;
    loop {
        // Children may be waiting since before the signal was blocked, and several deaths may share one signal.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let mut descriptor = [rustix::event::PollFd::new(&signals, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut descriptor, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Out of kernel memory: PID 1 must not end, or the whole pod does.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        while let Some(signal) = signals.next().map_err(failed)? {
            if ends.contains(&signal) {
                return Ok(());
            }
        }
    }
}
