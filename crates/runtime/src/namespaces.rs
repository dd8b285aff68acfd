//! The namespaces that containers of a pod share: network, IPC and UTS, pinned to files.
//!
//! ```text
//! <namespaces_dir>/netns/<uuid>     the layout CRI-O and `ip netns` use; <uuid> is the front of the pod's id
//! <namespaces_dir>/ipcns/<uuid>
//! <namespaces_dir>/utsns/<uuid>
//!
//! plan ──(ledger)──> create: unshare ── sysctls ── host name ── pin ──> … ──> remove
//! ```
//!
//! Sysctls and the host name are set while the namespaces are made, before anything can run in them. A namespace that
//! the pod shares with the node is not in the plan, and nothing of it is changed.

mod sysctl;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::namespace::{self, Kind};
use ochre_types::{ErrorKind, SandboxId};
use serde::{Deserialize, Serialize};

pub use sysctl::{Sysctl, SysctlError, merge_sysctls};

/// Longest host name of the kernel (`__NEW_UTS_LEN`).
const MAX_HOSTNAME: usize = 64;

/// A failed operation on the namespaces of a pod.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The directory of pins could not be made.
    #[error("cannot create {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host name is too long for the kernel or has characters that are none of a host name.
    #[error("host name {hostname:?} is not 1 to 64 letters, digits, dots and hyphens")]
    InvalidHostname {
        /// The name.
        hostname: String,
    },
    /// A host name was given for a pod that uses the node's UTS namespace.
    #[error("host name {hostname:?} cannot be set in the node's UTS namespace")]
    HostnameOfNode {
        /// The name.
        hostname: String,
    },
    /// The kernel refused the host name.
    #[error("cannot set host name {hostname:?}")]
    SetHostname {
        /// The name.
        hostname: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sysctl was refused, by us or by the kernel.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The namespaces could not be made or pinned.
    #[error("cannot create the namespaces {kinds}")]
    Pin {
        /// Which, such as `net, ipc`.
        kinds: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pin could not be removed.
    #[error("cannot remove the namespace pinned at {path}")]
    Unpin {
        /// The pin.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NamespaceError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidHostname { .. } | Self::HostnameOfNode { .. } => ErrorKind::InvalidArgument,
            Self::Sysctl(source) => source.kind(),
            Self::Pin { source, .. } if is_exhausted(source) => ErrorKind::Exhausted,
            Self::Directory { .. } | Self::SetHostname { .. } | Self::Pin { .. } | Self::Unpin { .. } => {
                ErrorKind::Internal
            }
        }
    }
}

/// `user.max_net_namespaces` and its like answer ENOSPC, a full process table EAGAIN.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
    )
}

/// A namespace that containers of a pod can share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PodNamespace {
    /// Network.
    Net,
    /// IPC.
    Ipc,
    /// Host name.
    Uts,
}

impl PodNamespace {
    const fn kind(self) -> Kind {
        match self {
            Self::Net => Kind::Net,
            Self::Ipc => Kind::Ipc,
            Self::Uts => Kind::Uts,
        }
    }

    const fn directory(self) -> &'static str {
        match self {
            Self::Net => "netns",
            Self::Ipc => "ipcns",
            Self::Uts => "utsns",
        }
    }
}

/// What is set inside new namespaces before they are used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceSettings {
    /// Kernel parameters, in the order they are written.
    pub sysctls: Vec<Sysctl>,
    /// Host name; needs a UTS namespace of the pod's own.
    pub hostname: Option<String>,
}

/// The pinned namespaces of a pod. Serializable, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodNamespaces {
    pins: Vec<(PodNamespace, PathBuf)>,
}

impl PodNamespaces {
    /// Decides where the pins of a pod go. Touches nothing.
    pub fn plan(namespaces_dir: &Path, id: &SandboxId, own: &[PodNamespace]) -> Self {
        let name = uuid(id);
        let mut own = own.to_vec();
        own.sort_unstable();
        own.dedup();
        let pin =
            |namespace: PodNamespace| (namespace, namespaces_dir.join(namespace.directory()).join(&name));
        Self { pins: own.into_iter().map(pin).collect() }
    }

    /// The pin of a namespace; `None` where the pod uses the node's.
    pub fn path(&self, namespace: PodNamespace) -> Option<&Path> {
        self.pins.iter().find(|(of, _)| *of == namespace).map(|(_, path)| path.as_path())
    }

    /// Makes the namespaces with these settings and pins them: all or none.
    ///
    /// # Errors
    /// Every [`NamespaceError`] but [`NamespaceError::Unpin`]. A sysctl of a namespace that is not in the plan is
    /// refused, never written.
    pub fn create(&self, settings: &NamespaceSettings) -> Result<(), NamespaceError> {
        self.check(settings)?;
        if self.pins.is_empty() {
            return Ok(());
        }
        for directory in self.pins.iter().filter_map(|(_, path)| path.parent()) {
            // Others' pins may lie there (`ip netns`), and their tools read it.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(|source| NamespaceError::Directory { path: directory.to_path_buf(), source })?;
        }
        let targets: Vec<(Kind, &Path)> =
            self.pins.iter().map(|(of, path)| (of.kind(), path.as_path())).collect();
        let mut refused = None;
        let pinned = namespace::pin(&targets, || match prepare(settings) {
            Ok(()) => Ok(()),
            Err(error) => {
                refused = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        });
        match (pinned, refused) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(source), None) => {
                let kinds: Vec<&str> = targets.iter().map(|(kind, _)| kind.name()).collect();
                Err(NamespaceError::Pin { kinds: kinds.join(", "), source })
            }
        }
    }

    /// Removes all pins; those that are gone are fine. One that fails does not keep the others.
    ///
    /// # Errors
    /// [`NamespaceError::Unpin`] for the first that failed.
    pub fn remove(&self) -> Result<(), NamespaceError> {
        let mut first_failure = Ok(());
        for (_, path) in self.pins.iter().rev() {
            let removed =
                namespace::unpin(path).map_err(|source| NamespaceError::Unpin { path: path.clone(), source });
            if first_failure.is_ok() {
                first_failure = removed;
            }
        }
        first_failure
    }

    fn check(&self, settings: &NamespaceSettings) -> Result<(), NamespaceError> {
        for sysctl in &settings.sysctls {
            if self.path(sysctl.namespace()).is_none() {
                return Err(SysctlError::OfNode { key: sysctl.key().to_owned() }.into());
            }
        }
        if let Some(hostname) = &settings.hostname {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-' || byte == b'_';
            if hostname.is_empty() || hostname.len() > MAX_HOSTNAME || !hostname.bytes().all(allowed) {
                return Err(NamespaceError::InvalidHostname {
                    hostname: hostname.chars().take(300).collect(),
                });
            }
            if self.path(PodNamespace::Uts).is_none() {
                return Err(NamespaceError::HostnameOfNode { hostname: hostname.clone() });
            }
        }
        Ok(())
    }
}

/// Runs inside the new namespaces.
fn prepare(settings: &NamespaceSettings) -> Result<(), NamespaceError> {
    sysctl::write_all(&settings.sysctls)?;
    if let Some(hostname) = &settings.hostname {
        rustix::system::sethostname(hostname.as_bytes()).map_err(|errno| NamespaceError::SetHostname {
            hostname: hostname.clone(),
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// The first 128 bits of a pod's id, written as tools around `/run/netns` expect a name: the id is random as a whole,
/// so its front is as good as a new random number, and it tells which pod the pin belongs to.
fn uuid(id: &SandboxId) -> String {
    let id = id.as_str();
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32])
}

#[cfg(test)]
mod tests;
