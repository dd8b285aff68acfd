//! What daemon and monitor say to each other.
//!
//! ```text
//! daemon                         monitor
//!   │ Hello ───────────────────────▶│
//!   │◀─────────── Reply::Hello(Snapshot)
//!   │ Create ──────────────────────▶│ runtime create
//!   │◀──── Created{pid} + spare ends│
//!   │ Start … Signal … Exec … ─────▶│
//!   │◀──────── Done / ExecStarted … │
//!   │◀─ Notice::Exited, Oom, ExecExited (to every connection, after the exit record is on disk)
//! ```

use std::path::PathBuf;
use std::time::Duration;

use ochre_types::{ContainerId, ExecId, Exit, Timestamp};

mod codec;
#[cfg(test)]
mod tests;

/// How to call the OCI runtime of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeCommand {
    /// The binary; absolute.
    pub path: PathBuf,
    /// Its state directory (`--root`).
    pub root: PathBuf,
    /// Whether it asks systemd for cgroups (`--systemd-cgroup`).
    pub systemd_cgroup: bool,
}

/// What a container's stdin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinMode {
    /// `/dev/null` (for a terminal: nothing is ever typed).
    Closed,
    /// A pipe that stays open over any number of attachments.
    Open,
    /// A pipe that closes when the first attachment with stdin ends.
    Once,
}

/// The standard streams of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stdio {
    /// A pseudo-terminal instead of pipes.
    pub terminal: bool,
    /// What stdin is.
    pub stdin: StdinMode,
}

/// Makes a container: the runtime's `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The container.
    pub id: ContainerId,
    /// Its runtime, also for everything that follows.
    pub runtime: RuntimeCommand,
    /// The OCI bundle.
    pub bundle: PathBuf,
    /// Its streams.
    pub stdio: Stdio,
    /// The log file in the kubelet's format. `None`: output goes to attachments only.
    pub log_path: Option<PathBuf>,
    /// A directory that gets a file `<id>` with the decimal exit code, as conmon writes it.
    pub exit_dir: Option<PathBuf>,
    /// How long any one call of the runtime for this container may take.
    pub timeout: Duration,
}

/// Takes over a container whose monitor has died.
///
/// Descriptors may come along: `pidfd` (else it is opened by pid), and the spare ends that [`Reply::Created`] carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// The container as it was created.
    pub container: Create,
    /// Its init.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, so that a recycled pid is not taken for the container. 0 is not checked.
    pub start_time: u64,
    /// When it was started; [`Timestamp::ZERO`] for a container that is created only.
    pub started_at: Timestamp,
}

/// Runs a process in a container: the runtime's `exec --detach`.
///
/// Without a terminal the descriptors `stdin`, `stdout` and `stderr` become the process's (absent ones: `/dev/null`).
///
/// An exec belongs to the connection that asked for it: when that ends, so does the exec, after a grace if it has a
/// terminal. So that its processes are found wherever they have gone, `process_json` should carry the limit of
/// [`mark`](crate::mark).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The container.
    pub id: ContainerId,
    /// The caller's name for this exec.
    pub exec_id: ExecId,
    /// The OCI `process` object.
    pub process_json: Vec<u8>,
    /// Whether it runs on a terminal; the master comes back with [`Reply::ExecStarted`].
    pub terminal: bool,
    /// When the exec and everything it started is killed. `None`: never.
    pub timeout: Option<Duration>,
}

