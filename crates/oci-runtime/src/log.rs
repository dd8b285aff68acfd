//! The log file that an engine names with `--log`, in the formats of runc.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde::Serialize;

use crate::cli::{Global, LogFormat};

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The verb failed.
    Error,
    /// Something asked for was given in a weaker form.
    Warning,
    /// Only with `--debug`.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: Option<std::fs::File>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    /// Opens the log of an invocation. A log that cannot be opened must not keep a container from being stopped, so
    /// its lines are then lost; errors are on standard error anyway.
    pub fn open(global: &Global) -> Self {
        let open = |path| std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).ok();
        Self { file: global.log.as_ref().and_then(open), format: global.log_format, debug: global.debug }
    }

    /// Writes one line.
    pub fn write(&mut self, level: Level, message: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        let Some(file) = &mut self.file else { return };
        let time = rfc3339(ochre_types::Timestamp::now());
        let line = match self.format {
            LogFormat::Json => {
                serde_json::to_string(&Line { level: level.name(), msg: message, time: &time })
            }
            LogFormat::Text => serde_json::to_string(message)
                .map(|msg| format!("time=\"{time}\" level={} msg={msg}", level.name())),
        };
        // One write per line keeps lines of several processes apart; a full disk loses the line, not the verb.
        if let Ok(line) = line {
            drop(file.write_all(format!("{line}\n").as_bytes()));
        }
    }
}

/// Writes an instant as `2026-01-31T23:59:59Z`.
pub(crate) fn rfc3339(instant: ochre_types::Timestamp) -> String {
    let seconds = instant.nanos().div_euclid(1_000_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to civil date, in eras of 400 years that start on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_civil_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(ochre_types::Timestamp::from_nanos(seconds * 1_000_000_000)), text);
        }
    }
}
