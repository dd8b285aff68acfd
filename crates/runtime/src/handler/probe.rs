//! Finding a runtime and asking it, under a deadline and with a limit on what it may answer.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ochre_sys::invoke::{self, End, Limits};

use super::{DEFAULT_ROOT, Handler, HandlerConfig, HandlerError, HandlerFeatures, HandlerType};
use crate::spec::seccomp::SeccompProfile;

/// A runtime that is read from a slow disk for the first time, on a node that is starting, has taken more than two.
const LIMIT: Duration = Duration::from_secs(10);
/// Most output of each stream. Real feature documents have 10 KiB.
const MAX_OUTPUT: usize = 1 << 20;
const MAX_ERROR_TEXT: usize = 300;

/// Finds and asks one handler.
pub(super) fn handler(
    name: &str,
    config: &HandlerConfig,
    search_path: &OsStr,
) -> Result<Handler, HandlerError> {
    if config.kind == HandlerType::Vm {
        return Err(HandlerError::UnsupportedType { name: name.to_owned(), kind: config.kind.name() });
    }
    let path = match &config.path {
        Some(path) if !path.is_absolute() => {
            return Err(HandlerError::NotAbsolute { name: name.to_owned(), path: path.clone() });
        }
        Some(path) => path.clone(),
        None => {
            find(name, search_path).ok_or_else(|| HandlerError::NotInstalled { name: name.to_owned() })?
        }
    };
    // A handler whose profile cannot be used would run its containers under another one: better not at all.
    let seccomp = config.seccomp_profile.as_deref().map(|file| seccomp(name, file)).transpose()?;
    let version = ask(name, &path, "--version", search_path)?;
    if !version.status.success() {
        return Err(failed(name, &path, "--version", &version));
    }
    // Old runtimes do not know the verb: they get no optional field.
    let features = ask(name, &path, "features", search_path)?;
    let features = HandlerFeatures::new(
        &String::from_utf8_lossy(&version.stdout),
        features.status.success().then_some(features.stdout.as_slice()),
        &rustix::system::uname().release().to_string_lossy(),
    );
    let root = config.root.clone().unwrap_or_else(|| DEFAULT_ROOT.into());
    Ok(Handler {
        name: name.to_owned(),
        path,
        root,
        features,
        seccomp,
        host_devices: config.host_devices,
        allowed_annotations: config.allowed_annotations.clone().unwrap_or_default(),
    })
}

fn seccomp(name: &str, file: &Path) -> Result<SeccompProfile, HandlerError> {
    SeccompProfile::read(&file.to_string_lossy())
        .map_err(|source| HandlerError::Seccomp { name: name.to_owned(), source: Box::new(source) })
}

/// The first executable file of this name in a list of directories as `$PATH` writes it.
pub(super) fn find(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let is_executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(is_executable)
}

struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn failed(name: &str, path: &Path, argument: &'static str, answer: &Answer) -> HandlerError {
    let text = if answer.stderr.is_empty() { &answer.stdout } else { &answer.stderr };
    let text = String::from_utf8_lossy(text);
    let output = text.trim().chars().filter(|c| !c.is_control()).take(MAX_ERROR_TEXT).collect();
    HandlerError::Failed {
        name: name.to_owned(),
        path: path.to_path_buf(),
        argument,
        status: answer.status,
        output,
    }
}

fn ask(name: &str, path: &Path, argument: &'static str, search_path: &OsStr) -> Result<Answer, HandlerError> {
    let execute = |source| HandlerError::Execute { name: name.to_owned(), path: path.to_path_buf(), source };
    let mut command = Command::new(path);
    command.arg(argument).env_clear().env("PATH", search_path).current_dir("/");
    let limits = Limits::within(LIMIT, MAX_OUTPUT, MAX_OUTPUT);
    let outcome = invoke::run(&mut command, &[], limits).map_err(execute)?;
    match outcome.end {
        End::Exited(status) => Ok(Answer { status, stdout: outcome.stdout, stderr: outcome.stderr }),
        // What never ends to answer has not answered either.
        End::Deadline | End::Flood => Err(HandlerError::NoAnswer {
            name: name.to_owned(),
            path: path.to_path_buf(),
            argument,
            limit: LIMIT,
        }),
    }
}
