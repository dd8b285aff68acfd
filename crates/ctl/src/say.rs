//! What the client prints: answers on standard output, everything else on standard error, one line each.

use std::io::{IsTerminal as _, Write as _};

use crate::error::Error;

/// Part of the answer.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn answer(text: &str) -> Result<(), Error> {
    bytes(text.as_bytes())
}

/// Part of the answer that need not be text.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Something that went its way.
pub(crate) fn note(message: &str) {
    line("info", "INFO", message);
}

/// Something the user should know.
pub(crate) fn warning(message: &str) {
    line("warning", "WARN", message);
}

/// Something that failed, but is not the end.
pub(crate) fn failure(message: &str) {
    line("error", "ERRO", message);
}

/// The end.
pub(crate) fn fatal(message: &str) {
    line("fatal", "FATA", message);
}

/// The form crictl's users know: short on a terminal, machine-readable elsewhere.
fn line(level: &str, short: &str, message: &str) {
    let mut out = std::io::stderr().lock();
    let written = if out.is_terminal() {
        writeln!(out, "{short} {message}")
    } else {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        writeln!(out, "time=\"{time}\" level={level} msg={}", serde_json::Value::from(message))
    };
    // There is nowhere else to say it.
    drop(written);
}
