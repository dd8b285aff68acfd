//! The five capability sets of a process.
//!
//! Names come from the configuration and from requests, with or without `CAP_`; numbers are the kernel's
//! (`include/uapi/linux/capability.h`, up to 40 in Linux 5.9 and later). Inheritable and ambient stay empty unless
//! somebody asked for them by name: a non-empty inheritable set hands capabilities to files that ask for them
//! (CVE-2022-27652), and ambient ones survive the change to a non-root user (CVE-2018-1000400).

use std::collections::BTreeSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::clamp::Held;
use crate::config::Capabilities;

use super::Error;

/// Every capability in the order of its number: index 0 is number 0.
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// A set of capabilities as the kernel keeps it: bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability this engine knows.
    pub const ALL: Self = Self((1 << BY_NUMBER.len()) - 1);

    /// From the kernel's bits (`/proc/<pid>/status`); capabilities newer than this engine are left out.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= bit(capability);
    }

    /// Takes one away.
    pub fn remove(&mut self, capability: Capability) {
        self.0 &= !bit(capability);
    }

    /// Whether it is in the set.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// What both sets have.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What this set has and the other lacks.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What either set has.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        BY_NUMBER.into_iter().filter(move |capability| self.contains(*capability))
    }

    /// The members' names, `CAP_` in front, by number.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|capability| format!("CAP_{capability}")).collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        let mut set = Self::EMPTY;
        capabilities.into_iter().for_each(|capability| set.insert(capability));
        set
    }
}

fn bit(capability: Capability) -> u64 {
    BY_NUMBER.iter().position(|known| *known == capability).map_or(0, |number| 1 << number)
}

/// Reads a capability name in any case, with or without `CAP_`.
///
/// # Errors
/// [`Error::UnknownCapability`].
pub fn parse(name: &str) -> Result<Capability, Error> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse().map_err(|_| Error::UnknownCapability { name: name.to_owned() })
}

/// The sets of one process before they are written into its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// Bounding, permitted and effective.
    pub granted: CapabilitySet,
    /// Inheritable.
    pub inheritable: CapabilitySet,
    /// Ambient.
    pub ambient: CapabilitySet,
}

impl Sets {
    /// No capability at all.
    pub const NONE: Self = Self {
        granted: CapabilitySet::EMPTY,
        inheritable: CapabilitySet::EMPTY,
        ambient: CapabilitySet::EMPTY,
    };

    /// All of them in every set: a privileged container.
    pub const PRIVILEGED: Self =
        Self { granted: CapabilitySet::ALL, inheritable: CapabilitySet::ALL, ambient: CapabilitySet::ALL };

    /// The node's defaults changed by what the container asks for.
    ///
    /// `ALL` counts first on either side, then the single names: `drop: ALL, add: KILL` leaves KILL, as CRI-O does.
    ///
    /// # Errors
    /// [`Error::UnknownCapability`] for any name that is not one.
    pub fn requested(
        defaults: CapabilitySet,
        inheritable: bool,
        asked: &Capabilities,
    ) -> Result<Self, Error> {
        let (add, add_all) = names(&asked.add)?;
        let (drop, drop_all) = names(&asked.drop)?;
        let (ambient, ambient_all) = names(&asked.add_ambient)?;
        let mut ambient = if ambient_all { CapabilitySet::ALL } else { ambient };
        let mut granted = if add_all { CapabilitySet::ALL } else { defaults };
        if drop_all {
            granted = CapabilitySet::EMPTY;
        }
        granted = granted.union(add).union(ambient).difference(drop);
        ambient = ambient.difference(drop);
        Ok(Self { granted, inheritable: if inheritable { granted } else { ambient }, ambient })
    }

    /// Only what the daemon itself holds, and what had to go.
    pub fn clamped(self, held: &Held) -> (Self, CapabilitySet) {
        let may = held.capabilities();
        let clamped = Self {
            granted: self.granted.intersection(may),
            inheritable: self.inheritable.intersection(may),
            ambient: self.ambient.intersection(may),
        };
        (clamped, self.granted.difference(may))
    }

