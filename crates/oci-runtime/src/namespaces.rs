//! Making and joining namespaces.
//!
//! Namespaces given by path are entered by the runtime itself, with its own rights, just for the moment of the clone:
//! the child is born in them. The user namespace is different: a new one comes with the clone, so that all others made
//! with it belong to it; one given by path is entered by the child, which then makes the others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use ochre_types::ErrorKind;
use rustix::thread::ThreadNameSpaceType;
use thiserror::Error;

use crate::spec::{Linux, NamespaceKind};

/// Why a namespace cannot be entered.
#[derive(Debug, Error)]
pub enum NamespaceError {
    /// Its path cannot be opened.
    #[error("opening the {} namespace {path}", .kind.name())]
    Open {
        /// Which.
        kind: NamespaceKind,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be entered.
    #[error("entering the {} namespace", .kind.name())]
    Enter {
        /// Which.
        kind: NamespaceKind,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NamespaceError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Open { .. } | Self::Enter { .. } => ErrorKind::FailedPrecondition,
        }
    }
}

/// The kernel's flag of a kind.
pub fn flag(kind: NamespaceKind) -> ThreadNameSpaceType {
    match kind {
        NamespaceKind::Pid => ThreadNameSpaceType::PROCESS_ID,
        NamespaceKind::Network => ThreadNameSpaceType::NETWORK,
        NamespaceKind::Mount => ThreadNameSpaceType::MOUNT,
        NamespaceKind::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        NamespaceKind::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        NamespaceKind::User => ThreadNameSpaceType::USER,
        NamespaceKind::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
        NamespaceKind::Time => ThreadNameSpaceType::TIME,
    }
}

/// All kinds.
pub const KINDS: [NamespaceKind; 8] = [
    NamespaceKind::User,
    NamespaceKind::Cgroup,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Network,
    NamespaceKind::Time,
    NamespaceKind::Pid,
    NamespaceKind::Mount,
];

/// What the clone and the child have to do.
#[derive(Debug)]
pub struct Layout {
    /// To join at the clone, with the runtime's own to return to.
    joined: Vec<(NamespaceKind, OwnedFd, OwnedFd)>,
    /// User namespace to join in the child.
    pub user: Option<OwnedFd>,
    /// Namespaces to make, without the cgroup and time ones, which are made later.
    pub new: ThreadNameSpaceType,
}

impl Layout {
    /// Opens all paths.
    ///
    /// # Errors
    /// [`NamespaceError::Open`].
    pub fn open(linux: &Linux) -> Result<Self, NamespaceError> {
        let mut layout = Self { joined: Vec::new(), user: None, new: ThreadNameSpaceType::empty() };
        for namespace in &linux.namespaces {
            let kind = namespace.kind;
            let open = |path: PathBuf| match std::fs::File::open(&path) {
                Ok(file) => Ok(OwnedFd::from(file)),
                Err(source) => Err(NamespaceError::Open { kind, path, source }),
            };
            match (&namespace.path, kind) {
                (Some(path), NamespaceKind::User) => layout.user = Some(open(path.clone())?),
                (Some(path), _) => {
                    let own = open(PathBuf::from(format!("/proc/self/ns/{}", kind.proc_name())))?;
                    layout.joined.push((kind, open(path.clone())?, own));
                }
                (None, NamespaceKind::Cgroup | NamespaceKind::Time) => {}
                (None, _) => layout.new |= flag(kind),
            }
        }
        Ok(layout)
    }

    /// Enters the namespaces given by path.
    ///
    /// # Errors
    /// [`NamespaceError::Enter`]; the runtime must end then.
    pub fn enter_joined(&self) -> Result<(), NamespaceError> {
        self.joined.iter().try_for_each(|(kind, theirs, _)| enter(*kind, theirs))
    }

    /// Returns to the runtime's own, for hooks.
    ///
    /// # Errors
    /// [`NamespaceError::Enter`].
    pub fn leave_joined(&self) -> Result<(), NamespaceError> {
        self.joined.iter().try_for_each(|(kind, _, own)| enter(*kind, own))
    }
}

/// Enters one namespace.
///
/// # Errors
/// [`NamespaceError::Enter`].
pub fn enter(kind: NamespaceKind, namespace: &OwnedFd) -> Result<(), NamespaceError> {
    // The flag makes the kernel refuse a descriptor of another kind.
    rustix::thread::move_into_thread_name_spaces(namespace.as_fd(), flag(kind))
        .map_err(|errno| NamespaceError::Enter { kind, source: errno.into() })
}
