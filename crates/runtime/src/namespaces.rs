//! The namespaces that containers of a pod share: user, network, IPC and UTS, pinned to files.
//!
//! ```text
//! <namespaces_dir>/netns/<uuid>     the layout CRI-O and `ip netns` use; <uuid> is the front of the pod's id
//! <namespaces_dir>/ipcns/<uuid>
//! <namespaces_dir>/utsns/<uuid>
//! <namespaces_dir>/userns/<uuid>    only for a pod with a user namespace; the others then belong to it
//!
//! plan ──(ledger)──> create: unshare ── sysctls ── host name ── pin ──> … ──> remove
//!                    └─ with a user namespace: a child born in all of them, which ends when they are pinned
//! ```
//!
//! Sysctls and the host name are set while the namespaces are made, before anything can run in them. A namespace that
//! the pod shares with the node is not in the plan, and nothing of it is changed.

pub mod id_map;
mod sysctl;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::namespace::{self, Kind};
use ochre_sys::user_namespace::UserNamespace as NewUserNamespace;
use ochre_types::{ErrorKind, SandboxId};
use rustix::thread::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::config::{NamespaceMode, SandboxConfig, UserNamespace};
use id_map::IdMapError;

pub use sysctl::{Sysctl, SysctlError, merge_sysctls};

/// Longest host name of the kernel (`__NEW_UTS_LEN`).
const MAX_HOSTNAME: usize = 64;

/// Refuses what the kernel or a file of the pod could not take as a host name.
///
/// # Errors
/// [`NamespaceError::InvalidHostname`].
pub fn check_hostname(hostname: &str) -> Result<(), NamespaceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !hostname.is_empty() && hostname.len() <= MAX_HOSTNAME && hostname.bytes().all(allowed) {
        return Ok(());
    }
    Err(NamespaceError::InvalidHostname { hostname: hostname.chars().take(80).collect() })
}

/// The host name of a pod: the request's, the node's with the node's network, otherwise the short id.
pub fn hostname(config: &SandboxConfig, id: &SandboxId) -> String {
    match config.hostname.as_str() {
        "" if config.namespaces.network == NamespaceMode::Node => {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        }
        "" => id.short().to_owned(),
        name => name.to_owned(),
    }
}

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
    #[error("hostname {hostname:?} is not 1 to 64 letters, digits, dots and hyphens")]
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
    /// Id mappings that cannot be used.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// The kernel makes no user namespace, or not with these mappings.
    #[error("cannot create the user namespace")]
    User {
        /// Why.
        #[source]
        source: io::Error,
    },
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
            Self::IdMap(source) => source.kind(),
            Self::Pin { source, .. } | Self::User { source } if is_exhausted(source) => ErrorKind::Exhausted,
            // Forbidden on this node, or a kernel without them.
            Self::User { .. } => ErrorKind::FailedPrecondition,
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
    /// User and group ids; the others of the pod belong to it.
    User,
}

impl PodNamespace {
    /// For a thread, which cannot have a user namespace of its own.
    const fn kind(self) -> Option<Kind> {
        match self {
            Self::Net => Some(Kind::Net),
            Self::Ipc => Some(Kind::Ipc),
            Self::Uts => Some(Kind::Uts),
            Self::User => None,
        }
    }