    /// All five sets written out.
    pub fn to_oci(self) -> LinuxCapabilities {
        let mut written = LinuxCapabilities::default();
        written
            .set_bounding(Some(self.granted.iter().collect()))
            .set_effective(Some(self.granted.iter().collect()))
            .set_permitted(Some(self.granted.iter().collect()))
            .set_inheritable(Some(self.inheritable.iter().collect()))
            .set_ambient(Some(self.ambient.iter().collect()));
        written
    }
}

/// The named capabilities, and whether `ALL` was among them.
fn names(list: &[String]) -> Result<(CapabilitySet, bool), Error> {
    let distinct: BTreeSet<&str> = list.iter().map(String::as_str).collect();
    let (mut set, mut all) = (CapabilitySet::EMPTY, false);
    for name in distinct {
        if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
            all = true;
        } else {
            set.insert(parse(name)?);
        }
    }
    Ok((set, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(add: &[&str], drop: &[&str], ambient: &[&str]) -> Capabilities {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Capabilities { add: owned(add), drop: owned(drop), add_ambient: owned(ambient) }
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (number, name) in [
            (0, "CHOWN"),
            (12, "NET_ADMIN"),
            (21, "SYS_ADMIN"),
            (24, "SYS_RESOURCE"),
            (40, "CHECKPOINT_RESTORE"),
        ] {
            assert_eq!(bit(parse(name).unwrap()), 1 << number, "{name}");
        }
        assert_eq!(CapabilitySet::ALL.iter().count(), 41);
        assert_eq!(CapabilitySet::from_bits(u64::MAX), CapabilitySet::ALL);
    }

    #[test]
    fn add_and_drop_follow_one_table() {
        let defaults: CapabilitySet = [Capability::Chown, Capability::Kill].into_iter().collect();
        for (add, drop, expected) in [
            (&[][..], &[][..], &["CAP_CHOWN", "CAP_KILL"][..]),
            (&["NET_ADMIN"], &[], &["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"]),
            (&["cap_net_admin"], &["CAP_CHOWN"], &["CAP_KILL", "CAP_NET_ADMIN"]),
            (&["KILL"], &["ALL"], &["CAP_KILL"]),
            (&["ALL"], &["ALL"], &[]),
            (&["KILL"], &["KILL"], &["CAP_CHOWN"]),
        ] {
            let sets = Sets::requested(defaults, false, &asked(add, drop, &[])).unwrap();
            assert_eq!(sets.granted.names(), expected, "add {add:?} drop {drop:?}");
            assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        }
        let all = Sets::requested(defaults, false, &asked(&["all"], &["SYS_ADMIN"], &[])).unwrap();
        assert_eq!(CapabilitySet::ALL.difference(all.granted).names(), ["CAP_SYS_ADMIN"]);
    }

    #[test]
    fn ambient_is_in_all_five_sets_and_only_when_asked() {
        let sets =
            Sets::requested(CapabilitySet::EMPTY, false, &asked(&["KILL"], &[], &["NET_RAW"])).unwrap();
        assert_eq!(sets.granted.names(), ["CAP_KILL", "CAP_NET_RAW"]);
        assert_eq!(sets.inheritable.names(), ["CAP_NET_RAW"]);
        assert_eq!(sets.ambient.names(), ["CAP_NET_RAW"]);
        let option = Sets::requested(CapabilitySet::EMPTY, true, &asked(&["KILL"], &[], &[])).unwrap();
        assert_eq!((option.inheritable, option.ambient), (option.granted, CapabilitySet::EMPTY));
    }

    #[test]
    fn unknown_names_are_refused_wherever_they_stand() {
        for list in
            [asked(&["NET_ADMN"], &[], &[]), asked(&[], &["CAP_CAP_KILL"], &[]), asked(&[], &[], &[""])]
        {
            assert!(matches!(
                Sets::requested(CapabilitySet::ALL, false, &list),
                Err(Error::UnknownCapability { .. })
            ));
        }
    }

    #[test]
    fn what_the_daemon_lacks_is_taken_away_and_named() {
        let mut may = CapabilitySet::ALL;
        may.remove(Capability::SysResource);
        let (sets, lost) = Sets::PRIVILEGED.clamped(&Held::everything().with_capabilities(may));
        assert_eq!(lost.names(), ["CAP_SYS_RESOURCE"]);
        assert!(
            !sets.granted.contains(Capability::SysResource)
                && !sets.ambient.contains(Capability::SysResource)
        );
    }
}
