//! Control groups of containers, in all three worlds.
//!
//! | world | how it is known | what is used |
//! |---|---|---|
//! | v2 | `/sys/fs/cgroup` is cgroup2 | one directory, controllers enabled on the way down |
//! | v1 | `/sys/fs/cgroup/<controllers>` are cgroup mounts | the same path in every hierarchy |
//! | hybrid | v1, with an additional empty cgroup2 mount | as v1; the v2 mount has no controllers to offer |
//!
//! A group is made, limited, and then entered by the container's first process itself. On v1 it writes `0` to the
//! `tasks` file of each hierarchy: the kernel moves a single thread that moves itself without waiting for the
//! system-wide lock that `cgroup.procs` takes (Linux 5.4), which is several milliseconds per container. On v2 it is
//! born there (`CLONE_INTO_CGROUP`).
//!
//! Only the group itself and what is below it is ever removed, never a parent.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::spec::{Resources, Spec};

mod convert;
mod detect;
mod devices;
mod files;
mod processes;
mod properties;
mod systemd;
mod v1;
mod v2;

pub use detect::{Hierarchies, V1Hierarchy};
pub use systemd::ScopeName;

/// Where all cgroup file systems are mounted.
pub(crate) const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Why a control group operation failed.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// Reading, writing, making or removing a file of a group.
    #[error("cannot {action} {path}")]
    Access {
        /// What was tried: `read`, `write`, `make`, `remove`, `open`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value that the kernel refused.
    #[error("the kernel refused {value:?} for {path}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No cgroup file system where one is expected.
    #[error("no control groups are mounted below {MOUNT_POINT}")]
    NotMounted,
    /// A limit whose controller is not there.
    #[error("the {controller} controller, which {limit} needs, is not available")]
    ControllerMissing {
        /// The controller.
        controller: &'static str,
        /// The field of the resources.
        limit: &'static str,
    },
    /// A path with `..`.
    #[error("cgroup path {path:?} contains `..` or a NUL byte")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// The group exists and has processes.
    #[error("cgroup {path} already has processes")]
    Occupied {
        /// The group.
        path: PathBuf,
    },
    /// A resource value that means nothing.
    #[error("{field} {value:?} is not valid")]
    Invalid {
        /// The field of the resources.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// Processes did not freeze, die or leave in time.
    #[error("cgroup {path} did not become {state} within {seconds} s")]
    Timeout {
        /// The group.
        path: PathBuf,
        /// What was waited for.
        state: &'static str,
        /// How long.
        seconds: u64,
    },
    /// Loading or attaching the device program.
    #[error("cannot restrict devices of {path}")]
    Devices {
        /// The group.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A cgroups path that is not `slice:prefix:name`.
    #[error("cgroupsPath {path:?} is not slice:prefix:name, as the systemd driver needs it")]
    NotAScope {
        /// The path.
        path: String,
    },
    /// systemd refused or did not answer.
    #[error("systemd did not make the scope {scope}")]
    Systemd {
        /// The unit.
        scope: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CgroupError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnsafePath { .. } | Self::Invalid { .. } | Self::NotAScope { .. } | Self::Value { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::NotMounted | Self::ControllerMissing { .. } | Self::Occupied { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Systemd { .. } => ErrorKind::Unavailable,
            Self::Access { .. } | Self::Devices { .. } => ErrorKind::Internal,
        }
    }
}

/// Something that could only be set in a weaker form, for the log.
pub type Warnings = Vec<String>;

/// The groups of one container, as they are kept in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Directory by hierarchy: `unified` on v2, else the controllers as the mount point names them.
    pub paths: BTreeMap<String, PathBuf>,
    /// The unit, with the systemd driver.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
}

/// Key of [`Groups::paths`] on v2.
const UNIFIED: &str = "unified";

/// What the first process needs to enter the groups; opened before it exists.
#[derive(Debug)]
pub enum Entry {
    /// To be born in this directory.
    V2(OwnedFd),
    /// To write `0` to each of these `tasks` files.
    V1(Vec<OwnedFd>),
}

/// The path of the container's groups below each hierarchy's root, with the cgroupfs driver.
///
/// # Errors
/// For a path that climbs.
pub fn relative_path(spec: &Spec, id: &str, own: &Path) -> Result<PathBuf, CgroupError> {
    let wanted = spec.linux.cgroups_path.as_deref().unwrap_or_default();
    let path = Path::new(wanted);
    let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if climbs || wanted.contains('\0') {
        return Err(CgroupError::UnsafePath { path: wanted.to_owned() });
    }
    match (wanted.is_empty(), path.strip_prefix("/")) {
        (true, _) => Ok(PathBuf::from(id)),
        (false, Ok(below_root)) => Ok(below_root.to_owned()),
        // A relative path starts at the runtime's own group.
        (false, Err(_)) => Ok(own.strip_prefix("/").unwrap_or(own).join(path)),
    }
}

impl Groups {
    /// Makes the groups. A group that exists already is used if it is empty.
    ///
    /// # Errors
    /// When one cannot be made or has processes; those made before it are removed again.
    pub fn create(
        hierarchies: &Hierarchies,
        path: &Path,
        scope: Option<String>,
    ) -> Result<Self, CgroupError> {
        let mut groups = Self { paths: BTreeMap::new(), scope };
        let result = match hierarchies {
            Hierarchies::V2 => v2::make(path, groups.scope.is_some()).map(|made| {
                groups.paths.insert(UNIFIED.to_owned(), made);
            }),
            Hierarchies::V1(mounted) => mounted.iter().try_for_each(|hierarchy| {
                v1::make(hierarchy, path, groups.scope.is_some()).map(|made| {
                    groups.paths.insert(hierarchy.directory.clone(), made);
                })
            }),
        };
        match result {
            Ok(()) => Ok(groups),
            Err(error) => {
                // The first error is the one to report.
                drop(groups.remove());
                Err(error)
            }
        }
    }

    /// The groups as systemd will make them for a scope.
    pub fn planned(hierarchies: &Hierarchies, directory: &Path, scope: String) -> Self {
        let paths = match hierarchies {
            Hierarchies::V2 => [(UNIFIED.to_owned(), Path::new(MOUNT_POINT).join(directory))].into(),
            Hierarchies::V1(mounted) => {
                mounted.iter().map(|h| (h.directory.clone(), h.mount_point().join(directory))).collect()
            }
        };
        Self { paths, scope: Some(scope) }
    }

    /// Whether this is the v2 world.
    pub fn is_v2(&self) -> bool {
        self.paths.contains_key(UNIFIED)
    }

    /// Sets limits; fields that are absent keep what they are.
    ///
    /// # Errors
    /// When a limit asked for cannot be set.
    pub fn apply(&self, resources: &Resources) -> Result<Warnings, CgroupError> {
        let mut warnings = Warnings::new();
        match self.paths.get(UNIFIED) {
            Some(path) => v2::apply(path, resources)?,
            None => v1::apply(self, resources, &mut warnings)?,
        }
        Ok(warnings)
    }

    /// Restricts devices to the rules and those every container has.
    ///
    /// # Errors
    /// When the restriction cannot be put in place.
    pub fn restrict_devices(&self, resources: &Resources) -> Result<Warnings, CgroupError> {
        let mut warnings = Warnings::new();
        let policy = devices::Policy::new(&resources.devices)?;
        match self.paths.get(UNIFIED) {
            Some(path) => v2::restrict_devices(path, &policy)?,
            None => v1::restrict_devices(self, &policy, &mut warnings)?,
        }
        Ok(warnings)
    }

    /// Puts a process of another into the groups; with the systemd driver, into those that systemd does not manage.
    ///
    /// # Errors
    /// When one does not take it.
    pub fn attach(&self, pid: i32) -> Result<(), CgroupError> {
        self.paths.values().try_for_each(|path| files::write(&path.join("cgroup.procs"), &pid.to_string()))
    }

    /// Tells systemd about changed limits, if the groups are a scope.
    ///
    /// # Errors
    /// [`CgroupError::Systemd`], and [`CgroupError::Invalid`] for a limit below the usage, where that is to be refused:
    /// systemd sets limits at once and would have the kernel kill.
    pub fn update_scope(&self, resources: &Resources) -> Result<(), CgroupError> {
        let Some(scope) = &self.scope else { return Ok(()) };
        if let Some(path) = self.paths.get(UNIFIED) {
            v2::check_usage(path, &resources.memory)?;
        }
        systemd::update(scope, resources, self.is_v2())
    }

    /// Opens what a process needs to enter.
    ///
    /// # Errors
    /// When a group is gone.
    pub fn entry(&self) -> Result<Entry, CgroupError> {
        if let Some(path) = self.paths.get(UNIFIED) {
            return files::open(path, OFlags::PATH | OFlags::DIRECTORY).map(Entry::V2);
        }
        let tasks = self.paths.values().map(|path| files::open(&path.join("tasks"), OFlags::WRONLY));
        tasks.collect::<Result<_, _>>().map(Entry::V1)
    }

    /// The path that `/proc/<pid>/cgroup` readers and OCI state consumers know: v2, else by controller.
    pub fn path_for(&self, controller: &str) -> Option<&Path> {
        let named = |directory: &String| directory.split(',').any(|part| part == controller);
        let found = self
            .paths
            .iter()
            .find(|(directory, _)| named(directory))
            .or_else(|| self.paths.get_key_value(UNIFIED));
        found.map(|(_, path)| path.as_path())
    }

    /// The group whose processes are listed, frozen and killed: the freezer's on v1.
    fn process_group(&self) -> Option<&Path> {
        let preferred = ["freezer", "pids", "systemd"].iter().find_map(|name| self.path_for(name));
        preferred.or_else(|| self.paths.values().next().map(PathBuf::as_path))
    }

    /// Ids of all processes in the groups and below, in the runtime's PID namespace.
    ///
    /// # Errors
    /// When they cannot be read. A group that is gone has none.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        self.process_group().map_or(Ok(Vec::new()), processes::list)
    }

    /// Freezes or thaws all processes and waits until they are.
    ///
    /// # Errors
    /// When it cannot be written, or not all are within ten seconds.
    pub fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        match (self.paths.get(UNIFIED), self.path_for("freezer")) {
            (Some(path), _) => v2::set_frozen(path, frozen),
            (None, Some(path)) => v1::set_frozen(path, frozen),
            (None, None) => Err(CgroupError::ControllerMissing { controller: "freezer", limit: "pause" }),
        }
    }

    /// Whether the processes are frozen on request.
    pub fn is_frozen(&self) -> bool {
        match (self.paths.get(UNIFIED), self.path_for("freezer")) {
            (Some(path), _) => files::read(&path.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1"),
            (None, Some(path)) => {
                files::read(&path.join("freezer.state")).is_ok_and(|text| text.trim() != "THAWED")
            }
            (None, None) => false,
        }
    }

    /// Sends a signal to every process. `SIGKILL` reaches also those being born meanwhile.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        if signal != libc_sigkill() {
            return processes::signal(&self.processes()?, signal);
        }
        if let Some(path) = self.paths.get(UNIFIED)
            && files::write(&path.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        // Frozen processes cannot fork. Killing without the freezer still works, it only takes more rounds.
        let frozen = self.set_frozen(true).is_ok();
        let result = self.processes().and_then(|pids| processes::signal(&pids, signal));
        if frozen {
            self.set_frozen(false)?;
        }
        result
    }

    /// Removes the groups and everything below them. Groups that are gone are no error.
    ///
    /// # Errors
    /// The first group that could not be removed within two seconds; the others are removed all the same.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut first = Ok(());
        for path in self.paths.values() {
            let removed = processes::remove_tree(path);
            if first.is_ok() {
                first = removed;
            }
        }
        match &self.scope {
            Some(scope) if first.is_ok() => systemd::stop(scope),
            _ => first,
        }
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

/// Opens the root of a hierarchy.
fn hierarchy_root(path: &Path) -> Result<Root, CgroupError> {
    Root::open(path).map_err(|source| CgroupError::Access { action: "open", path: path.to_owned(), source })
}
