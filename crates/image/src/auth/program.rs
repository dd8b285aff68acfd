//! Credential programs: `docker-credential-<name> get`, as Docker and containers/image call them.
//!
//! The server's name goes in on standard input, JSON comes back: `{"ServerURL": …, "Username": …, "Secret": …}`. The user
//! name `<token>` says that the secret is a refresh token. "credentials not found" on standard output means none.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ochre_sys::invoke::{self, End, Limits};
use ochre_types::Secret;
use serde::Deserialize;

use super::{AuthError, Credentials};

/// Programs ask cloud services, which may take a while; a pull must not wait for ever.
const ALLOWED: Duration = Duration::from_secs(30);
const OUTPUT_MAX: usize = 64 << 10;
/// Bytes of a complaint that are shown.
const SHOWN: usize = 256;
/// What programs print for a server they know nothing of.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks a refresh token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks a program for the credentials of `server`; `None` when it has none. Blocking, 30 s at most. The program gets this
/// process's environment, as cloud programs expect it.
///
/// # Errors
/// The name is not one, or the program cannot be run, fails, takes too long or answers rubbish.
pub(super) fn ask(name: &str, server: &str) -> Result<Option<Credentials>, AuthError> {
    let failed = |reason: String| AuthError::Program { program: name.to_owned(), reason };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(good) {
        return Err(failed("that is not a program's name".into()));
    }
    run(Path::new(&format!("docker-credential-{name}")), name, server)
}

/// Runs the program at `path`, looked for in $PATH if that is a bare name.
pub(super) fn run(path: &Path, name: &str, server: &str) -> Result<Option<Credentials>, AuthError> {
    let failed = |reason: String| AuthError::Program { program: name.to_owned(), reason };
    let mut command = Command::new(path);
    command.arg("get").current_dir("/");
    let outcome = invoke::run(
        &mut command,
        format!("{server}\n").as_bytes(),
        Limits::within(ALLOWED, OUTPUT_MAX, SHOWN),
    );
    let mut outcome = outcome.map_err(|source| failed(source.to_string()))?;
    let result = match outcome.end {
        End::Exited(status) if status.success() => answered(&outcome.stdout).map_err(failed),
        End::Exited(_) if String::from_utf8_lossy(&outcome.stdout).contains(NOT_FOUND) => Ok(None),
        End::Exited(status) => Err(failed(format!("{status}: {}", shown(&outcome.stdout, &outcome.stderr)))),
        End::Deadline => Err(failed(format!("no answer within {} s", ALLOWED.as_secs()))),
        End::Flood => Err(failed(format!("more than {OUTPUT_MAX} bytes of answer"))),
    };
    outcome.stdout.fill(0);
    result
}

fn answered(stdout: &[u8]) -> Result<Option<Credentials>, String> {
    // The text of the answer holds the secret and is not repeated.
    let answer: Answer = serde_json::from_slice(stdout).map_err(|error| {
        format!("its answer is not JSON (line {}, column {})", error.line(), error.column())
    })?;
    let secret = Secret::new(answer.secret);
    Ok(match answer.username.as_str() {
        _ if secret.is_empty() => None,
        TOKEN_USER => Some(Credentials::Identity(secret)),
        "" => None,
        _ => Some(Credentials::Basic { username: answer.username, password: secret }),
    })
}

/// A program that fails says why on standard output, by the protocol; some use standard error.
fn shown(stdout: &[u8], stderr: &[u8]) -> String {
    let text = if stdout.is_empty() { stderr } else { stdout };
    String::from_utf8_lossy(text).trim().chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
