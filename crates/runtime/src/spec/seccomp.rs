//! Seccomp filters: the built-in profile, profile files, and the choice between them.
//!
//! | request | container | privileged |
//! |---|---|---|
//! | none, `Unconfined` | no filter | the node's profile for privileged ones, else no filter |
//! | `RuntimeDefault` | the handler's profile, else the node's, else the built-in one | the same |
//! | `Localhost(path)` | that file; an empty, missing, oversized or foreign one is refused, never ignored | the same |
//!
//! The order of the second row, and that privileged containers get no other filter whatever they ask for, is CRI-O's.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use crate::config::SecurityProfile;

use super::Error;
use super::capabilities::CapabilitySet;

mod profile;
mod table;

pub use profile::SeccompProfile;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The processor family this program runs on, as Go and profile files call it.
pub(super) const HOST: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else if cfg!(target_arch = "riscv64") {
    "riscv64"
} else if cfg!(target_arch = "s390x") {
    "s390x"
} else {
    "ppc64le"
};

/// The filter for one container that is not privileged; `None` leaves it unconfined.
///
/// # Errors
/// A localhost profile that cannot be used.
pub(super) fn choose(
    wanted: Option<&SecurityProfile>,
    default: Option<&SeccompProfile>,
    granted: CapabilitySet,
) -> Result<Option<LinuxSeccomp>, Error> {
    match wanted {
        None | Some(SecurityProfile::Unconfined) => Ok(None),
        Some(SecurityProfile::RuntimeDefault) => match default {
            Some(profile) => profile.fit(granted).map(Some),
            None => Ok(Some(runtime_default(granted))),
        },
        Some(SecurityProfile::Localhost(path)) => SeccompProfile::read(path)?.fit(granted).map(Some),
    }
}

/// The built-in profile for a container with these capabilities.
pub fn runtime_default(granted: CapabilitySet) -> LinuxSeccomp {
    let mut rows = vec![row(table::ALWAYS, LinuxSeccompAction::ScmpActAllow, None, None)];
    for (architecture, names) in table::BY_ARCHITECTURE {
        if *architecture == HOST {
            rows.push(row(names, LinuxSeccompAction::ScmpActAllow, None, None));
        }
    }
    for (names, any_of) in table::BY_CAPABILITY {
        rows.push(if any_of.iter().any(|capability| granted.contains(*capability)) {
            row(names, LinuxSeccompAction::ScmpActAllow, None, None)
        } else {
            row(names, LinuxSeccompAction::ScmpActErrno, Some(EPERM), None)
        });
    }
    rows.push(row(table::DENIED, LinuxSeccompAction::ScmpActErrno, Some(EPERM), None));
    for value in table::PERSONALITIES {
        rows.push(allow_if("personality", argument(0, LinuxSeccompOperator::ScmpCmpEq, *value, None)));
    }
    rows.extend(socket_rows());
    rows.extend(clone_rows(granted.contains(Capability::SysAdmin)));

    let mut filter = LinuxSeccomp::default();
    filter
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS))
        .set_architectures(Some(architectures(HOST)))
        .set_syscalls(Some(rows));
    filter
}

/// Every family below `AF_ALG`, the one between, and the known ones above: disjoint rows, none of which a denied
/// family matches.
fn socket_rows() -> Vec<LinuxSyscall> {
    let below = argument(0, LinuxSeccompOperator::ScmpCmpLt, table::AF_ALG, None);
    let mut rows = vec![allow_if("socket", below)];
    for family in [table::AF_NFC].iter().chain(table::FAMILIES_ABOVE) {
        rows.push(allow_if("socket", argument(0, LinuxSeccompOperator::ScmpCmpEq, *family, None)));
    }
    for family in [table::AF_ALG, table::AF_VSOCK] {
        let equal = argument(0, LinuxSeccompOperator::ScmpCmpEq, family, None);
        rows.push(row(&["socket"], LinuxSeccompAction::ScmpActErrno, Some(EPERM), Some(equal)));
    }
    rows
}

/// `clone` without new namespaces; `clone3` hides its flags behind a pointer, so it does not exist and C libraries
/// fall back to `clone`. With `CAP_SYS_ADMIN` both are free.
fn clone_rows(admin: bool) -> Vec<LinuxSyscall> {
    if admin {
        return vec![row(&["clone", "clone3"], LinuxSeccompAction::ScmpActAllow, None, None)];
    }
    // s390x passes the new stack first (clone(2), "C library/kernel differences").
    let flags = if HOST == "s390x" { 1 } else { 0 };
    let masked = |mask, value| argument(flags, LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(value));
    let mut rows = vec![
        allow_if("clone", masked(table::CLONE_NAMESPACES, 0)),
        row(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None),
    ];
    // A row for each flag, so that the answer is that of `unshare` and not "no such call".
    let each = (0..u64::BITS).map(|bit| 1 << bit).filter(|flag| table::CLONE_NAMESPACES & flag != 0);
    rows.extend(each.map(|flag| {
        row(&["clone"], LinuxSeccompAction::ScmpActErrno, Some(EPERM), Some(masked(flag, flag)))
    }));
    rows
}

/// The call interfaces of one processor family.
fn architectures(host: &str) -> Vec<Arch> {
    match host {
        "amd64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "arm64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        "s390x" => vec![Arch::ScmpArchS390x, Arch::ScmpArchS390],
        _ => vec![Arch::ScmpArchPpc64le],
    }
}

fn row(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    argument: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut row = LinuxSyscall::default();
    row.set_names(names.iter().map(|name| (*name).to_owned()).collect())
        .set_action(action)
        .set_errno_ret(errno)
        .set_args(argument.map(|argument| vec![argument]));
    row
}

fn allow_if(name: &str, argument: LinuxSeccompArg) -> LinuxSyscall {
    row(&[name], LinuxSeccompAction::ScmpActAllow, None, Some(argument))
}

fn argument(index: usize, op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    profile::argument(index, op, value, value_two)
}

#[cfg(test)]
mod tests;
