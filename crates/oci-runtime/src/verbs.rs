//! One file per verb of the command line.

use std::io::Write;
use std::path::Path;

use crate::cli::{Invocation, Verb};
use crate::error::{Error, step};
use crate::log::Log;

mod create;
mod delete;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod start;
mod state;
mod update;

/// Carries out a verb. The result is the exit status of the program: that of the process for an exec that waits,
/// otherwise 0.
///
/// # Errors
/// Why it could not be carried out.
pub(crate) fn run(invocation: &Invocation, log: &mut Log) -> Result<u8, Error> {
    let root = invocation.global.root.as_path();
    match &invocation.verb {
        Verb::Create(options) => create::create(&invocation.global, options, log)?,
        Verb::Exec(options) => return exec::exec(root, options, log),
        Verb::Start(id) => start::start(root, id, log)?,
        Verb::State(id) => state::state(root, id)?,
        Verb::Kill { id, signal, all } => kill::kill(root, id, *signal, *all)?,
        Verb::Delete { id, force } => delete::delete(root, id, *force, log)?,
        Verb::Update { id, resources } => update::update(root, id, resources, log)?,
        Verb::Ps(id) => ps::ps(root, id)?,
        Verb::Pause(id) => pause::pause(root, id)?,
        Verb::Resume(id) => pause::resume(root, id)?,
        Verb::List => list::list(root)?,
        Verb::Features => features::features()?,
        Verb::Version => print(&format!(
            "ochre-runtime version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            features::SPEC_VERSION
        ))?,
        Verb::Help => print(USAGE)?,
    }
    Ok(0)
}

const USAGE: &str = "\
usage: ochre-runtime [--root DIR] [--log FILE] [--log-format json|text] [--systemd-cgroup] [--debug] COMMAND

  create --bundle DIR [--pid-file FILE] [--console-socket PATH] [--no-pivot] [--preserve-fds N] ID
  start ID
  state ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  exec --process FILE [--pid-file FILE] [--console-socket PATH] [--detach] [--preserve-fds N] ID
  update --resources FILE|- ID
  ps --format json ID
  pause ID
  resume ID
  list --format json
  features
";

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(step("writing to standard output"))
}

/// Replaces a file that the caller named with a process id.
fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = std::fs::File::open(parent).map_err(failed)?;
    let durability = ochre_sys::atomic::Durability::Volatile;
    ochre_sys::atomic::write(&directory, name, pid.to_string().as_bytes(), 0o644, durability).map_err(failed)
}

/// Marks everything inherited close-on-exec, except what is to be preserved, which must be open: a free number there
/// would be taken by one of the runtime's own descriptors and leak it.
fn guard_descriptors(preserve: u32) -> Result<(), Error> {
    for number in 3..3 + preserve {
        if !i32::try_from(number).is_ok_and(ochre_sys::exec::is_open) {
            return Err(Error::NotOpen { number });
        }
    }
    ochre_sys::exec::cloexec_from(3 + preserve).map_err(step("guarding descriptors"))
}
