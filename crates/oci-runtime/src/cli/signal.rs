//! Names of signals.

use super::UsageError;

/// Names by number, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// First and last real-time signal, as glibc counts them.
const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3` or `RTMAX-1`.
pub(super) fn parse(text: &str) -> Result<i32, UsageError> {
    let invalid = || UsageError::InvalidSignal { signal: text.to_owned() };
    if let Ok(number) = text.parse::<i32>() {
        // 0 asks only whether the process exists.
        return if (0..=*REALTIME.end()).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |base: i32, rest: &str, sign: i32| -> Option<i32> {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.get(1..)?.parse::<i32>().ok().filter(|n| (0..=30).contains(n))?
        };
        Some(base + sign * offset).filter(|number| REALTIME.contains(number))
    };
    let found = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => realtime(*REALTIME.start(), rest, 1),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => realtime(*REALTIME.end(), rest, -1),
        _ => {
            let name = if name == "POLL" { "IO" } else { name };
            NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok())
        }
    };
    found.ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, number) in [
            ("9", 9),
            ("SIGKILL", 9),
            ("term", 15),
            ("sigwinch", 28),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGPOLL", 29),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "SIG", "65", "-1", "RTMIN+31", "RTMAX+1", "RTMIN-1", "KILL ", "RTMINé"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
