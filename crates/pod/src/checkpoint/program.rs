//! Calls of the OCI runtime that only checkpoints need, each with what is left of one deadline.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ochre_runtime::cgroup::Driver;
use ochre_sys::invoke::{self, End, Limits};
use ochre_types::ContainerId;

use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;

/// What a runtime may print.
const PRINTED: usize = 64 * 1024;
/// How much of its words a failure carries.
const WORDS: usize = 2000;
/// How long a container may take to be resumed, also when the deadline has passed.
const RESUME: Duration = Duration::from_secs(20);

/// The runtime of one container.
#[derive(Debug)]
pub(super) struct Runtime {
    id: ContainerId,
    path: PathBuf,
    root: PathBuf,
    systemd: bool,
    deadline: Instant,
    allowed: Duration,
}

impl Runtime {
    /// The runtime of a container, which has until `deadline`.
    pub(super) fn of(
        engine: &Engine,
        container: &Container,
        deadline: Instant,
        allowed: Duration,
    ) -> Result<Self, Error> {
        let handler = engine.node.handlers.get(&container.sandbox.handler)?;
        Ok(Self {
            id: container.id.clone(),
            path: handler.path.clone(),
            root: handler.root.clone(),
            systemd: engine.node.driver == Driver::Systemd,
            deadline,
            allowed,
        })
    }

    /// Calls a verb with the container's id last.
    pub(super) fn call(&self, verb: &'static str, arguments: &[&OsStr]) -> Result<(), Error> {
        self.run(verb, arguments, self.deadline).map(drop)
    }

    /// Resumes the container; fine when it is not paused.
    pub(super) fn resume(&self) -> Result<(), Error> {
        let deadline = self.deadline.max(Instant::now() + RESUME);
        let Err(error) = self.run("resume", &[], deadline) else { return Ok(()) };
        match self.run("state", &[], deadline) {
            Ok(state) if !is_paused(&state) => Ok(()),
            _ => Err(error),
        }
    }

    fn run(&self, verb: &'static str, arguments: &[&OsStr], deadline: Instant) -> Result<Vec<u8>, Error> {
        let mut command = Command::new(&self.path);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--root").arg(&self.root);
        if self.systemd {
            command.arg("--systemd-cgroup");
        }
        command.arg(verb).args(arguments).arg(self.id.as_str());
        let limits = Limits { deadline, stdout: PRINTED, stderr: PRINTED };
        let outcome =
            invoke::run(&mut command, &[], limits).map_err(Error::io("running runtime", &self.path))?;
        let ended = match outcome.end {
            End::Exited(status) if status.success() => return Ok(outcome.stdout),
            End::Exited(status) => format!("ended with {status}"),
            End::Flood => "printed too much".to_owned(),
            End::Deadline => {
                let (id, seconds) = (self.id.clone(), self.allowed.as_secs());
                return Err(Error::CheckpointTimedOut { id, verb, seconds });
            }
        };
        Err(Error::CheckpointFailed {
            id: self.id.clone(),
            verb,
            program: self.path.clone(),
            outcome: ended,
            text: last_words(&outcome.stderr),
        })
    }
}

fn is_paused(state: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(state).is_ok_and(|state| state["status"] == "paused")
}

/// The end of what a runtime said, in one line.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    let skipped = text.chars().count().saturating_sub(WORDS);
    text.chars().skip(skipped).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_paused_container_is_paused() {
        assert!(is_paused(br#"{"status":"paused"}"#));
        for other in [&br#"{"status":"running"}"#[..], b"", b"paused"] {
            assert!(!is_paused(other));
        }
    }

    #[test]
    fn the_end_of_a_runtimes_words_is_kept() {
        assert_eq!(last_words(b"one\n\n  two\x07\n"), "one; two");
        assert_eq!(last_words("x".repeat(5000).as_bytes()).len(), WORDS);
    }
}
