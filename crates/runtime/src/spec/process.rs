//! Arguments, environment, resource limits and OOM score of a container's first process.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder};

use crate::clamp::{Held, OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN, Warning};
use crate::config::{ContainerConfig, ImageDefaults};

use super::error::shortened;
use super::{Error, Ulimit};

/// Used where nobody sets `PATH`, so that a plain command name works in an image without configuration.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Merges command and arguments as Docker and CRI do: a command of the request replaces entrypoint and cmd, arguments
/// alone replace cmd.
///
/// # Errors
/// [`Error::NoCommand`] for an empty result, [`Error::Text`] for a NUL inside an argument.
pub fn args(container: &ContainerConfig, image: &ImageDefaults) -> Result<Vec<String>, Error> {
    let (first, then) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (&container.command, &container.args),
        (true, false) => (&image.entrypoint, &container.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let args: Vec<String> = first.iter().chain(then).cloned().collect();
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::NoCommand { image: container.image.clone() });
    }
    check_args(&args)?;
    Ok(args)
}

/// # Errors
/// [`Error::Text`] for a NUL inside an argument, which no exec can pass on.
pub(super) fn check_args(args: &[String]) -> Result<(), Error> {
    match args.iter().find(|arg| arg.contains('\0')) {
        Some(arg) => {
            Err(Error::Text { field: "argument", name: shortened(arg), reason: "contains a NUL byte" })
        }
        None => Ok(()),
    }
}

/// Variables in the order of their first appearance; a later value replaces an earlier one in place.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Node defaults, then the image's, then the request's. Entries of the node or image without `=` or name are
    /// dropped and never looked up in the daemon's own environment (CVE-2026-57231).
    ///
    /// # Errors
    /// [`Error::Text`] for a variable of the request that a spec cannot carry.
    pub(super) fn of(
        node: &[String],
        image: &ImageDefaults,
        container: &ContainerConfig,
        hostname: &str,
    ) -> Result<Self, Error> {
        let mut environment = Self::default();
        environment.set("PATH", DEFAULT_PATH);
        if !hostname.is_empty() {
            environment.set("HOSTNAME", hostname);
        }
        if container.tty {
            environment.set("TERM", "xterm");
        }
        for entry in node.iter().chain(&image.env) {
            match entry.split_once('=') {
                Some((name, value)) if !name.is_empty() && !entry.contains('\0') => {
                    environment.set(name, value)
                }
                Some(_) | None => {}
            }
        }
        for (name, value) in &container.envs {
            environment.set_requested(name, value)?;
        }
        if environment.get("HOME").is_some_and(|home| home.contains('\n')) {
            let reason = "contains a line break";
            return Err(Error::Text { field: "environment variable", name: "HOME".to_owned(), reason });
        }
        Ok(environment)
    }

    /// Gives a process without `HOME` the user's own, or `/`; OCI runtimes do the same where they look at all.
    pub(super) fn default_home(&mut self, home: Option<&str>) {
        if self.get("HOME").is_none_or(str::is_empty) {
            self.set("HOME", home.filter(|home| !home.contains(char::is_control)).unwrap_or("/"));
        }
    }

    fn set_requested(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let refused = |reason| Error::Text { field: "environment variable", name: shortened(name), reason };
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(refused("is not a usable name"));
        }
        let value = std::str::from_utf8(value).map_err(|_| refused("has a value that is not UTF-8"))?;
        if value.contains('\0') {
            return Err(refused("has a value with a NUL byte"));
        }
        self.set(name, value);
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn to_oci(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// The node's default limits, lowered to what the daemon may set.
pub(super) fn rlimits(ulimits: &[Ulimit], held: &Held, warnings: &mut Vec<Warning>) -> Vec<PosixRlimit> {
    ulimits
        .iter()
        .map(|ulimit| {
            let hard = held.hard_limit(ulimit.limit, ulimit.hard);
            if hard < ulimit.hard {
                let limit = ulimit.limit.to_string();
                warnings.push(Warning::ResourceLimit { limit, wanted: ulimit.hard, given: hard });
            }
            let builder =
                PosixRlimitBuilder::default().typ(ulimit.limit).hard(hard).soft(ulimit.soft.min(hard));
            // The builder fails only for fields without a value, and every field has a default.
            builder.build().unwrap_or_default()
        })
        .collect()
}

/// The OOM score adjustment, lowered to what the daemon may set.
///
/// # Errors
/// [`Error::Number`] outside of the kernel's range.
pub(super) fn oom_score_adj(wanted: i64, held: &Held, warnings: &mut Vec<Warning>) -> Result<i32, Error> {
    let wanted = i32::try_from(wanted)
        .ok()
        .filter(|score| (OOM_SCORE_ADJ_MIN..=OOM_SCORE_ADJ_MAX).contains(score))
        .ok_or(Error::Number { field: "oom_score_adj", value: wanted })?;
    let given = held.oom_score_adj(wanted);
    if given != wanted {
        warnings.push(Warning::OomScoreAdj { wanted, given });
    }
    Ok(given)
}

/// Realtime signals as glibc numbers them (signal(7)): SIGRTMIN is 34, SIGRTMAX 64.
const REALTIME: (i32, i32) = (34, 64);
const SIGTERM: i32 = 15;
const SIGNALS: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", SIGTERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Reads a signal as images write it: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`. `None` if there is none such.
pub fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REALTIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let realtime = |rest: &str, base: i32, sign: char| match rest.strip_prefix(sign) {
        Some(offset) => Some((base, offset.parse::<u8>().ok()?.into())),
        None => rest.is_empty().then_some((base, 0)),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        let (base, offset): (i32, i32) = realtime(rest, REALTIME.0, '+')?;
        base + offset
    } else {
        let (base, offset): (i32, i32) = realtime(name.strip_prefix("RTMAX")?, REALTIME.1, '-')?;
        base - offset
    };
    (REALTIME.0..=REALTIME.1).contains(&number).then_some(number)
}

/// The signal that stops the container: the request's, else the image's, else SIGTERM.
///
/// # Errors
/// [`Error::Number`] for a number of the request that is no signal.
pub(super) fn stop_signal(
    container: &ContainerConfig,
    image: &ImageDefaults,
    warnings: &mut Vec<Warning>,
) -> Result<i32, Error> {
    if let Some(number) = container.stop_signal {
        let known = (1..=REALTIME.1).contains(&number);
        return if known {
            Ok(number)
        } else {
            Err(Error::Number { field: "stop_signal", value: number.into() })
        };
    }
    if image.stop_signal.is_empty() {
        return Ok(SIGTERM);
    }
    Ok(signal(&image.stop_signal).unwrap_or_else(|| {
        warnings.push(Warning::StopSignal { signal: shortened(&image.stop_signal) });
        SIGTERM
    }))
}

#[cfg(test)]
mod tests;
