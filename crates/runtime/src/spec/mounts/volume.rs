//! The request's volumes.
//!
//! ```text
//!  check: the request alone ──► find every source ──► judge every volume ──► make missing directories ──► relabel ──► mounts
//! ```
//! Nothing is made before every volume has been accepted, so a refused request leaves the node as it was. Of two volumes
//! at one place the container sees the later one, as if it lay on top; the earlier one is not mounted at all.

use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use oci_spec::runtime::Mount;
use rustix::fs::{FileType, OFlags};

use crate::config::{self, ContainerConfig, Propagation};
use crate::namespaces::id_map;

use super::super::error::shortened;
use super::super::namespaces::mappings;
use super::super::selinux::relabel::{self, Relabel, Trust};
use super::super::{ContainerInput, Error, HandlerRules, allowed, security};
use super::source::{self, KernelFileSystem, Source, Sources};
use super::{absolute, mount, options};

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

/// The mounts of the volumes, in the request's order.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) list: Vec<Mount>,
    pub(super) created: Vec<PathBuf>,
    pub(super) root_propagation: Option<&'static str>,
}

/// A volume that will be mounted.
struct Accepted<'a> {
    volume: &'a config::Mount,
    destination: PathBuf,
    source: Source,
    options: Vec<String>,
    /// The propagation the container's root needs for it.
    reach: Option<&'static str>,
    /// Whether the runtime has to map its owners.
    map_ids: bool,
}

/// Refuses what can be refused by looking at the request and the handler alone.
///
/// # Errors
/// As [`volumes`], except for what only the node can tell.
pub(in crate::spec) fn check(container: &ContainerConfig, features: HandlerRules) -> Result<(), Error> {
    for volume in &container.mounts {
        let path = shortened(&volume.container_path);
        if absolute("container path", &volume.container_path)? == Path::new("/") {
            return Err(Error::Path { field: "container path", path, reason: "must not be the root" });
        }
        options::check(&volume.options, &path)?;
        id_map::check_mount(&volume.uid_mappings, &volume.gid_mappings)?;
        let mapped = !(volume.uid_mappings.is_empty() && volume.gid_mappings.is_empty());
        if mapped && !features.idmap {
            return Err(Error::IdmapUnsupported { path });
        }
        check_recursive_readonly(features, volume, &path)?;
        if volume.image.is_some() {
            check_image(volume, &path)?;
        } else if volume.host_path.is_empty() {
            return Err(Error::NoSource { path });
        } else if !volume.image_sub_path.is_empty() {
            return Err(Error::ImageVolume { path, reason: "image_sub_path needs an image" });
        } else {
            source::lexical("host path", &volume.host_path)?;
        }
    }
    Ok(())
}

fn check_image(volume: &config::Mount, path: &str) -> Result<(), Error> {
    let sub_path = Path::new(&volume.image_sub_path);
    let plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    let reason = if !volume.host_path.is_empty() {
        "host_path must be empty for an image"
    } else if !volume.readonly {
        "an image can only be mounted read-only, and readonly is false"
    } else if volume.propagation != Propagation::Private {
        "an image can only be mounted with private propagation"
    } else if !sub_path.components().all(plain)
        || volume.image_sub_path.contains('\0')
        || volume.image_sub_path.len() > 4096
    {
        "image_sub_path must be a relative path without `..`"
    } else {
        return Ok(());
    };
    Err(Error::ImageVolume { path: path.to_owned(), reason })
}

fn check_recursive_readonly(features: HandlerRules, volume: &config::Mount, path: &str) -> Result<(), Error> {
    if !volume.recursive_readonly {
        return Ok(());
    }
    if !volume.readonly || volume.propagation != Propagation::Private {
        return Err(Error::RroConflict { path: path.to_owned() });
    }
    if features.rro { Ok(()) } else { Err(Error::RroUnsupported { path: path.to_owned() }) }
}

/// Mounts for all volumes of a request that passed [`check`].
///
/// # Errors
/// Any volume that cannot be mounted as asked.
pub(super) fn volumes(input: &ContainerInput<'_>) -> Result<Volumes, Error> {
    let label = security::selinux(input).volume;
    let relabel = label.as_deref().and_then(|label| relabelling(input, label));
    let sources = Sources::open(&input.node.sources)?;
    let mut accepted: Vec<Accepted<'_>> = Vec::new();
    for (place, volume) in input.container.mounts.iter().enumerate() {
        let one = accept(input, &sources, (place, volume))?;
        if relabel.is_some() && to_relabel(volume) {
            relabel::check(&one.source.path).map_err(|source| not_relabelled(volume, source))?;
        }
        accepted.retain(|earlier| earlier.destination != one.destination);
        accepted.push(one);
    }
    let mut volumes = Volumes::default();
    for one in accepted {
        volumes.add(one, &sources, relabel)?;
    }
    Ok(volumes)
}

