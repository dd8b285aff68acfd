//! The mount list: the kernel's file systems, the pod's files, and the request's volumes.
//!
//! ```text
//!  defaults (/proc /dev /sys …)  -- minus those a volume covers --+
//!  pod files (resolv.conf, hosts …) -- minus those, too ---------+--> sorted by depth, equal depth in this order
//!  volumes of the request ---------------------------------------+
//! ```
//! A volume wins over a default mount at the same place; one on `/dev` or `/sys` takes the defaults below it along,
//! as CRI-O does. Sorting by depth makes parents appear before what is mounted inside them.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use crate::clamp::Warning;
use crate::config::{self, NamespaceMode, Propagation};

use super::error::shortened;
use super::namespaces::{has_user_namespace, mappings};
use super::{ContainerInput, Error};

mod source;

pub(super) use source::real_path;
use source::{KernelFileSystem, Source, Sources};

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

/// Builds the list for a request that passed [`check`]. Makes missing host directories.
///
/// # Errors
/// Any volume that cannot be mounted as asked.
pub(super) fn mounts(
    input: &ContainerInput<'_>,
    generated: &[(&'static str, PathBuf)],
    readonly_root: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Mounts, Error> {
    let mut volumes = Vec::new();
    let mut created = Vec::new();
    let mut root_propagation = None;
    let sources = Sources::open(&input.node.sources)?;
    for volume in &input.container.mounts {
        let (mount, reach) = one_volume(input, &sources, volume, &mut created)?;
        root_propagation = wider(root_propagation, reach);
        if volume.selinux_relabel && input.node.security.selinux {
            warnings.push(Warning::NotRelabelled { path: shortened(&volume.host_path) });
        }
        volumes.push(mount);
    }
    let mut list = defaults(input);
    list.extend(generated.iter().map(|(path, file)| pod_file(path, file, readonly_root)));
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

/// Refuses what can be refused by looking at the request alone, so that nothing is made for it.
///
/// # Errors
/// As [`mounts`], except for what only the node can tell.
pub(super) fn check(input: &ContainerInput<'_>) -> Result<(), Error> {
    for volume in &input.container.mounts {
        let path = shortened(&volume.container_path);
        if absolute("container path", &volume.container_path)? == Path::new("/") {
            return Err(Error::Path { field: "container path", path, reason: "must not be the root" });
        }
        if volume.image.is_some() {
            return Err(Error::ImageVolume { path });
        }
        if volume.host_path.is_empty() {
            return Err(Error::NoSource { path });
        }
        let mapped = !(volume.uid_mappings.is_empty() && volume.gid_mappings.is_empty());
        if mapped && !input.features.idmap {
            return Err(Error::IdmapUnsupported { path });
        }
        check_recursive_readonly(input, volume, &path)?;
    }
    Ok(())
}

fn one_volume(
    input: &ContainerInput<'_>,
    sources: &Sources<'_>,
    volume: &config::Mount,
    created: &mut Vec<PathBuf>,
) -> Result<(Mount, Option<&'static str>), Error> {
    let path = shortened(&volume.container_path);
    let destination = absolute("container path", &volume.container_path)?;
    let source = sources.resolve(&volume.host_path, &path)?;
    check_kernel_path(&destination, &source, &path)?;
    if source.created {
        created.push(source.path.clone());
    }
    let (propagation, reach) = propagation(input, volume.propagation, &source, &path)?;
    let mut options = vec!["rbind".to_owned(), propagation.to_owned()];
    options.push(if volume.readonly { "ro" } else { "rw" }.to_owned());
    if volume.recursive_readonly {
        options.push("rro".to_owned());
    }
    let mut mount = mount(&destination, "bind", &source.path, options);
    if !volume.uid_mappings.is_empty() {
        mount.set_uid_mappings(Some(mappings(&volume.uid_mappings)));
    }
    if !volume.gid_mappings.is_empty() {
        mount.set_gid_mappings(Some(mappings(&volume.gid_mappings)));
    }
    Ok((mount, reach))
}

fn check_recursive_readonly(
    input: &ContainerInput<'_>,
    volume: &config::Mount,
    path: &str,
) -> Result<(), Error> {
    if !volume.recursive_readonly {
        return Ok(());
    }
    if !volume.readonly || volume.propagation != Propagation::Private {
        return Err(Error::RroConflict { path: path.to_owned() });
    }
    if input.features.rro { Ok(()) } else { Err(Error::RroUnsupported { path: path.to_owned() }) }
}

/// Files of `/proc` that a virtual view of the machine's resources (lxcfs) replaces; runtimes accept exactly these.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// A volume in `/proc` or in place of `/sys` could pose as the kernel's files that a runtime writes labels and
/// parameters to (CVE-2019-16884, CVE-2025-52881).
fn check_kernel_path(destination: &Path, source: &Source, path: &str) -> Result<(), Error> {
    let allowed = if destination == Path::new("/proc") {
        source.file_system == Some(KernelFileSystem::Proc)
    } else if destination == Path::new("/sys") {
        source.file_system == Some(KernelFileSystem::Sys)
    } else if destination.starts_with("/proc") {
        PROC_FILES.iter().any(|known| destination == Path::new(known))
    } else {
        true
    };
    if allowed { Ok(()) } else { Err(Error::KernelPath { path: path.to_owned() }) }
}

/// The mount option, and the propagation the container's root needs for it.
fn propagation(
    input: &ContainerInput<'_>,
    wanted: Propagation,
    source: &Source,
    path: &str,
) -> Result<(&'static str, Option<&'static str>), Error> {
    match wanted {
        Propagation::Private => {
            let storage = input.node.sources.storage_root.as_ref();
            // A private copy would keep every layer mounted inside it busy for the life of this container.
            let holds_storage = storage.is_some_and(|root| root.starts_with(&source.path));
            Ok(if holds_storage { ("rslave", Some("rslave")) } else { ("rprivate", None) })
        }
        Propagation::HostToContainer => Ok(("rslave", Some("rslave"))),
        Propagation::Bidirectional => {
            let (mount_point, shared) = source::mount_of(&source.path)?;
            if shared {
                Ok(("rshared", Some("rshared")))
            } else {
                Err(Error::NotShared { source_path: source.path.clone(), path: path.to_owned(), mount_point })
            }
        }
    }
}

fn wider(one: Option<&'static str>, other: Option<&'static str>) -> Option<&'static str> {
    if one == Some("rshared") || other.is_none() { one } else { other }
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
