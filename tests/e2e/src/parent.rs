//! A cgroup parent for pods, as the kubelet makes one with either driver.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Groups of the test's own, one in each hierarchy (or the one of cgroup v2), or a slice; gone with the value.
#[derive(Debug)]
pub struct Parent {
    name: String,
    groups: Vec<PathBuf>,
}

impl Parent {
    /// Makes one for this process. The name is letters only: systemd reads more into others.
    ///
    /// # Errors
    /// When the groups cannot be made.
    pub fn new(name: &str) -> std::io::Result<Self> {
        let systemd = with_systemd();
        let name = format!("ochre{name}{}{}", std::process::id(), if systemd { ".slice" } else { "" });
        let root = Path::new("/sys/fs/cgroup");
        let tops: Vec<_> = if root.join("cgroup.procs").exists() {
            vec![root.to_path_buf()]
        } else {
            let entries = std::fs::read_dir(root)?.flatten().map(|entry| entry.path());
            entries.filter(|path| path.join("cgroup.procs").exists()).collect()
        };
        let groups: Vec<_> = tops.into_iter().map(|top| top.join(&name)).collect();
        let parent = Self { name, groups };
        // systemd makes a slice with the first scope in it.
        if !systemd {
            parent.groups.iter().try_for_each(std::fs::create_dir)?;
        }
        Ok(parent)
    }

    /// Its path below each hierarchy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it is written in a request.
    pub fn given(&self) -> String {
        format!("/{}", self.name)
    }

    /// What is inside.
    pub fn groups(&self) -> Vec<PathBuf> {
        let entries = self.groups.iter().flat_map(std::fs::read_dir).flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        if self.name.ends_with(".slice") {
            Command::new("systemctl").args(["--quiet", "stop", &self.name]).status().ok();
        }
        for group in self.groups().iter().chain(&self.groups) {
            std::fs::remove_dir(group).ok();
        }
    }
}

/// Whether the engines of these tests use the systemd driver.
pub fn with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
        && std::env::var("CONTAINER_CGROUP_MANAGER").is_ok_and(|driver| driver == "systemd")
}