/// The label for volumes, where SELinux is on.
fn relabelling<'a>(input: &ContainerInput<'_>, label: &'a str) -> Option<Relabel<'a>> {
    let policy = input.node.security.selinux.as_ref()?;
    let try_skip = allowed::TRY_SKIP_RELABEL.value(&input.sandbox.annotations, input.allowed_annotations);
    let trust = if try_skip == Some("true") { Trust::TopDirectory } else { Trust::Nothing };
    Some(Relabel { attribute: policy.attribute, label, trust })
}

/// An image's content has the label of its mount.
fn to_relabel(volume: &config::Mount) -> bool {
    volume.selinux_relabel && volume.image.is_none()
}

fn not_relabelled(volume: &config::Mount, source: relabel::RelabelError) -> Error {
    Error::Relabel { path: shortened(&volume.container_path), source }
}

fn accept<'a>(
    input: &ContainerInput<'_>,
    sources: &Sources<'_>,
    (place, volume): (usize, &'a config::Mount),
) -> Result<Accepted<'a>, Error> {
    let path = shortened(&volume.container_path);
    let destination = absolute("container path", &volume.container_path)?;
    let source = match &volume.image {
        Some(_) => from_image(input, place, volume)?,
        None => sources.find(&volume.host_path, &path)?,
    };
    check_kernel_path(&destination, &source, &path)?;
    let (propagation, reach) = propagation(input, volume.propagation, &source, &path)?;
    let mut options = options::bind(propagation, volume.readonly, &source.held, &volume.options);
    // A file has no mounts below it, and crun before 1.14.4 fails at one that is to be mounted recursively.
    if volume.recursive_readonly && source.directory {
        options.push("rro".to_owned());
    }
    let map_ids = input.volumes.get(&place).is_none_or(|directory| !directory.id_mapped);
    Ok(Accepted { volume, destination, source, options, reach, map_ids })
}

/// The part of a mounted image that a volume shows. Links of the image lead back into the image.
fn from_image(input: &ContainerInput<'_>, place: usize, volume: &config::Mount) -> Result<Source, Error> {
    let failed = |source| Error::ImageSubPath {
        path: shortened(&volume.container_path),
        sub_path: shortened(&volume.image_sub_path),
        source,
    };
    let directory = input.volumes.get(&place).ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let root = Root::open(&directory.path).map_err(failed)?;
    let opened = root.open_at(Path::new(&volume.image_sub_path), OFlags::PATH, 0).map_err(failed)?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        let neither = "it is neither a directory nor a regular file";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, neither)));
    }
    // The image's mount is read-only, so what the name means now it means for ever. Device nodes of an image are for
    // nobody; programs of it may be run.
    let path = source::real_path(&opened).map_err(failed)?;
    let directory = kind == FileType::Directory;
    Ok(Source { path, missing: None, directory, file_system: None, held: vec!["nodev"] })
}

impl Volumes {
    fn add(
        &mut self,
        accepted: Accepted<'_>,
        sources: &Sources<'_>,
        relabel: Option<Relabel<'_>>,
    ) -> Result<(), Error> {
        let Accepted { volume, destination, source, options, reach, map_ids } = accepted;
        let source = match source.missing {
            None => source.path,
            Some(missing) => {
                let made = sources.make(&missing, &shortened(&volume.container_path))?;
                self.created.push(made.clone());
                made
            }
        };
        if let Some(relabel) = relabel.filter(|_| to_relabel(volume)) {
            relabel.volume(&source).map_err(|source| not_relabelled(volume, source))?;
        }
        let mut mount = mount(&destination, "bind", &source, options);
        if map_ids && !volume.uid_mappings.is_empty() {
            mount.set_uid_mappings(Some(mappings(&volume.uid_mappings)));
        }
        if map_ids && !volume.gid_mappings.is_empty() {
            mount.set_gid_mappings(Some(mappings(&volume.gid_mappings)));
        }
        self.list.push(mount);
        self.root_propagation = wider(self.root_propagation, reach);
        Ok(())
    }
}

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
