//! The life of a pod sandbox.
//!
//! ```text
//!   Creating ──Ran──▶ Ready ──StopRequested──▶ Stopping ──Stopped──▶ Stopped ──RemoveRequested──▶ Removing ──▶ (gone)
//!    Failed                                        └─ a stop that failed half-way stays here; the retry goes on
//!      ▼
//!    (gone), or a leftover without a name: `leftover.rs`
//! ```
//!
//! `apply` is pure; the driver is its only caller. CRI knows two states, READY and NOTREADY: only `Ready` is READY.

use std::net::IpAddr;

/// Where a sandbox is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxState {
    /// Being made; not visible to any caller yet.
    Creating,
    /// Containers can be made in it.
    Ready(Live),
    /// A stop is under way, or failed half-way and waits for the retry.
    Stopping(Live),
    /// Its containers are stopped, its network and namespaces are gone.
    Stopped,
    /// Being removed.
    Removing,
}

/// What exists only while a sandbox is up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Addresses, the primary one first; none in the host's network.
    pub ips: Vec<IpAddr>,
    /// The pause process, where a shared PID namespace needs one.
    pub pause_pid: Option<i32>,
}

/// What happens to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything it needs exists.
    Ran(Live),
    /// Somebody wants it stopped.
    StopRequested,
    /// The stop has ended well.
    Stopped,
    /// Somebody wants it removed; legal once it is stopped.
    RemoveRequested,
}

/// The state does not allow the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible while the pod is {state}")]
pub struct Refused {
    /// Name of the state.
    pub state: &'static str,
    /// Name of the event.
    pub event: &'static str,
}

impl SandboxState {
    /// The state after `event`.
    ///
    /// # Errors
    /// `Refused`; the caller kept its copy of the state.
    pub fn apply(self, event: Event) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Creating, Event::Ran(live)) => Ok(Self::Ready(live)),
            (Self::Ready(live) | Self::Stopping(live), Event::StopRequested) => Ok(Self::Stopping(live)),
            (Self::Stopping(_), Event::Stopped) => Ok(Self::Stopped),
            (Self::Stopped, Event::RemoveRequested) => Ok(Self::Removing),
            (state, event) => Err(Refused { state: state.name(), event: event.name() }),
        }
    }

    /// The state's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Ready(_) => "ready",
            Self::Stopping(_) => "stopping",
            Self::Stopped => "stopped",
            Self::Removing => "being removed",
        }
    }

    /// What exists while it is up.
    pub fn live(&self) -> Option<&Live> {
        match self {
            Self::Ready(live) | Self::Stopping(live) => Some(live),
            Self::Creating | Self::Stopped | Self::Removing => None,
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Ran(_) => "completion",
            Self::StopRequested => "stop",
            Self::Stopped => "end of the stop",
            Self::RemoveRequested => "removal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are states, columns ran, stop, stopped, remove; `-` is a refusal.
    #[test]
    fn the_transition_table_is_exactly_this() {
        let live = Live { ips: vec!["10.0.0.1".parse().unwrap()], pause_pid: None };
        let states = [
            SandboxState::Creating,
            SandboxState::Ready(live.clone()),
            SandboxState::Stopping(live.clone()),
            SandboxState::Stopped,
            SandboxState::Removing,
        ];
        let events = [Event::Ran(live), Event::StopRequested, Event::Stopped, Event::RemoveRequested];
        let expected = "\
            being created | ready - - -\n\
            ready         | - stopping - -\n\
            stopping      | - stopping stopped -\n\
            stopped       | - - - being removed\n\
            being removed | - - - -\n";
        let mut table = String::new();
        for state in states {
            let row: Vec<_> = events
                .iter()
                .map(|e| state.clone().apply(e.clone()).map_or("-", |next| next.name()))
                .collect();
            table.push_str(&format!("{:<13} | {}\n", state.name(), row.join(" ")));
        }
        assert_eq!(table, expected);
    }
}
