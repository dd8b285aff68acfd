//! Kernel parameters of the container's own namespaces.

use std::io;
use std::os::linux::fs::MetadataExt;

use ochre_types::ErrorKind;
use thiserror::Error;

use crate::procfs::Procfs;
use crate::spec::{Linux, NamespaceKind};

/// Why a kernel parameter is not set.
#[derive(Debug, Error)]
pub enum SysctlError {
    /// It is not one that namespaces have, or its namespace is the host's.
    #[error("sysctl {key:?} is not in a namespace of the container's own")]
    HostWide {
        /// The parameter.
        key: String,
    },
    /// Its name is no name.
    #[error("sysctl {key:?} is not a valid name")]
    InvalidName {
        /// The parameter.
        key: String,
    },
    /// The kernel does not take it.
    #[error("cannot set sysctl {key} to {value:?}")]
    Write {
        /// The parameter.
        key: String,
        /// The value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SysctlError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::HostWide { .. } | Self::InvalidName { .. } | Self::Write { .. } => {
                ErrorKind::InvalidArgument
            }
        }
    }
}

const IPC_KEYS: [&str; 11] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "kernel/msg_next_id",
    "kernel/sem_next_id",
    "kernel/shm_next_id",
];

/// The path below `/proc/sys` for a key with dots or slashes: the first separator decides which of them separates.
fn path_of(key: &str) -> Result<String, SysctlError> {
    let dotted = key.find(['.', '/']).is_none_or(|at| key.as_bytes()[at] == b'.');
    let path: String = if dotted {
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        key.chars().map(swap).collect()
    } else {
        key.to_owned()
    };
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if key.contains('\0') || path.split('/').any(bad) {
        return Err(SysctlError::InvalidName { key: key.to_owned() });
    }
    Ok(path)
}

/// The namespace a parameter belongs to.
fn namespace_of(path: &str) -> Option<NamespaceKind> {
    if IPC_KEYS.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(NamespaceKind::Ipc)
    } else if path.starts_with("net/") {
        Some(NamespaceKind::Network)
    } else if path == "kernel/domainname" {
        Some(NamespaceKind::Uts)
    } else if path.starts_with("user/") {
        Some(NamespaceKind::User)
    } else {
        None
    }
}

/// Checks in the runtime that every parameter belongs to a namespace that is not the host's (CVE-2022-0532).
///
/// # Errors
/// The first that does not.
pub fn check(linux: &Linux) -> Result<Vec<(String, String)>, SysctlError> {
    let mut checked = Vec::with_capacity(linux.sysctl.len());
    for (key, value) in &linux.sysctl {
        let path = path_of(key)?;
        let own = namespace_of(&path).is_some_and(|kind| has_own(linux, kind));
        if !own {
            return Err(SysctlError::HostWide { key: key.clone() });
        }
        checked.push((path, value.clone()));
    }
    Ok(checked)
}

fn has_own(linux: &Linux, kind: NamespaceKind) -> bool {
    let Some(namespace) = linux.namespace(kind) else { return false };
    let Some(path) = &namespace.path else { return true };
    let inode =
        |path: &std::path::Path| std::fs::metadata(path).map(|meta| (meta.st_dev(), meta.st_ino())).ok();
    let ours = inode(std::path::Path::new(&format!("/proc/self/ns/{}", kind.proc_name())));
    inode(path).is_some_and(|theirs| Some(theirs) != ours)
}

/// Sets checked parameters in the namespaces of the caller.
///
/// # Errors
/// The first that the kernel refuses.
pub fn set(procfs: &Procfs, checked: &[(String, String)]) -> Result<(), SysctlError> {
    for (path, value) in checked {
        procfs.write(&format!("sys/{path}"), value).map_err(|source| SysctlError::Write {
            key: path.replace('/', "."),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Namespace;

    fn linux(kind: NamespaceKind, path: Option<&str>, key: &str) -> Linux {
        Linux {
            namespaces: vec![Namespace { kind, path: path.map(Into::into) }],
            sysctl: [(key.to_owned(), "1".to_owned())].into(),
            ..Linux::default()
        }
    }

    #[test]
    fn only_parameters_of_own_namespaces_pass() {
        for (kind, key) in [
            (NamespaceKind::Network, "net.ipv4.ip_forward"),
            (NamespaceKind::Network, "net/ipv4/conf/eth0.1/forwarding"),
            (NamespaceKind::Ipc, "kernel.shmmax"),
            (NamespaceKind::Ipc, "fs.mqueue.msg_max"),
        ] {
            check(&linux(kind, None, key)).unwrap();
        }
        for (kind, path, key) in [
            (NamespaceKind::Ipc, None, "net.ipv4.ip_forward"),
            (NamespaceKind::Network, Some("/proc/self/ns/net"), "net.ipv4.ip_forward"),
            (NamespaceKind::Network, Some("/nonexistent"), "net.ipv4.ip_forward"),
            (NamespaceKind::Uts, None, "kernel.core_pattern"),
            (NamespaceKind::Ipc, None, "vm.swappiness"),
            (NamespaceKind::Network, None, "net/../kernel/core_pattern"),
            (NamespaceKind::Network, None, "net..core"),
        ] {
            assert!(check(&linux(kind, path, key)).is_err(), "{key}");
        }
    }

    #[test]
    fn the_first_separator_decides() {
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net/ipv4/conf/eth0.1").unwrap(), "net/ipv4/conf/eth0.1");
    }
}
