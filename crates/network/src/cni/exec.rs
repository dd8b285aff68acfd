//! Running one plugin: a clean environment, the limits of [`ochre_sys::invoke`], and what its answer means.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use ochre_sys::invoke::{self, End, Limits};
use serde::Deserialize;
use serde_json::Value;

use super::{CniError, Verb};

const STDOUT_LIMIT: usize = 1 << 20;
const STDERR_KEPT: usize = 64 << 10;
/// Bytes of rubbish shown in an error.
const SHOWN: usize = 256;
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
    let limits = Limits { deadline: invocation.deadline.at, stdout: STDOUT_LIMIT, stderr: STDERR_KEPT };
    let input = invocation.input.to_string();
    let outcome = invoke::run(&mut command(invocation), input.as_bytes(), limits).map_err(failed)?;
    let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let (plugin, verb) = (invocation.plugin.to_owned(), invocation.verb);
    match outcome.end {
        End::Deadline => {
            Err(CniError::PluginTimeout { plugin, verb, after: invocation.deadline.allowed, stderr })
        }
        End::Flood => Err(CniError::PluginFlood { plugin, verb, limit: STDOUT_LIMIT }),
        End::Exited(status) => interpret(invocation, status, &outcome.stdout, stderr),
    }
}

fn command(invocation: &Invocation<'_>) -> Command {
    let mut command = Command::new(invocation.program);
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(invocation.environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/");
    command
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
