//! Running the hooks of a container.
//!
//! A hook gets the container's state on standard input, exactly the environment it names, and at most its timeout.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ochre_types::ErrorKind;
use thiserror::Error;

use crate::spec::Hook;

/// Why a hook counts as failed.
#[derive(Debug, Error)]
pub enum HookError {
    /// Its path is not absolute.
    #[error("{phase} hook {path} is not an absolute path")]
    RelativePath {
        /// Which list.
        phase: &'static str,
        /// The program.
        path: PathBuf,
    },
    /// It could not be run.
    #[error("cannot run {phase} hook {path}")]
    Run {
        /// Which list.
        phase: &'static str,
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{phase} hook {path} ended with {status}")]
    Status {
        /// Which list.
        phase: &'static str,
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not end.
    #[error("{phase} hook {path} did not end within {seconds} s")]
    Timeout {
        /// Which list.
        phase: &'static str,
        /// The program.
        path: PathBuf,
        /// The limit.
        seconds: u32,
    },
}

impl HookError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RelativePath { .. } => ErrorKind::InvalidArgument,
            Self::Run { .. } | Self::Status { .. } => ErrorKind::Internal,
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }
}

/// Runs hooks in order with the state document on their standard input.
///
/// # Errors
/// The first that fails; those after it are not run.
pub fn run(phase: &'static str, hooks: &[Hook], state: &str) -> Result<(), HookError> {
    hooks.iter().try_for_each(|hook| run_one(phase, hook, state))
}

fn run_one(phase: &'static str, hook: &Hook, state: &str) -> Result<(), HookError> {
    let path = || hook.path.clone();
    if !hook.path.is_absolute() {
        return Err(HookError::RelativePath { phase, path: path() });
    }
    let failed = |source| HookError::Run { phase, path: path(), source };
    let mut command = Command::new(&hook.path);
    if let Some((argv0, rest)) = hook.args.split_first() {
        command.arg0(argv0).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    // Its output must not mix with the container's, whose streams these are.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(state.as_bytes()) {
            // A hook need not read its input.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let status = match hook.timeout.filter(|seconds| *seconds > 0) {
        None => child.wait().map_err(failed)?,
        Some(seconds) => wait_until(&mut child, Duration::from_secs(seconds.into()))
            .map_err(failed)?
            .ok_or_else(|| HookError::Timeout { phase, path: path(), seconds })?,
    };
    if status.success() { Ok(()) } else { Err(HookError::Status { phase, path: path(), status }) }
}

/// Waits for the end; a child that is late is killed and `None` returned.
fn wait_until(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["ONLY=this".into()],
            timeout: None,
        }
    }

    #[test]
    fn hooks_see_the_state_and_only_their_environment() {
        run(
            "prestart",
            &[shell("read -r line; [ \"$line\" = state ] && [ \"$ONLY\" = this ] && [ -z \"$HOME\" ]")],
            "state\n",
        )
        .unwrap();
    }

    #[test]
    fn the_first_failure_ends_the_list() {
        let mark = std::env::temp_dir().join(format!("ochre-hook-{}", std::process::id()));
        let hooks = [shell("exit 3"), shell(&format!("touch {}", mark.display()))];
        assert!(matches!(run("prestart", &hooks, ""), Err(HookError::Status { .. })));
        assert!(!mark.exists());
    }

    #[test]
    fn a_hook_that_hangs_is_killed() {
        let hook = Hook { timeout: Some(1), ..shell("exec sleep 100") };
        assert!(matches!(run("poststop", &[hook], ""), Err(HookError::Timeout { seconds: 1, .. })));
    }

    #[test]
    fn a_hook_that_reads_nothing_and_gets_much_is_no_failure() {
        run("prestart", &[shell("exit 0")], &"x".repeat(1 << 20)).unwrap();
    }
}
