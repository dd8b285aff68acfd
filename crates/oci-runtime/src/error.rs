//! What a verb can fail with.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;
use thiserror::Error;

use crate::cgroup::CgroupError;
use crate::cli::UsageError;
use crate::config::ConfigError;
use crate::container::StateError;
use crate::hooks::HookError;
use crate::init::InitError;
use crate::lsm::LsmError;
use crate::namespaces::NamespaceError;
use crate::process::ProcessError;
use crate::rootfs::RootfsError;
use crate::seccomp::SeccompError;
use crate::sysctl::SysctlError;

/// The failure of a verb.
#[derive(Debug, Error)]
pub enum Error {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The container's state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The system call filter.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// Kernel parameters.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Security labels.
    #[error(transparent)]
    Lsm(#[from] LsmError),
    /// Files.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Namespaces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Limits of the process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A step in the child that failed before it could speak.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The child said why it gave up.
    #[error("{message}")]
    Child {
        /// Its words.
        message: String,
    },
    /// The child died without a word.
    #[error("the container's process died while it was made")]
    ChildDied,
    /// A single step.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file the caller named.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A descriptor to be inherited that is not open.
    #[error("descriptor {number} is to be preserved and is not open")]
    NotOpen {
        /// Its number.
        number: u32,
    },
    /// The processes did not die.
    #[error("the processes of container {id} did not die within {seconds} s")]
    StillAlive {
        /// The container.
        id: String,
        /// How long.
        seconds: u64,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Sysctl(error) => error.kind(),
            Self::Lsm(error) => error.kind(),
            Self::Rootfs(error) => error.kind(),
            Self::Namespace(error) => error.kind(),
            Self::Hook(error) => error.kind(),
            Self::Process(error) => error.kind(),
            Self::Init(error) => error.kind(),
            Self::NotOpen { .. } => ErrorKind::InvalidArgument,
            Self::StillAlive { .. } => ErrorKind::Timeout,
            Self::Child { .. } | Self::ChildDied | Self::Step { .. } | Self::Write { .. } => {
                ErrorKind::Internal
            }
        }
    }
}

/// A failed system call as an [`Error::Step`].
pub(crate) fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Step { step, source: error.into() }
}

/// An error with all its causes on one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Error {
    /// With all causes on one line.
    pub fn describe(&self) -> String {
        // Transparent variants already delegate both the text and the cause.
        debug_assert!(self.source().is_none_or(|source| source.to_string() != self.to_string()));
        describe(self)
    }
}
