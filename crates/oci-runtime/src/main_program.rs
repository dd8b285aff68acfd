//! From the command line to the exit status.

use std::io::Write;
use std::process::ExitCode;

use crate::cli;
use crate::error::Error;
use crate::log::{Level, Log};
use crate::verbs;

/// Runs the program: 0 for success, the process's own status for an exec that waits, 1 for every failure, which is
/// told on standard error and in the log.
pub fn main() -> ExitCode {
    // A container's process is this program until `start`, and is signalled as what it will be.
    ochre_sys::exec::default_faults();
    let invocation = match cli::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err((global, error)) => return fail(&mut Log::open(&global), &error.into()),
    };
    let mut log = Log::open(&invocation.global);
    match verbs::run(&invocation, &mut log) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&mut log, &error),
    }
}

fn fail(log: &mut Log, error: &Error) -> ExitCode {
    let message = error.describe();
    log.write(Level::Error, &message);
    // Without a standard error there is still the log and the status.
    drop(writeln!(std::io::stderr(), "{message}"));
    ExitCode::FAILURE
}
