//! Linux capability numbers and names, and setting the five sets of the calling thread.

use std::io;

use rustix::thread::CapabilitySet;

/// Names in the order of their numbers, without the `CAP_` prefix (capabilities(7), Linux 5.9 and later).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities as a bit mask: bit `n` is capability number `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Every capability that has a name here.
    pub const KNOWN: Self = Self((1 << NAMES.len()) - 1);

    /// Those in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in this set and not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the numbered capability is in the set.
    pub fn contains(self, number: u8) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// Adds the numbered capability.
    pub fn insert(&mut self, number: u8) {
        if number < 64 {
            self.0 |= 1 << number;
        }
    }

    /// The numbers in the set, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |number| self.contains(*number))
    }
}

/// The number of a capability by its name, with or without `CAP_`, in any case. `None` for an unknown name.
pub fn number(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).and_then(|n| u8::try_from(n).ok())
}

/// The full name (`CAP_…`) of a capability number, `None` beyond the known ones.
pub fn name(number: u8) -> Option<String> {
    NAMES.get(usize::from(number)).map(|name| format!("CAP_{name}"))
}

/// All names with the `CAP_` prefix, by number.
pub fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// The effective set of the calling thread.
///
/// # Errors
/// The error of `capget`.
pub fn effective() -> io::Result<Capabilities> {
    Ok(Capabilities(rustix::thread::capabilities(None)?.effective.bits()))
}

/// The permitted set of the calling thread.
///
/// # Errors
/// The error of `capget`.
pub fn permitted() -> io::Result<Capabilities> {
    Ok(Capabilities(rustix::thread::capabilities(None)?.permitted.bits()))
}

/// The bounding set of the calling thread.
pub fn bounding() -> Capabilities {
    let mut set = Capabilities::default();
    for number in 0..64_u8 {
        match rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(true) => set.insert(number),
            Ok(false) => {}
            // The first number that the kernel does not know ends the walk.
            Err(_) => break,
        }
    }
    set
}

/// Removes from the bounding set all but `keep`. Needs `CAP_SETPCAP`.
///
/// # Errors
/// The error of `PR_CAPBSET_DROP`.
pub fn limit_bounding(keep: Capabilities) -> io::Result<()> {
    for number in bounding().difference(keep).numbers() {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable sets of the calling thread exactly.
///
/// # Errors
/// `EPERM` for a capability that the thread does not hold.
pub fn set(effective: Capabilities, permitted: Capabilities, inheritable: Capabilities) -> io::Result<()> {
    let sets = rustix::thread::CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective.0),
        permitted: CapabilitySet::from_bits_retain(permitted.0),
        inheritable: CapabilitySet::from_bits_retain(inheritable.0),
    };
    rustix::thread::set_capabilities(None, sets).map_err(io::Error::from)
}

/// Sets the ambient set of the calling thread exactly. A capability must be permitted and inheritable to be ambient.
///
/// # Errors
/// `EPERM` for a capability that is not both.
pub fn set_ambient(ambient: Capabilities) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in ambient.numbers() {
        rustix::thread::configure_capability_in_ambient_set(
            CapabilitySet::from_bits_retain(1 << number),
            true,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_kernel() {
        for (name_given, expected) in
            [("CAP_CHOWN", 0), ("cap_sys_admin", 21), ("MKNOD", 27), ("CAP_CHECKPOINT_RESTORE", 40)]
        {
            assert_eq!(number(name_given), Some(expected), "{name_given}");
        }
        assert_eq!(number("CAP_NOT_YET"), None);
        assert_eq!(name(39).as_deref(), Some("CAP_BPF"));
        assert_eq!(name(63), None);
    }

    #[test]
    fn set_arithmetic() {
        let mut set = Capabilities::default();
        set.insert(0);
        set.insert(40);
        assert_eq!(set.numbers().collect::<Vec<_>>(), [0, 40]);
        assert_eq!(set.difference(Capabilities(1)).0, 1 << 40);
        assert!(!set.contains(200));
    }
}
