//! Names: from what kubelet or `crictl` gives as a parent to groups of pods and containers.

use std::fmt;
use std::path::{Path, PathBuf};

use ochre_types::ContainerId;
use serde::{Deserialize, Serialize};

use super::CgroupError;

/// Parent of pods that name none, per driver (CRI-O's choice).
const DEFAULT_PARENT: &str = "/crio";
const DEFAULT_SLICE: &str = "system.slice";

/// The kernel's own limit of a path.
const MAX_PATH: usize = 4096;

/// Who makes the groups of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// The OCI runtime, by `mkdir`.
    Cgroupfs,
    /// systemd, asked by the OCI runtime.
    Systemd,
}

impl Driver {
    /// Refuses the systemd driver on a machine without systemd.
    ///
    /// # Errors
    /// [`CgroupError::NoSystemd`].
    pub fn check(self) -> Result<(), CgroupError> {
        match self {
            Self::Systemd if !ochre_systemd::running() => Err(CgroupError::NoSystemd),
            Self::Systemd | Self::Cgroupfs => Ok(()),
        }
    }
}

/// Path of a group from the root of a hierarchy: absolute, normal, harmless.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupPath(Box<str>);

impl GroupPath {
    /// Checks a path. Leading, trailing and doubled slashes mean nothing; `.` and `..` are refused.
    ///
    /// # Errors
    /// [`CgroupError::InvalidPath`].
    pub fn new(path: &str) -> Result<Self, CgroupError> {
        let refused = || CgroupError::InvalidPath { path: path.chars().take(300).collect() };
        if path.len() > MAX_PATH || path.chars().any(char::is_control) {
            return Err(refused());
        }
        let mut normal = String::with_capacity(path.len() + 1);
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if part == "." || part == ".." || part.len() > 255 {
                return Err(refused());
            }
            normal.push('/');
            normal.push_str(part);
        }
        Ok(Self(if normal.is_empty() { "/".into() } else { normal.into() }))
    }

    /// The path, which begins with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group's directory in the hierarchy mounted at `mount`.
    pub(super) fn below(&self, mount: &Path) -> PathBuf {
        mount.join(&self.0[1..])
    }

    fn child(&self, name: &str) -> Self {
        let separator = if self.0.ends_with('/') { "" } else { "/" };
        Self(format!("{}{separator}{name}", self.0).into())
    }
}

impl TryFrom<String> for GroupPath {
    type Error = CgroupError;

    fn try_from(path: String) -> Result<Self, CgroupError> {
        Self::new(&path)
    }
}

impl From<GroupPath> for String {
    fn from(path: GroupPath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A group whose name says that it is a pod's or a container's of this engine: the only kind that is killed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "GroupPath", into = "GroupPath")]
pub struct OwnedGroup {
    path: GroupPath,
}

impl OwnedGroup {
    /// The group of a container, where its OCI runtime makes it.
    ///
    /// # Errors
    /// [`CgroupError::NotASlice`], [`CgroupError::UnexpectedSlice`], [`CgroupError::InvalidSlice`] and
    /// [`CgroupError::InvalidPath`] for a bad parent.
    pub fn of_container(driver: Driver, parent: &str, id: &ContainerId) -> Result<Self, CgroupError> {
        let name = match driver {
            Driver::Cgroupfs => format!("crio-{id}"),
            Driver::Systemd => format!("crio-{id}.scope"),
        };
        Ok(Self { path: parent_group(driver, parent)?.child(&name) })
    }

    /// Where it is.
    pub fn path(&self) -> &GroupPath {
        &self.path
    }
}

impl TryFrom<GroupPath> for OwnedGroup {
    type Error = CgroupError;

    fn try_from(path: GroupPath) -> Result<Self, CgroupError> {
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        let id = name.strip_prefix("crio-").map(|id| id.strip_suffix(".scope").unwrap_or(id));
        if id.is_some_and(|id| id.parse::<ContainerId>().is_ok()) {
            return Ok(Self { path });
        }
        Err(CgroupError::InvalidPath { path: path.into() })
    }
}

impl From<OwnedGroup> for GroupPath {
    fn from(group: OwnedGroup) -> Self {
        group.path
    }
}

/// `linux.cgroupsPath` of a container: a path for cgroupfs, `<slice>:crio:<id>` for systemd.
///
/// # Errors
/// As [`OwnedGroup::of_container`].
pub fn container_cgroups_path(driver: Driver, parent: &str, id: &ContainerId) -> Result<String, CgroupError> {
    match driver {
        Driver::Cgroupfs => Ok(OwnedGroup::of_container(driver, parent, id)?.path.into()),
        Driver::Systemd => {
            let slice = slice_of(parent)?;
            expand_slice(slice)?;
            // A colon is a valid character of a unit's name, but here it separates the three parts.
            if slice.contains(':') {
                return Err(CgroupError::InvalidSlice { slice: slice.to_owned() });
            }
            Ok(format!("{slice}:crio:{id}"))
        }
    }
}

/// The group that pods with this parent live in.
///
/// # Errors
/// As [`OwnedGroup::of_container`].
pub fn parent_group(driver: Driver, parent: &str) -> Result<GroupPath, CgroupError> {
    match driver {
        Driver::Cgroupfs if parent.is_empty() => GroupPath::new(DEFAULT_PARENT),
        Driver::Cgroupfs if parent.trim_end_matches('/').ends_with(".slice") => {
            Err(CgroupError::UnexpectedSlice { parent: parent.into() })
        }
        Driver::Cgroupfs => GroupPath::new(parent),
        Driver::Systemd => expand_slice(slice_of(parent)?),
    }
}

/// Whether pods with this parent share the engine's own parent group, which nobody else makes.
pub(super) fn is_default_parent(driver: Driver, parent: &str) -> bool {
    driver == Driver::Cgroupfs && parent.is_empty()
}

/// The slice a parent names. Kubelet gives the whole path (`/kubepods.slice/kubepods-burstable.slice`); the last part
/// alone says where the slice is.
fn slice_of(parent: &str) -> Result<&str, CgroupError> {
    if parent.is_empty() {
        return Ok(DEFAULT_SLICE);
    }
    let slice = parent.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if !slice.ends_with(".slice") {
        return Err(CgroupError::NotASlice { parent: parent.into() });
    }
    // What is in front of it has no say, but a path that climbs is nobody's honest wish.
    GroupPath::new(parent)?;
    Ok(slice)
}

/// The group of a slice: `a-b.slice` lies in `a.slice`, `-.slice` is the root (systemd.slice(5)).
///
/// # Errors
/// [`CgroupError::InvalidSlice`].
pub fn expand_slice(slice: &str) -> Result<GroupPath, CgroupError> {
    let refused = || CgroupError::InvalidSlice { slice: slice.chars().take(300).collect() };
    let stem = slice.strip_suffix(".slice").ok_or_else(refused)?;
    if stem == "-" {
        return GroupPath::new("/");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if slice.len() > 255 || !stem.bytes().all(allowed) {
        return Err(refused());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(refused());
        }
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push('/');
        path.push_str(&prefix);
        path.push_str(".slice");
    }
    GroupPath::new(&path)
}
