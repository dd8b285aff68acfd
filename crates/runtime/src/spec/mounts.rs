//! The mount list: the kernel's file systems, the pod's files, and the request's volumes.
//!
//! ```text
//!  defaults (/proc /dev /sys …)  -- minus those a volume covers --+
//!  pod files (resolv.conf, hosts …) -- minus those, too ---------+--> sorted by depth, equal depth in this order
//!  volumes the image declares ------ minus those, too ----------+
//!  volumes of the request ---------------------------------------+
//! ```
//! A volume wins over a default mount at the same place; one on `/dev` or `/sys` takes the defaults below it along,
//! as CRI-O does. Sorting by depth makes parents appear before what is mounted inside them.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::config::NamespaceMode;

use super::error::shortened;
use super::namespaces::has_user_namespace;
use super::{ContainerInput, Error};

mod options;
mod source;
mod volume;

pub(super) use source::real_path;
use volume::Volumes;
pub(super) use volume::check;

/// The mounts of a container, and what they ask of its root and the node.
#[derive(Debug)]
pub(super) struct Mounts {
    /// In the order to mount.
    pub(super) list: Vec<Mount>,
    /// Host directories that were made because the source was missing.
    pub(super) created: Vec<PathBuf>,
    /// `rootfsPropagation`, where a volume needs one.
    pub(super) root_propagation: Option<&'static str>,
}

/// What is mounted beside the kernel's file systems and the request's volumes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generated<'a> {
    /// The pod's files: path in the container, file on the node.
    pub(super) files: &'a [(&'static str, PathBuf)],
    /// Directories for volumes that the image declares.
    pub(super) declared: &'a [(PathBuf, PathBuf)],
    /// Whether the root is read-only, and the files with it.
    pub(super) readonly_root: bool,
}

/// Builds the list for a request that passed [`check`]. Makes missing host directories, once every volume has been
/// accepted.
///
/// # Errors
/// Any volume that cannot be mounted as asked.
pub(super) fn mounts(input: &ContainerInput<'_>, generated: Generated<'_>) -> Result<Mounts, Error> {
    let Volumes { list: volumes, created, root_propagation } = volume::volumes(input)?;
    let mut list = defaults(input);
    list.extend(generated.files.iter().map(|(path, file)| pod_file(path, file, generated.readonly_root)));
    let declared = generated.declared.iter();
    list.extend(declared.map(|(path, source)| mount(path, "bind", source, bind_options(&[]))));
    list.retain(|mount| !volumes.iter().any(|volume| covers(volume.destination(), mount.destination())));
    list.extend(volumes);
    list.sort_by_key(|mount| mount.destination().components().count());
    Ok(Mounts { list, created, root_propagation })
}

/// Whether a volume at `volume` replaces the default mount at `default`.
fn covers(volume: &Path, default: &Path) -> bool {
    let whole_tree = volume == Path::new("/dev") || volume == Path::new("/sys");
    volume == default || (whole_tree && default.starts_with(volume))
}

/// What every container has unless a volume covers it.
fn defaults(input: &ContainerInput<'_>) -> Vec<Mount> {
    let privileged = input.container.security.privileged;
    let namespaces = &input.container.security.namespaces;
    let user_namespace = has_user_namespace(namespaces);
    let access = if privileged { "rw" } else { "ro" };
    let plain = |destination: &str, kind: &str, options: &[&str]| {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        mount(Path::new(destination), kind, Path::new(kind), options)
    };
    let mut list = vec![
        plain("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        plain("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        plain(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    // Mounting a kernel file system needs the user namespace that owns the matching namespace; with a user namespace
    // of the pod and a namespace of the node, only the node's own mount can be shown.
    list.push(if user_namespace && namespaces.ipc == NamespaceMode::Node {
        mount(
            Path::new("/dev/mqueue"),
            "bind",
            Path::new("/dev/mqueue"),
            bind_options(&["nosuid", "noexec", "nodev"]),
        )
    } else {
        plain("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"])
    });
    list.push(if user_namespace && namespaces.network == NamespaceMode::Node {
        mount(
            Path::new("/sys"),
            "bind",
            Path::new("/sys"),
            bind_options(&["nosuid", "noexec", "nodev", access]),
        )
    } else {
        plain("/sys", "sysfs", &["nosuid", "noexec", "nodev", access])
    });
    list.push(plain("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]));
    let shm = match (&input.files.shm, namespaces.ipc) {
        (_, NamespaceMode::Node) => Some(Path::new("/dev/shm")),
        (path, _) => path.as_deref(),
    };
    list.push(match shm {
        Some(source) => {
            mount(Path::new("/dev/shm"), "bind", source, bind_options(&["nosuid", "noexec", "nodev", "rw"]))
        }
        None => plain("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    });
    if input.node.read_only {
        for path in ["/run", "/tmp", "/var/tmp"] {
            list.push(plain(path, "tmpfs", &["rw", "nosuid", "nodev", "tmpcopyup"]));
        }
    }
    list
}

fn pod_file(path: &str, file: &Path, readonly: bool) -> Mount {
    let access = if readonly { "ro" } else { "rw" };
    mount(Path::new(path), "bind", file, bind_options(&["nosuid", "noexec", "nodev", access]))
}

fn bind_options(more: &[&str]) -> Vec<String> {
    ["rbind", "rprivate"].iter().chain(more).map(|option| (*option).to_owned()).collect()
}

pub(super) fn mount(destination: &Path, kind: &str, source: &Path, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.to_path_buf())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_path_buf()))
        .set_options(Some(options));
    mount
}

/// A path of the container that must be absolute: without NUL, `.` and repeated slashes. `..` is refused, because
/// what it means depends on links of the image.
///
/// # Errors
/// [`Error::Path`].
pub(super) fn absolute(field: &'static str, text: &str) -> Result<PathBuf, Error> {
    let refused = |reason| Error::Path { field, path: shortened(text), reason };
    if !text.starts_with('/') {
        return Err(refused("is not absolute"));
    }
    if text.contains('\0') {
        return Err(refused("contains a NUL byte"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(refused("contains `..`"));
    }
    if text.len() > 4096 {
        return Err(refused("is longer than 4096 bytes"));
    }
    Ok(Path::new(text).components().collect())
}

/// Lowest OCI version that knows every field in use. Old runtimes ignore what they do not know, so a field that
/// must not be ignored raises the version.
pub(super) fn oci_version(list: &[Mount]) -> &'static str {
    let newer = |mount: &Mount| {
        let recursive = mount.options().iter().flatten().any(|option| option == "rro");
        recursive || mount.uid_mappings().is_some() || mount.gid_mappings().is_some()
    };
    if list.iter().any(newer) { "1.1.0" } else { "1.0.2" }
}

#[cfg(test)]
mod tests;
