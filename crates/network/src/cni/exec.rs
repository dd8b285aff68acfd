//! Running one plugin: clean environment, input from memory, bounded output, a deadline for it and its children.
//!
//! ```text
//! start (own process group) → read both outputs → exits or deadline → kill what is left of the group → reap → interpret
//! ```
//!
//! The plugin is reaped last: while it is a zombie its process group number cannot be given to anybody else, so the
//! kill cannot hit a stranger. What a child of the plugin still holds open is not waited for.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;
use serde_json::Value;

use super::{CniError, Verb};

const STDOUT_LIMIT: usize = 1 << 20;
const STDERR_KEPT: usize = 64 << 10;
/// Bytes of rubbish shown in an error.
const SHOWN: usize = 256;
/// A plugin that is being replaced by an installer is "text file busy" for a moment.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One run of a plugin.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) verb: Verb,
    /// The `CNI_*` variables.
    pub(crate) environment: &'a [(&'static str, String)],
    pub(crate) input: &'a Value,
    /// When the plugin is killed, and how long that was from the start of the operation.
    pub(crate) deadline: Deadline,
}

/// The end of an operation that may run several plugins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    pub(crate) fn after(allowed: Duration) -> Self {
        let now = Instant::now();
        // A timeout beyond what a clock can hold is a timeout of a year.
        let at = now.checked_add(allowed).unwrap_or(now + Duration::from_secs(365 * 86_400));
        Self { at, allowed }
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Finds a plugin's program: the first regular executable file of that name in the directories.
pub(crate) fn find(kind: &str, dirs: &[PathBuf]) -> Result<PathBuf, CniError> {
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    dirs.iter()
        .map(|dir| dir.join(kind))
        .find(executable)
        .ok_or_else(|| CniError::PluginMissing { plugin: kind.to_owned(), dirs: dirs.to_vec() })
}

/// Runs a plugin. The value is its result for ADD, `Null` for everything else.
pub(crate) fn run(invocation: &Invocation<'_>) -> Result<Value, CniError> {
    let failed = |source| CniError::PluginStart { path: invocation.program.to_owned(), source };
    let child = start(invocation).map_err(failed)?;
    let mut running = Running::watch(child).map_err(failed)?;
    let end = running.wait(invocation.deadline).map_err(failed)?;
    let stderr = String::from_utf8_lossy(&running.stderr.bytes).into_owned();
    let (plugin, verb) = (invocation.plugin.to_owned(), invocation.verb);
    match end {
        End::Deadline => {
            Err(CniError::PluginTimeout { plugin, verb, after: invocation.deadline.allowed, stderr })
        }
        End::Flood => Err(CniError::PluginFlood { plugin, verb, limit: STDOUT_LIMIT }),
        End::Exited => {
            let status = running.reap().map_err(failed)?;
            interpret(invocation, status, &running.stdout.bytes, stderr)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exited,
    Deadline,
    Flood,
}

/// What one output has said so far.
#[derive(Debug)]
struct Output {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Output {
    /// Reads what is there now. Returns whether there was anything.
    fn read(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut chunk = [0u8; 16 * 1024];
        match rustix::io::read(pipe, &mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                self.bytes.extend_from_slice(&chunk[..count]);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pipe = None,
        }
        false
    }

    fn keep_last(&mut self, limit: usize) {
        if self.bytes.len() > limit {
            self.bytes.drain(..self.bytes.len() - limit);
        }
    }
}

/// A started plugin. Dropping it kills its process group and reaps it.
#[derive(Debug)]
struct Running {
    child: Child,
    pidfd: OwnedFd,
    stdout: Output,
    stderr: Output,
    reaped: bool,
}

impl Running {
    fn watch(mut child: Child) -> io::Result<Self> {
        let opened = match pid(&child) {
            Some(pid) => rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from),
            None => Err(io::ErrorKind::InvalidData.into()),
        };
        let pidfd = match opened {
            Ok(pidfd) => pidfd,
            Err(error) => {
                kill_group(&child);
                drop(child.wait());
                return Err(error);
            }
        };
        let stdout = Output { pipe: child.stdout.take().map(OwnedFd::from), bytes: Vec::new() };
        let stderr = Output { pipe: child.stderr.take().map(OwnedFd::from), bytes: Vec::new() };
        let running = Self { child, pidfd, stdout, stderr, reaped: false };
        for pipe in [&running.stdout.pipe, &running.stderr.pipe].into_iter().flatten() {
            let flags = rustix::fs::fcntl_getfl(pipe)?;
            rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        Ok(running)
    }

    fn wait(&mut self, deadline: Deadline) -> io::Result<End> {
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Ok(End::Deadline);
            }
            let exited = self.poll(left)?;
            // After the exit everything the plugin wrote is in the pipes already.
            while self.stdout.read() {
                if self.stdout.bytes.len() > STDOUT_LIMIT {
                    return Ok(End::Flood);
                }
            }
            // One turn each: a plugin that never stops complaining must not keep us from the deadline.
            for _ in 0..8 {
                if !self.stderr.read() {
                    break;
                }
            }
            self.stderr.keep_last(STDERR_KEPT);
            if exited {
                return Ok(End::Exited);
            }
        }
    }

    /// Waits for output or the exit; returns whether the plugin has exited.
    fn poll(&self, left: Duration) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        for pipe in [&self.stdout.pipe, &self.stderr.pipe].into_iter().flatten() {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        match poll(&mut fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents().contains(PollFlags::IN)),
            Err(error) => Err(error.into()),
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        kill_group(&self.child);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // Killed just now, so the wait is short; its outcome changes nothing.
            drop(self.reap());
        }
    }
}

fn start(invocation: &Invocation<'_>) -> io::Result<Child> {
    let mut command = Command::new(invocation.program);
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(invocation.environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let text = invocation.input.to_string();
    for attempt in 1.. {
        command.stdin(input(text.as_bytes())?);
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_TRIES => {
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
    Err(io::ErrorKind::ExecutableFileBusy.into())
}

/// A file in memory instead of a pipe: a plugin that does not read its input cannot block us.
fn input(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("cni-config", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The group may be empty already; the plugin itself is not reaped yet, so the number is still its own.
fn kill_group(child: &Child) {
    if let Some(group) = pid(child) {
        drop(rustix::process::kill_process_group(group, Signal::KILL).map_err(io::Error::from));
    }
}

/// The error object of the specification.
#[derive(Debug, Deserialize)]
struct Failure {
    code: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

fn interpret(
    invocation: &Invocation<'_>,
    status: ExitStatus,
    stdout: &[u8],
    stderr: String,
) -> Result<Value, CniError> {
    let (plugin, verb) = (invocation.plugin.to_owned(), invocation.verb);
    let rubbish = |expected, stderr| CniError::PluginRubbish {
        plugin: invocation.plugin.to_owned(),
        verb,
        status: status.to_string(),
        expected,
        output: String::from_utf8_lossy(&stdout[..stdout.len().min(SHOWN)]).into_owned(),
        stderr,
    };
    if !status.success() {
        return match serde_json::from_slice::<Failure>(stdout) {
            Ok(Failure { code, msg, details }) => {
                Err(CniError::PluginFailed { plugin, verb, code, message: msg, details, stderr })
            }
            Err(_) => Err(rubbish("error object", stderr)),
        };
    }
    if verb != Verb::Add {
        return Ok(Value::Null);
    }
    match serde_json::from_slice::<Value>(stdout) {
        Ok(value) if super::result::is_result(&value) => Ok(value),
        _ => Err(rubbish("result", stderr)),
    }
}
