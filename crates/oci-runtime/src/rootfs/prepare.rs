//! The part that needs the host's paths: done in the runtime, with the runtime's rights.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ochre_sys::mount::{self, AttributeChange, set_attributes};
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use super::options::{MountOptions, Reach};
use super::{RootfsError, change, devices};
use crate::cgroup::{Groups, Hierarchies};
use crate::idmap;
use crate::spec::{Device, IdMapping, Mount, NamespaceKind, Spec};

/// Where a mount comes from.
#[derive(Debug)]
pub enum Source {
    /// A detached copy of a host path.
    Tree(OwnedFd),
    /// A new file system of this type, from this device.
    Filesystem {
        /// Type.
        kind: String,
        /// Device or any word.
        device: Option<PathBuf>,
    },
    /// The container's control groups.
    Cgroups,
}

/// A mount ready to be attached.
#[derive(Debug)]
pub struct PreparedMount {
    /// Path inside.
    pub destination: PathBuf,
    /// Where from; taken when attached.
    pub source: Option<Source>,
    /// Its options.
    pub options: MountOptions,
}

/// How the control groups are shown.
#[derive(Debug)]
pub enum CgroupView {
    /// In a cgroup namespace of its own, where the container's group is the root.
    Namespace(Hierarchies),
    /// As detached copies of the container's groups by directory name; a single nameless one on v2.
    Copies(Vec<(String, OwnedFd)>),
    /// The container mounts none.
    None,
}

/// Everything the child needs.
#[derive(Debug)]
pub struct Prepared {
    /// The root's host path.
    pub rootfs: PathBuf,
    /// Detached copy of it.
    pub root_tree: OwnedFd,
    /// Mounts in order.
    pub mounts: Vec<PreparedMount>,
    /// The container's control groups.
    pub cgroups: CgroupView,
    /// Whether devices are made: not on a bind mount of the host's `/dev`.
    pub makes_devices: bool,
    /// Devices, with copies of the host's nodes where the container cannot make its own.
    pub devices: Vec<(Device, Option<OwnedFd>)>,
    /// Paths to hide.
    pub masked_paths: Vec<PathBuf>,
    /// Paths to protect.
    pub readonly_paths: Vec<PathBuf>,
    /// Last change of the root: read-only, propagation.
    pub final_root: AttributeChange<'static>,
    /// SELinux context of new file systems.
    pub mount_label: Option<String>,
}

fn copy_host_path(path: &Path, recursive: bool) -> Result<OwnedFd, RootfsError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(CWD, path, flags)
        .map_err(|error| RootfsError::Source { path: path.to_owned(), source: error.into() })
}

/// Opens and checks everything that comes from the host.
///
/// # Errors
/// [`RootfsError`].
pub fn prepare(
    spec: &Spec,
    bundle: &Path,
    rootfs: PathBuf,
    hierarchies: &Hierarchies,
    groups: &Groups,
) -> Result<Prepared, RootfsError> {
    let root_tree = copy_host_path(&rootfs, true)?;
    let (at_once, at_last) = propagation(spec.linux.rootfs_propagation.as_deref().unwrap_or_default())?;
    let set = |tree: &OwnedFd, change: &AttributeChange<'_>| {
        set_attributes(tree.as_fd(), change)
            .map_err(|source| RootfsError::Step { step: "setting the propagation of the root", source })
    };
    set(&root_tree, &change(0, 0, at_once, true))?;
    let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
    let in_user_namespace = spec.linux.namespace(NamespaceKind::User).is_some();
    let mounts =
        spec.mounts.iter().map(|mount| prepare_mount(mount, bundle, spec)).collect::<Result<Vec<_>, _>>()?;
    let on_host_dev = |mount: &PreparedMount| {
        mount.options.bind.is_some() && Path::new("/").join(&mount.destination) == Path::new("/dev")
    };
    let makes_devices = !mounts.iter().any(on_host_dev);
    let devices = devices::wanted(&spec.linux.devices).into_iter().map(|device| {
        let copy = (in_user_namespace && makes_devices && device.kind != "p")
            .then(|| copy_host_path(&device.path, false));
        Ok((device, copy.transpose()?))
    });
    let devices = devices.collect::<Result<Vec<_>, RootfsError>>()?;
    Ok(Prepared {
        cgroups: cgroup_view(spec, hierarchies, groups)?,
        root_tree,
        rootfs,
        mounts,
        makes_devices,
        devices,
        masked_paths: spec.linux.masked_paths.clone(),
        readonly_paths: spec.linux.readonly_paths.clone(),
        final_root: change(if readonly { mount::ATTR_RDONLY } else { 0 }, 0, at_last, false),
        mount_label: spec
            .linux
            .mount_label
            .clone()
            .filter(|label| !label.is_empty() && crate::lsm::selinux_enabled()),
    })
}

