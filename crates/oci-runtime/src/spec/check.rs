//! What a configuration must satisfy before anything is made for it.

use std::path::{Component, Path};

use super::{NamespaceKind, Process, Spec};
use crate::config::ConfigError;

/// Upper bounds on lists that a caller controls (CVE-2021-43784: counts that overflowed a message).
const MAX_MOUNTS: usize = 10_000;
const MAX_ID_MAPPINGS: usize = 340;
const MAX_DEVICES: usize = 10_000;

/// Checks the whole configuration.
///
/// # Errors
/// The first thing found wrong, unsupported or over a limit.
pub fn check(spec: &Spec) -> Result<(), ConfigError> {
    let version = spec.oci_version.as_str();
    if !version.starts_with("1.") {
        return Err(ConfigError::Version { version: version.to_owned() });
    }
    let root = spec.root.as_ref().ok_or(ConfigError::Missing { field: "root" })?;
    if root.path.as_os_str().is_empty() {
        return Err(ConfigError::Missing { field: "root.path" });
    }
    let linux = &spec.linux;
    for (field, length, limit) in [
        ("mounts", spec.mounts.len(), MAX_MOUNTS),
        ("linux.devices", linux.devices.len(), MAX_DEVICES),
        ("linux.uidMappings", linux.uid_mappings.len(), MAX_ID_MAPPINGS),
        ("linux.gidMappings", linux.gid_mappings.len(), MAX_ID_MAPPINGS),
    ] {
        if length > limit {
            return Err(ConfigError::TooMany { field, length, limit });
        }
    }
    for (field, present) in [
        ("linux.intelRdt", linux.intel_rdt.is_some()),
        ("linux.memoryPolicy", linux.memory_policy.is_some()),
        ("linux.netDevices", !linux.net_devices.is_empty()),
    ] {
        if present {
            return Err(ConfigError::Unsupported { field });
        }
    }
    namespaces(spec)?;
    for mount in &spec.mounts {
        plain_path("mounts.destination", &mount.destination)?;
    }
    for device in &linux.devices {
        plain_path("linux.devices.path", &device.path)?;
    }
    for path in linux.masked_paths.iter().chain(&linux.readonly_paths) {
        plain_path("linux.maskedPaths or linux.readonlyPaths", path)?;
    }
    spec.process.as_ref().map_or(Err(ConfigError::Missing { field: "process" }), process)
}

/// Checks a process, the container's first or an exec's.
///
/// # Errors
/// The first thing found wrong or unsupported.
pub(crate) fn process(process: &Process) -> Result<(), ConfigError> {
    if process.args.first().is_none_or(String::is_empty) {
        return Err(ConfigError::Missing { field: "process.args" });
    }
    if !process.cwd.is_absolute() {
        return Err(ConfigError::RelativePath { field: "process.cwd", path: process.cwd.clone() });
    }
    for (field, present) in [
        ("process.scheduler", process.scheduler.is_some()),
        ("process.ioPriority", process.io_priority.is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity.is_some()),
    ] {
        if present {
            return Err(ConfigError::Unsupported { field });
        }
    }
    let strings = process.args.iter().chain(&process.env);
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(ConfigError::NulByte { field: "process.args or process.env" });
    }
    Ok(())
}

fn namespaces(spec: &Spec) -> Result<(), ConfigError> {
    let linux = &spec.linux;
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        if linux.namespaces[..index].iter().any(|earlier| earlier.kind == namespace.kind) {
            return Err(ConfigError::DuplicateNamespace { kind: namespace.kind });
        }
        if let Some(path) = &namespace.path
            && !path.is_absolute()
        {
            return Err(ConfigError::RelativePath { field: "linux.namespaces.path", path: path.clone() });
        }
    }
    match linux.namespace(NamespaceKind::Mount) {
        // Without one, every mount and the root change would happen on the host.
        None => return Err(ConfigError::Missing { field: "linux.namespaces (mount)" }),
        Some(joined) if joined.path.is_some() => {
            return Err(ConfigError::Unsupported { field: "linux.namespaces (mount by path)" });
        }
        Some(_) => {}
    }
    if linux.makes(NamespaceKind::User) && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
        return Err(ConfigError::Missing { field: "linux.uidMappings and linux.gidMappings" });
    }
    for (field, present, kind) in [
        ("hostname", spec.hostname.as_deref().is_some_and(|name| !name.is_empty()), NamespaceKind::Uts),
        ("domainname", spec.domainname.as_deref().is_some_and(|name| !name.is_empty()), NamespaceKind::Uts),
        ("linux.timeOffsets", !linux.time_offsets.is_empty(), NamespaceKind::Time),
    ] {
        if present && linux.namespace(kind).is_none() {
            return Err(ConfigError::NeedsNamespace { field, kind });
        }
    }
    Ok(())
}

/// A path inside the container: absolute or not it starts at the root, and it never climbs.
fn plain_path(field: &'static str, path: &Path) -> Result<(), ConfigError> {
    let climbs = path.components().any(|component| matches!(component, Component::ParentDir));
    if climbs || path.as_os_str().is_empty() {
        return Err(ConfigError::UnsafePath { field, path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Mount, Namespace, Root};

    fn minimal() -> Spec {
        Spec {
            oci_version: "1.2.0".into(),
            root: Some(Root { path: "rootfs".into(), readonly: false }),
            process: Some(Process { args: vec!["sh".into()], cwd: "/".into(), ..Process::default() }),
            linux: crate::spec::Linux {
                namespaces: vec![Namespace { kind: NamespaceKind::Mount, path: None }],
                ..crate::spec::Linux::default()
            },
            ..Spec::default()
        }
    }

    #[test]
    fn a_minimal_configuration_passes() {
        check(&minimal()).unwrap();
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        type Change = fn(&mut Spec);
        let cases: [(&str, Change); 9] = [
            ("version", |spec| spec.oci_version = "2.0.0".into()),
            ("root", |spec| spec.root = None),
            ("process", |spec| spec.process = None),
            ("mount", |spec| spec.linux.namespaces.clear()),
            ("..", |spec| spec.mounts.push(Mount { destination: "/a/../../b".into(), ..Mount::default() })),
            ("uts", |spec| spec.hostname = Some("name".into())),
            ("mounts", |spec| {
                spec.mounts = vec![Mount { destination: "/x".into(), ..Mount::default() }; 10_001]
            }),
            ("cwd", |spec| spec.process.as_mut().unwrap().cwd = "relative".into()),
            ("twice", |spec| {
                spec.linux.namespaces.push(Namespace { kind: NamespaceKind::Mount, path: None })
            }),
        ];
        for (word, change) in cases {
            let mut spec = minimal();
            change(&mut spec);
            let message = check(&spec).unwrap_err().to_string();
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}
