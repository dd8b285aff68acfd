//! Which namespaces a container gets of its own, which it joins, and which stay the node's.
//!
//! | namespace | pod | container | node | target |
//! |---|---|---|---|---|
//! | network, ipc | join the pod's | - | none | - |
//! | uts | join the pod's | - | with the node's network | - |
//! | pid | join the pause process's | new | none | join the target's |
//! | mount | always new | | | |
//! | cgroup | new on cgroup v2, unless privileged | | | |
//! | user | join the pod's | - | none | - |
//!
//! A container of a pod that has its own network or IPC namespace is never given the node's: the caller has put the
//! pod's mode in place of the container's (crates/pod, `bundle.rs`).

use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType};

use crate::cgroup::Version;
use crate::config::{IdMapping, NamespaceMode, NamespaceOptions};

use super::Error;

/// Paths of the namespaces to join, as the pod made them.
#[derive(Debug, Clone, Default)]
pub struct NamespacePaths {
    /// Network; `None` with mode `Pod` makes a new one.
    pub network: Option<PathBuf>,
    /// IPC; `None` with mode `Pod` makes a new one.
    pub ipc: Option<PathBuf>,
    /// UTS; `None` makes a new one, or keeps the node's with the node's network.
    pub uts: Option<PathBuf>,
    /// PID, of the pause process (mode `Pod`) or the target container (mode `Target`).
    pub pid: Option<PathBuf>,
    /// User; `None` with mappings makes a new one.
    pub user: Option<PathBuf>,
}

/// The list for the spec.
///
/// # Errors
/// [`Error::MissingNamespace`] when a PID namespace must be joined and is not known.
pub(super) fn namespaces(
    options: &NamespaceOptions,
    paths: &NamespacePaths,
    cgroup: Version,
    privileged: bool,
) -> Result<Vec<LinuxNamespace>, Error> {
    let mut list = vec![namespace(LinuxNamespaceType::Mount, None)];
    match options.pid {
        NamespaceMode::Container => list.push(namespace(LinuxNamespaceType::Pid, None)),
        NamespaceMode::Node => {}
        NamespaceMode::Pod | NamespaceMode::Target => {
            let path = paths.pid.clone().ok_or(Error::MissingNamespace { kind: "pid" })?;
            list.push(namespace(LinuxNamespaceType::Pid, Some(path)));
        }
    }
    let node_network = options.network == NamespaceMode::Node;
    if !node_network {
        list.push(namespace(LinuxNamespaceType::Network, paths.network.clone()));
    }
    if options.ipc != NamespaceMode::Node {
        list.push(namespace(LinuxNamespaceType::Ipc, paths.ipc.clone()));
    }
    if paths.uts.is_some() || !node_network {
        list.push(namespace(LinuxNamespaceType::Uts, paths.uts.clone()));
    }
    if has_user_namespace(options) {
        list.push(namespace(LinuxNamespaceType::User, paths.user.clone()));
    }
    if cgroup == Version::V2 && !privileged {
        list.push(namespace(LinuxNamespaceType::Cgroup, None));
    }
    Ok(list)
}

/// Whether the pod has a user namespace of its own.
pub(super) fn has_user_namespace(options: &NamespaceOptions) -> bool {
    options.user.as_ref().is_some_and(|user| user.mode == NamespaceMode::Pod)
}

/// Mappings as OCI writes them.
pub(super) fn mappings(lines: &[IdMapping]) -> Vec<LinuxIdMapping> {
    lines
        .iter()
        .map(|line| {
            let builder =
                LinuxIdMappingBuilder::default().host_id(line.host_id).container_id(line.container_id);
            // The builder fails only for fields without a value, and every field has a default.
            builder.size(line.length).build().unwrap_or_default()
        })
        .collect()
}

pub(super) fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path);
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        options: &NamespaceOptions,
        paths: &NamespacePaths,
        cgroup: Version,
        privileged: bool,
    ) -> String {
        let list = namespaces(options, paths, cgroup, privileged).unwrap();
        let words = list.iter().map(|entry| match entry.path() {
            Some(path) => format!("{}={}", entry.typ(), path.display()),
            None => entry.typ().to_string(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn modes_follow_the_table_in_the_header() {
        use NamespaceMode::{Container, Node, Pod, Target};
        let made = NamespacePaths {
            network: Some("/n".into()),
            ipc: Some("/i".into()),
            uts: Some("/u".into()),
            pid: Some("/p".into()),
            user: None,
        };
        let options =
            |network, ipc, pid| NamespaceOptions { network, ipc, pid, ..NamespaceOptions::default() };
        for (given, paths, cgroup, privileged, expected) in [
            (options(Pod, Pod, Container), &made, Version::V1, false, "mnt pid net=/n ipc=/i uts=/u"),
            (options(Pod, Pod, Pod), &made, Version::V2, false, "mnt pid=/p net=/n ipc=/i uts=/u cgroup"),
            (options(Pod, Pod, Target), &made, Version::V2, true, "mnt pid=/p net=/n ipc=/i uts=/u"),
            (options(Node, Node, Node), &NamespacePaths::default(), Version::V1, false, "mnt"),
            (
                options(Pod, Pod, Container),
                &NamespacePaths::default(),
                Version::V1,
                false,
                "mnt pid net ipc uts",
            ),
        ] {
            assert_eq!(shown(&given, paths, cgroup, privileged), expected);
        }
        let missing = namespaces(&options(Pod, Pod, Target), &NamespacePaths::default(), Version::V1, false);
        assert!(matches!(missing, Err(Error::MissingNamespace { kind: "pid" })));
    }
}
