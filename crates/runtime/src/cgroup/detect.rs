//! Which hierarchies are mounted where.

use std::path::{Path, PathBuf};

use super::{CgroupError, GroupPath};

/// Where every distribution mounts control groups; mounts elsewhere belong to somebody's container.
const MOUNT_ROOT: &str = "/sys/fs/cgroup";
/// The table of an ordinary node is 10 KiB; one with thousands of containers stays below this.
const MAX_MOUNTINFO: u64 = 64 << 20;

/// Which control group interface carries the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 1 only.
    V1,
    /// Version 1 with controllers, and a version 2 tree beside it. OCI runtimes treat it as version 1.
    Hybrid,
    /// Version 2 only.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    /// Version 1: controllers, or `name=…`. Version 2: empty.
    pub(super) controllers: Vec<String>,
    pub(super) is_v2: bool,
}

/// The hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    version: Version,
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Reads the mount table of this process.
    ///
    /// # Errors
    /// [`CgroupError::Mountinfo`] and [`CgroupError::NotMounted`].
    pub fn detect() -> Result<Self, CgroupError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let file = std::fs::File::open("/proc/self/mountinfo")?;
            let mut table = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_MOUNTINFO), &mut table)?;
            Ok(table)
        };
        let table = read().map_err(|source| CgroupError::Mountinfo { source })?;
        Self::parse(&String::from_utf8_lossy(&table))
    }

    /// Reads a table in the format of proc_pid_mountinfo(5).
    pub(super) fn parse(table: &str) -> Result<Self, CgroupError> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for hierarchy in table.lines().filter_map(hierarchy) {
            // The same hierarchy may be mounted again deeper down; the first mount is the one everybody uses.
            let known = hierarchies
                .iter()
                .any(|other| other.is_v2 == hierarchy.is_v2 && other.controllers == hierarchy.controllers);
            if !known {
                hierarchies.push(hierarchy);
            }
        }
        let unified_at_root = hierarchies.iter().any(|h| h.is_v2 && h.mount == Path::new(MOUNT_ROOT));
        if unified_at_root {
            hierarchies.retain(|h| h.is_v2);
            return Ok(Self { version: Version::V2, hierarchies });
        }
        let version = match (hierarchies.iter().any(|h| !h.is_v2), hierarchies.iter().any(|h| h.is_v2)) {
            (true, true) => Version::Hybrid,
            (true, false) => Version::V1,
            (false, _) => return Err(CgroupError::NotMounted),
        };
        Ok(Self { version, hierarchies })
    }

    /// Which interface carries the controllers.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the controllers are those of version 2.
    pub fn is_v2(&self) -> bool {
        self.version == Version::V2
    }

    /// The directory of `group` in the hierarchy of a version 1 controller, or on version 2 its only directory.
    /// `None` where the controller is not mounted.
    pub fn directory(&self, controller: &str, group: &GroupPath) -> Option<PathBuf> {
        let holds = |h: &&Hierarchy| match self.version {
            Version::V2 => h.is_v2,
            Version::V1 | Version::Hybrid => h.controllers.iter().any(|c| c == controller),
        };
        self.hierarchies.iter().find(holds).map(|h| group.below(&h.mount))
    }

    /// The directories of `group` in every hierarchy, whether they exist or not.
    pub(super) fn directories(&self, group: &GroupPath) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(move |h| group.below(&h.mount))
    }
}

/// `36 35 0:31 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory`
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mount = PathBuf::from(mount.split(' ').nth(4)?);
    if !mount.starts_with(MOUNT_ROOT) {
        return None;
    }
    let mut file_system = file_system.split(' ');
    let is_v2 = match file_system.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = file_system.nth(1)?;
    // Options that are neither a controller nor the name of a hierarchy (cgroups(7), "Mounting v1 controllers").
    let is_controller = |option: &&str| {
        let other =
            ["rw", "ro", "none", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"];
        !other.contains(option) && !option.starts_with("release_agent=")
    };
    let controllers =
        if is_v2 { Vec::new() } else { options.split(',').filter(is_controller).map(String::from).collect() };
    Some(Hierarchy { mount, controllers, is_v2 })
}
