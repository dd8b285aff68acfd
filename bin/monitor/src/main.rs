//! `ochre-monitor`: the pod monitor, and with the argument `pause` the pod's pause process.
//!
//! ```text
//! ochre-monitor --dir DIR     serve a pod; descriptor 3 is the listening socket DIR/monitor.sock
//! ochre-monitor pause         be PID 1 of a PID namespace
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

/// What was asked for on the command line.
enum Role {
    Monitor(PathBuf),
    Pause,
}

fn main() -> ExitCode {
    let result = match role() {
        Some(Role::Pause) => ochre_monitor_core::pause(),
        Some(Role::Monitor(dir)) => ochre_monitor_core::run(&dir),
        None => {
            eprintln!(
                "usage: ochre-monitor --dir DIR (listening socket as descriptor 3) | ochre-monitor pause"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            eprintln!("ochre-monitor: {error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn role() -> Option<Role> {
    let mut arguments = std::env::args_os().skip(1);
    let role = match arguments.next()?.to_str()? {
        "pause" => Role::Pause,
        "--dir" => Role::Monitor(Some(PathBuf::from(arguments.next()?)).filter(|dir| dir.is_absolute())?),
        _ => return None,
    };
    arguments.next().is_none().then_some(role)
}
