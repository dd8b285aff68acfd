//! Closed sets of words, durations, and the storage options with their own way to merge.

use std::time::Duration;

use super::{Given, OptionType, Wrong, quoted, wrong_type};

/// Defines an enum whose values are words in the configuration.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $refusal:expr, { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word in the configuration.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl OptionType for $name {
            const EXPECTED: &'static str = concat!("one of" $(, " ", $word)+);

            fn read(given: Given<'_>) -> Result<Self, Wrong> {
                let text = String::read(given).map_err(|_| wrong_type::<Self>(given))?;
                match text.as_str() {
                    $($word $(| $alias)* => Ok(Self::$variant),)+
                    _ => Err($refusal(&text, Self::EXPECTED)),
                }
            }

            fn write(&self) -> String {
                quoted(self.word())
            }
        }
    };
}

fn refusal(_text: &str, expected: &str) -> Wrong {
    format!("expected {expected}")
}

fn level_refusal(text: &str, expected: &str) -> Wrong {
    format!("not a valid logrus Level: {}, expected {expected}", quoted(text))
}

words!(
    /// Least severe messages that are logged.
    LogLevel, level_refusal, {
        /// Only what ends the program.
        Fatal = "fatal" | "panic",
        /// Failures.
        Error = "error",
        /// Also what may become one.
        Warn = "warn" | "warning",
        /// Also what is done.
        Info = "info",
        /// Also requests and answers.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);
words!(
    /// Who makes the control groups of containers.
    CgroupManager, refusal, {
        /// systemd.
        Systemd = "systemd",
        /// The OCI runtime.
        Cgroupfs = "cgroupfs",
    }
);
words!(
    /// How a runtime handler is driven.
    RuntimeType, refusal, {
        /// An OCI command-line runtime.
        Oci = "oci",
        /// A shim-v2 virtual machine runtime.
        Vm = "vm",
        /// As `oci`; CRI-O uses a monitor per pod for it.
        Pod = "pod",
    }
);
words!(
    /// What becomes of volumes that an image declares.
    ImageVolumes, refusal, {
        /// An empty directory in the container.
        Mkdir = "mkdir",
        /// A directory of the engine, mounted.
        Bind = "bind",
        /// Nothing.
        Ignore = "ignore",
    }
);
words!(
    /// What an image name without a registry may mean.
    ShortNameMode, refusal, {
        /// Refused when several registries are configured.
        Enforcing = "enforcing",
        /// The first registry that has it.
        Disabled = "disabled",
    }
);
words!(
    /// Lowest TLS version of the streaming and metrics servers.
    TlsVersion, refusal, {
        /// 1.2.
        Tls12 = "VersionTLS12",
        /// 1.3.
        Tls13 = "VersionTLS13",
    }
);

/// Driver options of the storage: later files add to them, the last of equal ones stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StorageOptions(pub Vec<String>);

impl OptionType for StorageOptions {
    const EXPECTED: &'static str = <Vec<String>>::EXPECTED;
    const IS_LIST: bool = true;

    fn read(given: Given<'_>) -> Result<Self, Wrong> {
        <Vec<String>>::read(given).map(Self)
    }

    fn write(&self) -> String {
        self.0.write()
    }

    fn merge(&mut self, later: Self) {
        for option in later.0 {
            self.0.retain(|known| *known != option);
            self.0.push(option);
        }
    }
}

/// A duration as Go writes it: `1h30m`, `500ms`, `0`; empty is zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            "us" | "µs" => Duration::from_micros(1),
            "ns" => Duration::from_nanos(1),
            _ => return None,
        };
        rest = &rest[unit_end..];
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
    }
    Some(total)
}

pub(super) fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else if duration.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}ns", duration.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, nanoseconds) in [
            ("", 0),
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h0m1s", 3_601_000_000_000),
            ("250ms", 250_000_000),
            ("7ns", 7),
        ] {
            let parsed = duration(text).unwrap();
            assert_eq!(parsed.as_nanos(), nanoseconds, "{text}");
            assert_eq!(duration(&duration_text(parsed)), Some(parsed), "{text}");
        }
        for text in ["5", "s", "-5s", "5 s", "5x", "1.5h", "99999999999999999999s", "4294967295h9999999999h"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
