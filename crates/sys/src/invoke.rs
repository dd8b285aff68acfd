//! Running a foreign program to its end: input from memory, bounded output, a deadline for it and its children.
//!
//! ```text
//! start (own process group) → read both outputs → exits, floods or deadline → kill what is left of the group → reap
//! ```
//!
//! The program is reaped last: while it is a zombie its process group number cannot be given to anybody else, so the
//! kill cannot hit a stranger. What a child of the program still holds open is not waited for.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// A program that is being replaced by an installer is "text file busy" for a moment.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// A deadline beyond what a clock can hold.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What a program may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When it is killed.
    pub deadline: Instant,
    /// Most bytes of standard output; a program that writes more is killed.
    pub stdout: usize,
    /// Bytes of standard error that are kept, the last ones.
    pub stderr: usize,
}

impl Limits {
    /// These limits with a deadline so far from now.
    pub fn within(allowed: Duration, stdout: usize, stderr: usize) -> Self {
        let now = Instant::now();
        Self { deadline: now.checked_add(allowed).unwrap_or(now + YEAR), stdout, stderr }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed at its deadline.
    Deadline,
    /// Killed for writing more to standard output than allowed.
    Flood,
}

/// A program's run.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: Vec<u8>,
}

/// Runs `command` in a process group of its own, with `input` as its standard input. Blocking, until the deadline at most.
///
/// # Errors
/// The program cannot be started; or the error of a system call that watches it, after it has been killed.
pub fn run(command: &mut Command, input: &[u8], limits: Limits) -> io::Result<Outcome> {
    let mut running = Running::watch(start(command, input)?)?;
    let end = match running.wait(limits)? {
        Some(must_go) => must_go,
        None => End::Exited(running.reap()?),
    };
    let (stdout, stderr) =
        (std::mem::take(&mut running.stdout.bytes), std::mem::take(&mut running.stderr.bytes));
    Ok(Outcome { end, stdout, stderr })
}

fn start(command: &mut Command, text: &[u8]) -> io::Result<Child> {
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    for attempt in 1.. {
        command.stdin(in_memory(text)?);
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_TRIES => {
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
    Err(io::ErrorKind::ExecutableFileBusy.into())
}

/// A file in memory instead of a pipe: a program that does not read its input cannot block us.
fn in_memory(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("program-input", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

/// What one output has said so far.
#[derive(Debug)]
struct Output {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            let flags = rustix::fs::fcntl_getfl(pipe)?;
            rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        Ok(Self { pipe, bytes: Vec::new() })
    }

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

/// A started program. Dropping it kills its process group and reaps it.
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
        let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let prepared = pid(&child).ok_or_else(|| io::ErrorKind::InvalidData.into()).and_then(|pid| {
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            Ok((pidfd, Output::new(pipes.0)?, Output::new(pipes.1)?))
        });
        match prepared {
            Ok((pidfd, stdout, stderr)) => Ok(Self { child, pidfd, stdout, stderr, reaped: false }),
            Err(error) => {
                kill_group(&child);
                drop(child.wait());
                Err(error)
            }
        }
    }

    /// Until it has exited, or must be killed: then why.
    fn wait(&mut self, limits: Limits) -> io::Result<Option<End>> {
        loop {
            let left = limits.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(End::Deadline));
            }
            let exited = self.poll(left)?;
            // After the exit everything the program wrote is in the pipes already.
            while self.stdout.read() {
                if self.stdout.bytes.len() > limits.stdout {
                    return Ok(Some(End::Flood));
                }
            }
            // A few turns: a program that never stops complaining must not keep us from the deadline.
            for _ in 0..8 {
                if !self.stderr.read() {
                    break;
                }
            }
            self.stderr.keep_last(limits.stderr);
            if exited {
                return Ok(None);
            }
        }
    }

    /// Waits for output or the exit; returns whether the program has exited.
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

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The group may be empty already; the program itself is not reaped yet, so the number is still its own.
fn kill_group(child: &Child) {
    if let Some(group) = pid(child) {
        drop(rustix::process::kill_process_group(group, Signal::KILL).map_err(io::Error::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, allowed: Duration) -> Outcome {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(&mut command, b"question\n", Limits::within(allowed, 1000, 10)).expect("running sh")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_gets_its_input_and_gives_both_outputs() {
        let ended = shell("cat; echo complaint >&2; exit 3", LONG);
        assert!(matches!(ended.end, End::Exited(status) if status.code() == Some(3)));
        assert_eq!(ended.stdout, b"question\n");
        assert_eq!(ended.stderr, b"complaint\n");
    }

    #[test]
    fn a_program_that_writes_too_much_is_killed_and_of_its_complaints_the_end_is_kept() {
        assert_eq!(shell("yes", LONG).end, End::Flood);
        assert_eq!(shell("echo 0123456789abcdef >&2", LONG).stderr, b"789abcdef\n");
    }

    #[test]
    fn a_program_and_its_children_end_at_the_deadline() {
        let began = Instant::now();
        assert_eq!(shell("sleep 1000 & sleep 1000", Duration::from_millis(50)).end, End::Deadline);
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_child_that_keeps_the_output_open_is_not_waited_for() {
        let ended = shell("sleep 1000 & echo done", LONG);
        assert!(matches!(ended.end, End::Exited(status) if status.success()));
        assert_eq!(ended.stdout, b"done\n");
    }
}
