//! Masked and read-only paths, AppArmor and SELinux.

use std::collections::BTreeSet;

use crate::apparmor::{AppArmor, is_loaded};
use crate::config::{ContainerSecurity, SecurityProfile};

use super::error::shortened;
use super::selinux::{Categories, Labels, SelinuxPolicy};
use super::{ContainerInput, Error, SecurityDefaults};

/// Kernel files that tell or let a container do things about the node. CRI-O's list.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Masked paths of this node: the fixed list and the thermal counters of each of its processors.
pub fn default_masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    for processor in processors {
        let name = processor.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        let is_processor = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let path = processor.path().join("thermal_throttle");
        if is_processor && path.is_dir() {
            paths.push(path.to_string_lossy().into_owned());
        }
    }
    paths.sort();
    paths
}

/// Masked paths of a container. An empty request masks nothing (`procMount: Unmasked`); any other is completed with
/// the node's list.
pub(super) fn masked_paths(security: &ContainerSecurity, node: &SecurityDefaults) -> Vec<String> {
    if security.privileged || security.masked_paths.is_empty() {
        return Vec::new();
    }
    let all: BTreeSet<&String> = security.masked_paths.iter().chain(&node.masked_paths).collect();
    all.into_iter().cloned().collect()
}

/// Read-only paths of a container: exactly the request's.
pub(super) fn readonly_paths(security: &ContainerSecurity) -> Vec<String> {
    if security.privileged { Vec::new() } else { security.readonly_paths.clone() }
}

/// The AppArmor profile of a container; `None` runs without.
///
/// | request | AppArmor off | on |
/// |---|---|---|
/// | none | none | the node's default, if it is loaded (the daemon has said at start if not) |
/// | `RuntimeDefault` | none | the node's default, refused when it is not loaded |
/// | `Localhost` | refused | that profile, refused when it is not loaded |
/// | `Unconfined`, or privileged | none | none |
///
/// # Errors
/// [`Error::AppArmorProfile`] for a profile the kernel does not have, [`Error::Unavailable`] for a localhost profile
/// on a node without AppArmor.
pub(super) fn apparmor(input: &ContainerInput<'_>) -> Result<Option<String>, Error> {
    let security = &input.container.security;
    if security.privileged {
        return Ok(None);
    }
    let (list, default) = match &input.node.security.apparmor {
        AppArmor::Off => {
            let asked = matches!(security.apparmor, Some(SecurityProfile::Localhost(_)));
            let (what, needs) = ("an AppArmor profile of the node", "AppArmor, which is off on this node");
            return if asked { Err(Error::Unavailable { what, needs }) } else { Ok(None) };
        }
        AppArmor::Unconfined { list } => (list, None),
        AppArmor::Profile { list, name } => (list, Some(name.as_str())),
    };
    let loaded = |name: &str| {
        if is_loaded(list, name)? {
            Ok(Some(name.to_owned()))
        } else {
            Err(Error::AppArmorProfile { name: shortened(name) })
        }
    };
    match (&security.apparmor, default) {
        (Some(SecurityProfile::Localhost(name)), _) => {
            loaded(name.strip_prefix("localhost/").unwrap_or(name))
        }
        (Some(SecurityProfile::Unconfined), _) | (_, None) => Ok(None),
        (Some(SecurityProfile::RuntimeDefault), Some(name)) => loaded(name),
        (None, Some(name)) => Ok(is_loaded(list, name)?.then(|| name.to_owned())),
    }
}

/// The SELinux labels of a container; none where SELinux is off.
pub(super) fn selinux(input: &ContainerInput<'_>) -> Labels {
    let policy = input.node.security.selinux.as_ref();
    let of = |policy: &SelinuxPolicy| {
        policy.of_container(&input.container.security, input.sandbox, Categories::of(input.sandbox_id))
    };
    policy.map(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_paths_follow_the_request() {
        let node =
            SecurityDefaults { masked_paths: vec!["/b".into(), "/a".into()], ..SecurityDefaults::default() };
        let masks = |list: &[&str], privileged| {
            let masked_paths = list.iter().map(|path| (*path).to_owned()).collect();
            masked_paths_of(
                ContainerSecurity { masked_paths, privileged, ..ContainerSecurity::default() },
                &node,
            )
        };
        assert_eq!(masks(&[], false), Vec::<String>::new());
        assert_eq!(masks(&["/c", "/a"], false), ["/a", "/b", "/c"]);
        assert_eq!(masks(&["/c"], true), Vec::<String>::new());
    }

    fn masked_paths_of(security: ContainerSecurity, node: &SecurityDefaults) -> Vec<String> {
        masked_paths(&security, node)
    }

    #[test]
    fn the_apparmor_profile_follows_the_table() {
        let mut fixture = crate::spec::tests::Fixture::new();
        let list = fixture.dir.path().join("profiles");
        std::fs::write(&list, "mine (enforce)\ncrio-default (enforce)\n").unwrap();
        let node = |name: &str| AppArmor::Profile { list: list.clone(), name: name.to_owned() };
        let local = |name: &str| Some(SecurityProfile::Localhost(name.to_owned()));
        let default = Some(SecurityProfile::RuntimeDefault);
        let unconfined = Some(SecurityProfile::Unconfined);
        for (node, asked, expected) in [
            (AppArmor::Off, None, Some(None)),
            (AppArmor::Off, default.clone(), Some(None)),
            (AppArmor::Off, local("mine"), None),
            (node("crio-default"), None, Some(Some("crio-default"))),
            (node("crio-default"), default.clone(), Some(Some("crio-default"))),
            (node("crio-default"), unconfined, Some(None)),
            (node("crio-default"), local("mine"), Some(Some("mine"))),
            (node("crio-default"), local("localhost/mine"), Some(Some("mine"))),
            (node("crio-default"), local("min"), None),
            (node("gone"), None, Some(None)),
            (node("gone"), default.clone(), None),
            (AppArmor::Unconfined { list: list.clone() }, default, Some(None)),
            (AppArmor::Unconfined { list: list.clone() }, local("mine"), Some(Some("mine"))),
        ] {
            let what = format!("{node:?} {asked:?}");
            fixture.node.security.apparmor = node;
            fixture.container.security.apparmor = asked;
            let given = apparmor(&fixture.input()).ok();
            assert_eq!(given, expected.map(|name| name.map(str::to_owned)), "{what}");
            fixture.container.security.privileged = true;
            assert_eq!(apparmor(&fixture.input()).unwrap(), None, "{what}, privileged");
            fixture.container.security.privileged = false;
        }
    }
}
