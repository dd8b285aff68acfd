//! Removing the cables of pods that are gone, many at a time.
//!
//! The kernel takes tens of milliseconds to remove a device (it waits until no processor can still see it), but hardly
//! longer to remove many at once. So a cable is cut off and marked at once, and marked devices are removed in the
//! background:
//!
//! ```text
//! unplug: bridge port disabled, device put into the group DOOMED ──→ return
//!                                                        └─→ sweep: remove the whole group … again while more came
//! ```
//!
//! The mark is kept by the kernel: what a killed daemon could not remove, the next sweep does.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::netlink::NetlinkError;
use crate::netlink::route::Route;

/// The device group of cables to remove ("ochr"); groups are the operator's to use, 0 is every device's.
const DOOMED: u32 = 0x6f63_6872;

/// Cuts cables and has them removed.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    state: Arc<Mutex<State>>,
}

/// Who removes what is marked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody.
    #[default]
    Idle,
    /// A thread that will end when it is done.
    Sweeping,
    /// A thread that will look again before it ends.
    Again,
}

impl Sweep {
    /// Cuts the cable at the node's end `device`; fine when it is gone. It carries nothing any more on return.
    pub(crate) fn cut(&self, route: &mut Route, device: &str) -> Result<(), NetlinkError> {
        match route.doom(device, DOOMED) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(libc::ENODEV) => return Ok(()),
            // Not a port of a bridge any more, or of one that decides about its ports itself: the slow way.
            Err(_) => return route.delete(device),
        }
        let mut state = self.state.lock();
        if *state == State::Idle {
            let shared = Arc::clone(&self.state);
            let started =
                std::thread::Builder::new().name("ochre-sweep".into()).spawn(move || sweep(&shared));
            if started.is_err() {
                drop(state);
                return now(route);
            }
        }
        *state = if *state == State::Idle { State::Sweeping } else { State::Again };
        Ok(())
    }
}

/// Removes every marked device and waits for it.
pub(crate) fn now(route: &mut Route) -> Result<(), NetlinkError> {
    route.delete_group(DOOMED)
}

fn sweep(state: &Mutex<State>) {
    loop {
        // Nobody waits for the outcome; what stays is still marked and met again by the next sweep.
        drop(Route::open().and_then(|mut route| now(&mut route)));
        let mut state = state.lock();
        if *state == State::Sweeping {
            *state = State::Idle;
            return;
        }
        *state = State::Sweeping;
    }
}
