//! Which cgroup world the machine is in.
//!
//! `/proc/self/cgroup` names the active hierarchies; whether and as what they are mounted is asked from each mount
//! point. The mount table is not read: it has thousands of lines on a node with many pods.

use std::path::{Path, PathBuf};

use super::{CgroupError, MOUNT_POINT, files};

const CGROUP2_MAGIC: u64 = 0x6367_7270;
const CGROUP1_MAGIC: u64 = 0x0027_e0eb;

/// One mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Hierarchy {
    /// Name below the mount point, such as `memory`, `cpu,cpuacct` or `systemd`.
    pub directory: String,
    /// Mount options that select it: `memory`, `cpu,cpuacct` or `none,name=systemd`.
    pub selector: String,
    /// The runtime's own group in it.
    pub own: PathBuf,
}

impl V1Hierarchy {
    /// Where it is mounted.
    pub fn mount_point(&self) -> PathBuf {
        Path::new(MOUNT_POINT).join(&self.directory)
    }

    /// Whether it has the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.selector.split(',').any(|name| name == controller)
    }
}

/// The mounted hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// cgroup v2 only.
    V2,
    /// v1, with or without an additional v2 mount.
    V1(Vec<V1Hierarchy>),
}

impl Hierarchies {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`] when there is neither.
    pub fn detect() -> Result<Self, CgroupError> {
        if magic(Path::new(MOUNT_POINT)) == Some(CGROUP2_MAGIC) {
            return Ok(Self::V2);
        }
        let own = files::read(Path::new("/proc/self/cgroup"))?;
        let mounted =
            parse(&own, |directory| magic(&Path::new(MOUNT_POINT).join(directory)) == Some(CGROUP1_MAGIC));
        if mounted.is_empty() { Err(CgroupError::NotMounted) } else { Ok(Self::V1(mounted)) }
    }

    /// The runtime's own group, below which relative paths start. On v1, where it may differ between hierarchies,
    /// that of systemd's.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn own_path(&self) -> Result<PathBuf, CgroupError> {
        match self {
            Self::V2 => {
                let own = files::read(Path::new("/proc/self/cgroup"))?;
                Ok(own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").into())
            }
            Self::V1(mounted) => {
                let named =
                    mounted.iter().find(|hierarchy| hierarchy.directory == "systemd").or(mounted.first());
                Ok(named.map_or_else(|| "/".into(), |hierarchy| hierarchy.own.clone()))
            }
        }
    }
}

fn magic(path: &Path) -> Option<u64> {
    rustix::fs::statfs(path).ok().map(|stat| stat.f_type as u64)
}

/// Reads lines `id:controllers:path`; a hierarchy is mounted at its controllers' names, or a link of one of them.
fn parse(own: &str, is_mounted: impl Fn(&str) -> bool) -> Vec<V1Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if id == "0" {
            return None;
        }
        let name = controllers.strip_prefix("name=");
        let directory = std::iter::once(name.unwrap_or(controllers))
            .chain(controllers.split(','))
            .find(|d| is_mounted(d))?;
        let selector = name.map_or_else(|| controllers.to_owned(), |name| format!("none,name={name}"));
        Some(V1Hierarchy { directory: directory.to_owned(), selector, own: path.into() })
    };
    own.lines().filter_map(hierarchy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_lists_are_read() {
        let text = "9:name=systemd:/\n5:cpu,cpuacct:/a:b\n4:memory:/x\n3:hugetlb:/\n0::/user.slice\n";
        let mounted = parse(text, |directory| directory != "hugetlb");
        let names: Vec<_> = mounted.iter().map(|h| (h.directory.as_str(), h.selector.as_str())).collect();
        assert_eq!(
            names,
            [("systemd", "none,name=systemd"), ("cpu,cpuacct", "cpu,cpuacct"), ("memory", "memory")]
        );
        assert_eq!(mounted[1].own, PathBuf::from("/a:b"));
        assert!(mounted[1].has("cpuacct") && !mounted[1].has("acct"));
    }
}
