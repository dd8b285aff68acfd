//! The life of a container.
//!
//! ```text
//!   Creating ──Created──▶ Created ──Started──▶ Running ──StopRequested──▶ Stopping
//!      │                    │  └─StopRequested──────────────────────────▶   │
//!    Failed               Exited                 Exited                   Exited
//!      ▼                    └──────────────┬────────┴──────────────────────┘
//!    (gone)                                ▼
//!                                       Exited ──RemoveRequested──▶ Removing ──▶ (gone)
//! ```
//!
//! `apply` is pure: no I/O, no clock. The driver is its only caller. A process exists only in `Created`, `Running` and
//! `Stopping`; an exit only in `Exited` and `Removing`, and it never changes once it is there.

use ochre_types::{Exit, Timestamp};

/// The first process of a container, as the monitor reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Process id in the node's PID namespace.
    pub pid: i32,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// Being made; not visible to any caller yet.
    Creating,
    /// Made, its process waits to be started.
    Created(Process),
    /// Its process runs.
    Running {
        /// The process.
        process: Process,
        /// When it was started.
        started_at: Timestamp,
    },
    /// A stop is under way.
    Stopping {
        /// The process.
        process: Process,
        /// When it was started; zero when it never was.
        started_at: Timestamp,
    },
    /// Its process is gone.
    Exited {
        /// When it was started; zero when it never was.
        started_at: Timestamp,
        /// How it ended.
        exit: Exit,
        /// Why, where the exit code alone does not say it.
        reason: ExitReason,
    },
    /// Being removed.
    Removing {
        /// When it was started; zero when it never was.
        started_at: Timestamp,
        /// How it ended.
        exit: Exit,
        /// Why.
        reason: ExitReason,
    },
}

/// Why a container ended, beyond its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// The exit code and the OOM flag say it all.
    Process,
    /// The runtime could not start it; the text is the runtime's.
    StartFailed(String),
    /// The node restarted, or nobody was left to see the exit.
    Lost,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The runtime made it.
    Created(Process),
    /// The runtime started it.
    Started(Timestamp),
    /// Somebody wants it stopped.
    StopRequested,
    /// Its process is gone.
    Exited(Exit, ExitReason),
    /// Somebody wants it removed; legal once it has exited.
    RemoveRequested,
}

/// The state does not allow the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible while the container is {state}")]
pub struct Refused {
    /// Name of the state.
    pub state: &'static str,
    /// Name of the event.
    pub event: &'static str,
}

impl ContainerState {
    /// The state after `event`.
    ///
    /// # Errors
    /// `Refused` with the state unchanged on the caller's side (it kept its copy).
    pub fn apply(self, event: Event) -> Result<Self, Refused> {
        use ContainerState as S;
        match (self, event) {
            (S::Creating, Event::Created(process)) => Ok(S::Created(process)),
            (S::Created(process), Event::Started(started_at)) => Ok(S::Running { process, started_at }),
            (S::Created(process), Event::StopRequested) => {
                Ok(S::Stopping { process, started_at: Timestamp::ZERO })
            }
            (S::Running { process, started_at }, Event::StopRequested)
            | (S::Stopping { process, started_at }, Event::StopRequested) => {
                Ok(S::Stopping { process, started_at })
            }
            (S::Created(_), Event::Exited(exit, reason)) => {
                Ok(S::Exited { started_at: Timestamp::ZERO, exit, reason })
            }
            (S::Running { started_at, .. } | S::Stopping { started_at, .. }, Event::Exited(exit, reason)) => {
                Ok(S::Exited { started_at, exit, reason })
            }
            (S::Exited { started_at, exit, reason }, Event::RemoveRequested) => {
                Ok(S::Removing { started_at, exit, reason })
            }
            (state, event) => Err(Refused { state: state.name(), event: event.name() }),
        }
    }

    /// Whether its process runs its program: also while it is being stopped.
    pub fn was_started(&self) -> bool {
        match self {
            Self::Running { .. } => true,
            Self::Stopping { started_at, .. } => *started_at != Timestamp::ZERO,
            Self::Creating | Self::Created(_) | Self::Exited { .. } | Self::Removing { .. } => false,
        }
    }

    /// The state's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created(_) => "created",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Exited { .. } => "exited",
            Self::Removing { .. } => "being removed",
        }
    }

    /// The live process, if there is one.
    pub fn process(&self) -> Option<Process> {
        match self {
            Self::Created(process) | Self::Running { process, .. } | Self::Stopping { process, .. } => {
                Some(*process)
            }
            Self::Creating | Self::Exited { .. } | Self::Removing { .. } => None,
        }
    }

    /// Whether its process has been started and is not known to be gone.
    pub fn is_running(&self) -> bool {
        match self {
            Self::Running { .. } => true,
            Self::Stopping { started_at, .. } => *started_at != Timestamp::ZERO,
            Self::Creating | Self::Created(_) | Self::Exited { .. } | Self::Removing { .. } => false,
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "creation",
            Self::Started(_) => "start",
            Self::StopRequested => "stop",
            Self::Exited(..) => "exit",
            Self::RemoveRequested => "removal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<ContainerState> {
        let process = Process { pid: 7 };
        let started_at = Timestamp::from_nanos(5);
        let exit = Exit { code: 3, finished_at: Timestamp::from_nanos(9), oom_killed: false };
        let reason = ExitReason::Process;
        vec![
            ContainerState::Creating,
            ContainerState::Created(process),
            ContainerState::Running { process, started_at },
            ContainerState::Stopping { process, started_at },
            ContainerState::Exited { started_at, exit, reason: reason.clone() },
            ContainerState::Removing { started_at, exit, reason },
        ]
    }

    fn events() -> Vec<Event> {
        let exit = Exit { code: 1, finished_at: Timestamp::from_nanos(8), oom_killed: true };
        vec![
            Event::Created(Process { pid: 9 }),
            Event::Started(Timestamp::from_nanos(6)),
            Event::StopRequested,
            Event::Exited(exit, ExitReason::Process),
            Event::RemoveRequested,
        ]
    }

    /// Rows are states, columns created, start, stop, exit, remove; `-` is a refusal.
    #[test]
    fn the_transition_table_is_exactly_this() {
        let expected = "\
            being created   | created - - - -\n\
            created         | - running stopping exited -\n\
            running         | - - stopping exited -\n\
            stopping        | - - stopping exited -\n\
            exited          | - - - - being removed\n\
            being removed   | - - - - -\n";
        let mut table = String::new();
        for state in states() {
            let row: Vec<_> = events()
                .into_iter()
                .map(|event| state.clone().apply(event).map_or("-", |next| next.name()))
                .collect();
            table.push_str(&format!("{:<15} | {}\n", state.name(), row.join(" ")));
        }
        assert_eq!(table, expected);
    }

    #[test]
    fn an_exit_never_changes_once_reported() {
        for state in states() {
            let ContainerState::Exited { exit, .. } = state.clone() else { continue };
            for event in events() {
                if let Ok(
                    ContainerState::Exited { exit: after, .. } | ContainerState::Removing { exit: after, .. },
                ) = state.clone().apply(event)
                {
                    assert_eq!(exit, after);
                }
            }
        }
    }

    #[test]
    fn a_stopped_container_that_never_started_has_no_start_time() {
        let stopping = ContainerState::Created(Process { pid: 1 }).apply(Event::StopRequested).unwrap();
        assert!(!stopping.is_running());
        assert_eq!(stopping.process(), Some(Process { pid: 1 }));
    }
}