/// Copies a container's streams to and from the descriptors that come along, until they are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The container.
    pub id: ContainerId,
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The first message of a connection.
    Hello {
        /// [`crate::PROTOCOL`].
        version: u32,
    },
    /// See [`Create`].
    Create(Create),
    /// Runs the container's process.
    Start {
        /// The container.
        id: ContainerId,
    },
    /// Sends a signal without the runtime's help.
    Signal {
        /// The container.
        id: ContainerId,
        /// The signal's number.
        signal: i32,
        /// To every process of the container's cgroup instead of init alone.
        all: bool,
    },
    /// Removes the container, killing what is left of it, and forgets it. Its exit record is removed.
    Delete {
        /// The container.
        id: ContainerId,
    },
    /// Changes limits.
    Update {
        /// The container.
        id: ContainerId,
        /// The OCI `linux.resources` object.
        resources_json: Vec<u8>,
    },
    /// Opens the log path again after a rotation.
    ReopenLog {
        /// The container.
        id: ContainerId,
    },
    /// Changes the size of the container's terminal.
    Resize {
        /// The container.
        id: ContainerId,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Closes the container's stdin once what was typed has been delivered.
    CloseStdin {
        /// The container.
        id: ContainerId,
    },
    /// See [`Exec`].
    Exec(Exec),
    /// Kills an exec and everything it started, at the end of the grace.
    KillExec {
        /// The exec.
        exec_id: ExecId,
        /// How long it gets to end by itself, for an exec whose terminal was hung up. Zero: it is killed now.
        grace: Duration,
    },
    /// See [`Attach`].
    Attach(Attach),
    /// See [`Adopt`].
    Adopt(Adopt),
    /// Ends the monitor if no container is alive.
    Shutdown,
}

/// From the monitor, once per request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Hello`.
    Hello(Snapshot),
    /// To `Create`, with the pidfd of init and spare ends of its streams: while somebody holds them, the container
    /// survives the monitor's death without a broken pipe, and the next monitor can adopt them.
    Created {
        /// Init, in the monitor's PID namespace.
        pid: i32,
    },
    /// The request is carried out.
    Done,
    /// To `Exec`.
    ExecStarted {
        /// The exec's first process.
        pid: i32,
    },
    /// The request failed; nothing half-made is left behind.
    Failed(Failure),
}

/// From the monitor, to every connection that has said `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A container's init has ended; the exit record is on disk.
    Exited {
        /// The container.
        id: ContainerId,
        /// How.
        exit: Exit,
    },
    /// The kernel's OOM killer has killed a process of the container.
    Oom {
        /// The container.
        id: ContainerId,
    },
    /// An exec's first process has ended.
    ExecExited {
        /// The exec.
        exec_id: ExecId,
        /// How.
        exit: ExecExit,
    },
}

/// How an exec ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecExit {
    /// Exit status, or 128 plus the signal number.
    pub code: i32,
    /// Whether it was killed because of its timeout.
    pub timed_out: bool,
}

/// Everything a monitor knows when a daemon connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The monitor's [`crate::PROTOCOL`].
    pub version: u32,
    /// The monitor's process id.
    pub pid: i32,
    /// Its containers, in order of creation.
    pub containers: Vec<ContainerSnapshot>,
}

/// A container in a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSnapshot {
    /// The container.
    pub id: ContainerId,
    /// What it is doing.
    pub state: ContainerState,
    /// When it was started; [`Timestamp::ZERO`] if it was not.
    pub started_at: Timestamp,
}

/// The states a container has in its monitor.
///
/// ```text
/// Creating ─▶ Created ─▶ Running ─▶ Exited
///                 └───────────────────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// The runtime's `create` is under way.
    Creating,
    /// Init waits for `start`.
    Created {
        /// Init.
        pid: i32,
    },
    /// The container's program runs.
    Running {
        /// Init.
        pid: i32,
    },
    /// Init has ended.
    Exited {
        /// What init's pid was.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What the runtime or the kernel said; bounded.
    pub message: String,
}

/// What kind of failure a [`Failure`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The monitor has no such container or exec.
    Unknown,
    /// The id is in use.
    Exists,
    /// The state of the container (or monitor) does not allow the request, or another call of its runtime is running.
    WrongState,
    /// The runtime failed.
    Runtime,
    /// The runtime did not finish in time and was killed.
    TimedOut,
    /// A system call of the monitor failed.
    System,
    /// The request cannot be understood or has impossible values.
    Invalid,
}