    const fn directory(self) -> &'static str {
        match self {
            Self::Net => "netns",
            Self::Ipc => "ipcns",
            Self::Uts => "utsns",
            Self::User => "userns",
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
    /// Mappings of the pod's user namespace; needs one in the plan.
    pub user: Option<UserNamespace>,
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
            self.pins.iter().filter_map(|(of, path)| Some((of.kind()?, path.as_path()))).collect();
        let failed = |source| {
            let kinds: Vec<&str> = targets.iter().map(|(kind, _)| kind.name()).collect();
            NamespaceError::Pin { kinds: kinds.join(", "), source }
        };
        if let (Some(path), Some(user)) = (self.path(PodNamespace::User), &settings.user) {
            let made = make_owned(user, &targets, settings, &failed)?;
            return made.pin(path, &targets).map_err(failed);
        }
        let mut refused = None;
        let pinned = namespace::pin(&targets, || stopping_at(&mut refused, || prepare(settings)));
        match (pinned, refused) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(source), None) => Err(failed(source)),
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
        if settings.user.is_some() != self.path(PodNamespace::User).is_some() {
            return Err(IdMapError::WithoutNamespace.into());
        }
        for sysctl in &settings.sysctls {
            if self.path(sysctl.namespace()).is_none() {
                return Err(SysctlError::OfNode { key: sysctl.key().to_owned() }.into());
            }
        }
        if let Some(hostname) = &settings.hostname {
            check_hostname(hostname)?;
            if self.path(PodNamespace::Uts).is_none() {
                return Err(NamespaceError::HostnameOfNode { hostname: hostname.clone() });
            }
        }
        Ok(())
    }
}

/// The pod's user namespace and those that belong to it, set up.
fn make_owned(
    user: &UserNamespace,
    targets: &[(Kind, &Path)],
    settings: &NamespaceSettings,
    failed: &dyn Fn(io::Error) -> NamespaceError,
) -> Result<NewUserNamespace, NamespaceError> {
    let kinds: Vec<Kind> = targets.iter().map(|(kind, _)| *kind).collect();
    let made = NewUserNamespace::new(&id_map::ranges(&user.uids), &id_map::ranges(&user.gids), &kinds)
        .map_err(|source| NamespaceError::User { source })?;
    let mut refused = None;
    let visited = made.visit(&kinds, || {
        stopping_at(&mut refused, || match prepare(settings) {
            // From Linux 6.9 on, parameters of an IPC namespace obey its owner's root alone, and not the node's.
            Err(NamespaceError::Sysctl(SysctlError::Write { source, .. }))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                become_root_of(user)?;
                Ok(sysctl::write_all(&settings.sysctls, PodNamespace::Ipc)?)
            }
            prepared => prepared,
        })
    });
    match (visited, refused) {
        (Ok(()), _) => Ok(made),
        (Err(_), Some(error)) => Err(error),
        (Err(source), None) => Err(failed(source)),
    }
}

/// Gives the calling thread, which ends soon, the ids of the pod's root.
fn become_root_of(user: &UserNamespace) -> Result<(), NamespaceError> {
    let failed = |errno: rustix::io::Errno| NamespaceError::User { source: errno.into() };
    let (uid, gid) = (id_map::host_id(&user.uids, 0), id_map::host_id(&user.gids, 0));
    if let Some(gid) = gid.map(Gid::from_raw) {
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    }
    if let Some(uid) = uid.map(Uid::from_raw) {
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    }
    Ok(())
}

/// Keeps an error of ours where the caller of system calls only knows theirs.
fn stopping_at(
    refused: &mut Option<NamespaceError>,
    work: impl FnOnce() -> Result<(), NamespaceError>,
) -> io::Result<()> {
    work().map_err(|error| {
        *refused = Some(error);
        io::ErrorKind::Other.into()
    })
}

/// Runs inside the new namespaces. The parameters of the IPC namespace come last, see [`make_owned`].
fn prepare(settings: &NamespaceSettings) -> Result<(), NamespaceError> {
    if let Some(hostname) = &settings.hostname {
        rustix::system::sethostname(hostname.as_bytes()).map_err(|errno| NamespaceError::SetHostname {
            hostname: hostname.clone(),
            source: errno.into(),
        })?;
    }
    sysctl::write_all(&settings.sysctls, PodNamespace::Net)?;
    Ok(sysctl::write_all(&settings.sysctls, PodNamespace::Ipc)?)
}

/// The first 128 bits of a pod's id, written as tools around `/run/netns` expect a name: the id is random as a whole,
/// so its front is as good as a new random number, and it tells which pod the pin belongs to.
fn uuid(id: &SandboxId) -> String {
    let id = id.as_str();
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32])
}

#[cfg(test)]
mod tests;
