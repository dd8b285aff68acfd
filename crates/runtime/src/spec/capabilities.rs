//! The five capability sets of a process.
//!
//! Names come from the configuration and from requests, with or without `CAP_`; numbers and names are those of
//! [`ochre_sys::capability`], which knows the kernel's; here they meet the names of the OCI library. Inheritable and ambient stay empty unless
//! somebody asked for them by name: a non-empty inheritable set hands capabilities to files that ask for them
//! (CVE-2022-27652), and ambient ones survive the change to a non-root user (CVE-2018-1000400).

use std::collections::BTreeSet;

use ochre_sys::capability::{self, Capabilities as Numbers};
use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::clamp::Held;
use crate::config::Capabilities;

use super::Error;

/// A set of capabilities as the kernel keeps it, its members by their OCI names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(Numbers);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(Numbers(0));
    /// Every capability this engine knows.
    pub const ALL: Self = Self(Numbers::KNOWN);

    /// From the kernel's bits (`/proc/<pid>/status`); capabilities newer than this engine are left out.
    pub const fn from_bits(bits: u64) -> Self {
        Self(Numbers(bits).intersection(Numbers::KNOWN))
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 = self.0.union(only(capability));
    }

    /// Takes one away.
    pub fn remove(&mut self, capability: Capability) {
        self.0 = self.0.difference(only(capability));
    }

    /// Whether it is in the set.
    pub fn contains(self, capability: Capability) -> bool {
        !self.0.intersection(only(capability)).is_empty()
    }

    /// What both sets have.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0.intersection(other.0))
    }

    /// What this set has and the other lacks.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0.difference(other.0))
    }

    /// What either set has.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The members by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        self.0.numbers().filter_map(of_number)
    }

    /// The members' names, `CAP_` in front, by number.
    pub fn names(self) -> Vec<String> {
        self.0.numbers().filter_map(capability::name).collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        let mut set = Self::EMPTY;
        capabilities.into_iter().for_each(|capability| set.insert(capability));
        set
    }
}

/// The set of one; empty for one that the kernel's table does not have.
fn only(capability: Capability) -> Numbers {
    let mut set = Numbers::default();
    if let Some(number) = capability::number(&capability.to_string()) {
        set.insert(number);
    }
    set
}

/// The OCI name of a number.
fn of_number(number: u8) -> Option<Capability> {
    capability::name(number)?.strip_prefix("CAP_")?.parse().ok()
}

/// Reads a capability name in any case, with or without `CAP_`.
///
/// # Errors
/// [`Error::UnknownCapability`].
pub fn parse(name: &str) -> Result<Capability, Error> {
    capability::number(name)
        .and_then(of_number)
        .ok_or_else(|| Error::UnknownCapability { name: name.to_owned() })
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
            assert_eq!(only(parse(name).unwrap()), Numbers(1 << number), "{name}");
        }
        // Every number has an OCI name and every OCI name a number.
        assert_eq!(CapabilitySet::ALL.iter().count(), 41);
        assert_eq!(CapabilitySet::ALL.iter().collect::<CapabilitySet>(), CapabilitySet::ALL);
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
