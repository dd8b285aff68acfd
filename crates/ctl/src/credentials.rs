//! Who pulls: `--creds`, `--auth`, or a user whose password is asked for.

use std::io::BufRead as _;

use ochre_cri_api as api;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::error::Error;
use crate::parse::Parsed;
use crate::say;

/// The longest password that is read, bytes.
const MAX_PASSWORD: u64 = 4096;

/// What the flags say; `None` leaves it to the engine.
///
/// # Errors
/// Flags that contradict each other.
pub(crate) fn credentials(given: &Parsed) -> Result<Option<api::AuthConfig>, Error> {
    let (creds, auth, username) = (given.text("creds"), given.text("auth"), given.text("username"));
    if !username.is_empty() {
        let password = ask()?;
        return Ok(Some(api::AuthConfig { username: username.to_owned(), password, ..Default::default() }));
    }
    match (creds, auth) {
        ("", "") => Ok(None),
        ("", auth) => Ok(Some(api::AuthConfig { auth: auth.to_owned(), ..Default::default() })),
        (creds, "") => {
            let (username, password) = creds.split_once(':').unwrap_or((creds, ""));
            if username.is_empty() {
                return Err(Error::arguments("username can't be empty"));
            }
            let (username, password) = (username.to_owned(), password.to_owned());
            Ok(Some(api::AuthConfig { username, password, ..Default::default() }))
        }
        _ => Err(Error::arguments("both `--creds` and `--auth` are specified")),
    }
}

/// Reads a line from the terminal without showing it.
fn ask() -> Result<String, Error> {
    say::answer("Enter Password:")?;
    let stdin = std::io::stdin().lock();
    let before = tcgetattr(&stdin).ok();
    if let Some(mut quiet) = before.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        if tcsetattr(&stdin, OptionalActions::Now, &quiet).is_err() {
            say::warning("this terminal shows what is typed");
        }
    }
    let mut line = String::new();
    let mut limited = std::io::Read::take(stdin, MAX_PASSWORD);
    let read = limited.read_line(&mut line);
    if let Some(before) = before {
        tcsetattr(limited.into_inner(), OptionalActions::Now, &before)
            .map_err(|error| Error::File { path: "terminal".into(), source: error.into() })?;
    }
    say::answer("\n")?;
    read.map_err(|source| Error::File { path: "standard input".into(), source })?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
