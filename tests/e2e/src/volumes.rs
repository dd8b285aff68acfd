//! Volumes in requests, and what the engine keeps for them.

use std::path::{Path, PathBuf};

use ochre_cri_api as api;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::Node;

/// A volume from a path of the node.
pub fn bind(host: &Path, target: &str) -> api::Mount {
    api::Mount {
        host_path: host.to_string_lossy().into_owned(),
        container_path: target.into(),
        ..Default::default()
    }
}

/// A volume from an image.
pub fn of_image(image: &str, target: &str, sub_path: &str) -> api::Mount {
    api::Mount {
        container_path: target.into(),
        image: Some(api::ImageSpec { image: image.into(), ..Default::default() }),
        image_sub_path: sub_path.into(),
        readonly: true,
        ..Default::default()
    }
}

/// Everything the engine has on disk for containers.
pub fn traces(node: &Node) -> Vec<PathBuf> {
    let places = ["root/ochre/pods", "root/ochre/volumes", "run/ochre/pods", "root/overlay-containers"];
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = places.iter().map(|place| node.path(place)).collect();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            // What belongs to the pod alone changes by itself.
            if name.len() >= 64 {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A tmpfs on a path below the node's directory; gone with the value.
pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// Mounts it, making the directory.
    pub fn mount(path: PathBuf, propagation: MountPropagationFlags) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path)?;
        rustix::mount::mount("tmpfs", &path, "tmpfs", MountFlags::empty(), None)?;
        let mounted = Self(path);
        rustix::mount::mount_change(&mounted.0, propagation)?;
        Ok(mounted)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}
