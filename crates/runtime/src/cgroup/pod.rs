//! The pod's own group: an empty one below the parent, which cAdvisor takes for the pod's sandbox.
//!
//! ```text
//! plan ──(ledger)──> create ──> … ──> remove
//! ```
//!
//! `plan` looks and changes nothing, so its result can be written down before `create` acts on it. A parent that exists
//! is somebody else's and stays; one that is missing is made, and removed again once it is empty. The cgroupfs parent
//! of pods that name none is the engine's own by its name, so whichever pod leaves it last removes it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ochre_systemd::{Bus, Property};
use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};

use super::path::{is_default_parent, parent_group};
use super::remove::{is_busy, subgroups};
use super::{CgroupError, Cgroups, Driver, GroupPath, OwnedGroup};

/// Version 1 hierarchies that get the pod's group: those whose files cAdvisor reads for a sandbox.
const V1_CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];
/// A parent may be removed by the last pod in it while a new pod is made; that is tried again.
const ATTEMPTS: usize = 5;

/// A parent that did not exist when the pod was planned. On version 1 a group may exist in some hierarchies and not in
/// others, and OCI runtimes use more of them than the pod's own group does, so each directory counts alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreatedParent {
    /// A directory of one hierarchy.
    Directory(PathBuf),
    /// A slice that systemd was asked for.
    Slice(String),
}

/// The pod's own group and what had to be made for it. Serializable, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCgroup {
    group: OwnedGroup,
    /// Outermost first.
    created_parents: Vec<CreatedParent>,
}

impl PodCgroup {
    /// Looks what creating the group will make. `parent` is what the caller of CRI gave, or empty.
    ///
    /// # Errors
    /// The errors of a bad parent, see [`OwnedGroup::of_pod`].
    pub fn plan(
        cgroups: &Cgroups,
        driver: Driver,
        parent: &str,
        id: &SandboxId,
    ) -> Result<Self, CgroupError> {
        let group = OwnedGroup::of_pod(driver, parent, id)?;
        let parent_path = parent_group(driver, parent)?;
        let created_parents = match driver {
            Driver::Systemd => {
                missing_slices(cgroups, &parent_path).into_iter().map(CreatedParent::Slice).collect()
            }
            Driver::Cgroupfs => {
                let missing = missing_parents(cgroups, &parent_path, is_default_parent(driver, parent));
                missing.into_iter().map(CreatedParent::Directory).collect()
            }
        };
        Ok(Self { group, created_parents })
    }

    /// The pod's group.
    pub fn group(&self) -> &OwnedGroup {
        &self.group
    }

    /// What will be removed with the pod once it is empty.
    pub fn created_parents(&self) -> &[CreatedParent] {
        &self.created_parents
    }

    /// Makes the group, and the parents that were missing. What exists already is fine.
    ///
    /// # Errors
    /// [`CgroupError::Create`] and [`CgroupError::Systemd`]; [`PodCgroup::remove`] undoes what was made until then.
    pub fn create(&self, cgroups: &Cgroups) -> Result<(), CgroupError> {
        for parent in &self.created_parents {
            if let CreatedParent::Slice(slice) = parent {
                start_slice(slice)?;
            }
        }
        for directory in pod_directories(cgroups, self.group.path()) {
            make_all(&directory)?;
        }
        Ok(())
    }

    /// Removes the group and then every parent made for it that is empty now.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] when the pod's own group is still in use after `limit`.
    pub fn remove(&self, cgroups: &Cgroups, limit: Duration) -> Result<(), CgroupError> {
        cgroups.remove(&self.group, limit)?;
        for parent in self.created_parents.iter().rev() {
            match parent {
                CreatedParent::Directory(path) => remove_empty(path)?,
                CreatedParent::Slice(slice) => stop_empty_slice(cgroups, slice)?,
            }
        }
        Ok(())
    }
}

/// The directories of `parent` and of the groups above it that do not exist, in every hierarchy, outermost first. With
/// `ours` those of `parent` itself are listed even if they exist.
fn missing_parents(cgroups: &Cgroups, parent: &GroupPath, ours: bool) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut group = Some(parent.clone());
    while let Some(current) = group.filter(|group| group.parent().is_some()) {
        let is_listed = |directory: &PathBuf| (ours && current == *parent) || !directory.is_dir();
        let level: Vec<PathBuf> = cgroups.directories(&current).filter(is_listed).collect();
        if level.is_empty() {
            break;
        }
        group = current.parent();
        missing.splice(0..0, level);
    }
    missing
}

/// The slices on the way to `parent` that systemd has not started, outermost first. Starting the innermost starts all,
/// but stopping it stops only itself.
fn missing_slices(cgroups: &Cgroups, parent: &GroupPath) -> Vec<String> {
    let mut missing = Vec::new();
    let mut group = Some(parent.clone());
    while let Some(current) = group.filter(|group| group.parent().is_some()) {
        if pod_directories(cgroups, &current).all(|directory| directory.is_dir()) {
            break;
        }
        missing.insert(0, current.as_str().rsplit('/').next().unwrap_or_default().to_owned());
        group = current.parent();
    }
    missing
}

fn pod_directories<'a>(cgroups: &'a Cgroups, group: &'a GroupPath) -> impl Iterator<Item = PathBuf> {
    let wanted =
        |controllers: &[String]| V1_CONTROLLERS.iter().any(|name| controllers.iter().any(|c| c == name));
    cgroups
        .hierarchies()
        .iter()
        .filter(move |h| if cgroups.is_v2() { h.is_v2 } else { wanted(&h.controllers) })
        .map(move |h| group.below(&h.mount))
}

fn make_all(directory: &Path) -> Result<(), CgroupError> {
    let mut attempt = 1;
    loop {
        match std::fs::create_dir_all(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            Err(source) => return Err(CgroupError::Create { path: directory.to_path_buf(), source }),
        }
    }
}

fn remove_empty(directory: &Path) -> Result<(), CgroupError> {
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        // Another pod lives there, or it is gone.
        Err(error) if is_busy(&error) || error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CgroupError::Remove { path: directory.to_path_buf(), source }),
    }
}

fn start_slice(slice: &str) -> Result<(), CgroupError> {
    let failed = |source| CgroupError::Systemd { unit: slice.to_owned(), source };
    let description = Property::Description(format!("Pods in {slice}"));
    match Bus::system().map_err(failed)?.start_transient_slice(slice, &[description]) {
        Ok(()) | Err(ochre_systemd::Error::UnitExists { .. }) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

fn stop_empty_slice(cgroups: &Cgroups, slice: &str) -> Result<(), CgroupError> {
    let group = super::expand_slice(slice)?;
    let is_used =
        cgroups.directories(&group).any(|directory| subgroups(&directory).is_ok_and(|all| !all.is_empty()));
    if is_used {
        return Ok(());
    }
    let failed = |source| CgroupError::Systemd { unit: slice.to_owned(), source };
    match Bus::system().map_err(failed)?.stop_unit(slice) {
        Ok(()) | Err(ochre_systemd::Error::NoSuchUnit { .. }) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}