/// Propagation of the root while it is detached, and at the end (0 for no change). Nothing that happens while the
/// root is built may reach the host.
fn propagation(word: &str) -> Result<(u64, u64), RootfsError> {
    match word {
        "" | "private" | "rprivate" => Ok((mount::PRIVATE, 0)),
        "slave" | "rslave" => Ok((mount::SLAVE, 0)),
        "shared" | "rshared" => Ok((mount::PRIVATE, mount::SHARED)),
        "unbindable" | "runbindable" => Ok((mount::PRIVATE, mount::UNBINDABLE)),
        _ => Err(RootfsError::Propagation { value: word.to_owned() }),
    }
}

fn prepare_mount(mount: &Mount, bundle: &Path, spec: &Spec) -> Result<PreparedMount, RootfsError> {
    let destination = mount.destination.clone();
    let mut options = MountOptions::parse(&destination, &mount.options)?;
    let kind = mount.kind.as_deref().unwrap_or_default();
    if kind == "bind" && options.bind.is_none() {
        options.bind = Some(Reach::Tree);
    }
    if kind.starts_with("cgroup") && options.bind.is_none() {
        return Ok(PreparedMount { destination, source: Some(Source::Cgroups), options });
    }
    let Some(reach) = options.bind else {
        let kind = if kind.is_empty() { "none" } else { kind };
        let source = Source::Filesystem { kind: kind.to_owned(), device: mount.source.clone() };
        return Ok(PreparedMount { destination, source: Some(source), options });
    };
    // Relative to the bundle, as runc reads them.
    let path = bundle.join(mount.source.as_deref().unwrap_or(Path::new("")));
    let tree = copy_host_path(&path, reach == Reach::Tree)?;
    let failed = |source| RootfsError::Mount { path: destination.clone(), source };
    let unmapped = |source| RootfsError::IdMap { path: destination.clone(), source };
    dress(tree.as_fd(), &options).map_err(failed)?;
    if let Some(id_map) = wanted_id_map(mount, &options, spec).map_err(unmapped)? {
        let recursive = options.id_map == Some(Reach::Tree);
        let change =
            AttributeChange { id_map: Some(id_map.as_fd()), recursive, ..AttributeChange::default() };
        set_attributes(tree.as_fd(), &change).map_err(unmapped)?;
    }
    Ok(PreparedMount { destination, source: Some(Source::Tree(tree)), options })
}

/// The user namespace with the mapping of an id-mapped mount.
fn wanted_id_map(mount: &Mount, options: &MountOptions, spec: &Spec) -> io::Result<Option<OwnedFd>> {
    let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if !own && options.id_map.is_none() {
        return Ok(None);
    }
    let container = spec.linux.namespace(NamespaceKind::User);
    let namespace = |uids: &[IdMapping], gids: &[IdMapping]| idmap::user_namespace(uids, gids).map(Some);
    match (own, container.map(|namespace| namespace.path.as_ref())) {
        (true, _) => namespace(&mount.uid_mappings, &mount.gid_mappings),
        (false, Some(Some(path))) => Ok(Some(std::fs::File::open(path)?.into())),
        (false, Some(None)) => namespace(&spec.linux.uid_mappings, &spec.linux.gid_mappings),
        (false, None) => Err(io::Error::new(io::ErrorKind::InvalidInput, "idmap without mappings")),
    }
}

/// Sets attributes and propagation of a detached copy.
fn dress(tree: BorrowedFd<'_>, options: &MountOptions) -> io::Result<()> {
    // A copy is a peer of the host's mount: without a word about it, it must not stay one.
    let (propagation, reach) = options.propagation.unwrap_or((mount::PRIVATE, Reach::Tree));
    let tree_wide = change(options.recursive.set, options.recursive.clear, 0, true);
    set_attributes(tree, &tree_wide)?;
    set_attributes(tree, &change(options.own.set, options.own.clear, 0, false))?;
    if reach == Reach::One && propagation != mount::PRIVATE {
        set_attributes(tree, &change(0, 0, mount::PRIVATE, true))?;
    }
    set_attributes(tree, &change(0, 0, propagation, reach == Reach::Tree))
}

fn cgroup_view(spec: &Spec, hierarchies: &Hierarchies, groups: &Groups) -> Result<CgroupView, RootfsError> {
    let wanted = |mount: &Mount| mount.kind.as_deref().is_some_and(|kind| kind.starts_with("cgroup"));
    if !spec.mounts.iter().any(wanted) {
        return Ok(CgroupView::None);
    }
    if spec.linux.namespace(NamespaceKind::Cgroup).is_some() {
        return Ok(CgroupView::Namespace(hierarchies.clone()));
    }
    let copy = |(directory, path): (&String, &PathBuf)| {
        let name = if groups.is_v2() { String::new() } else { directory.clone() };
        let tree = copy_host_path(path, false)?;
        set_attributes(tree.as_fd(), &change(0, 0, mount::PRIVATE, false))
            .map_err(|source| RootfsError::Mount { path: path.clone(), source })?;
        Ok((name, tree))
    };
    groups.paths.iter().map(copy).collect::<Result<_, _>>().map(CgroupView::Copies)
}
