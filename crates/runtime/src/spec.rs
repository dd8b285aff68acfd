//! From a request to an OCI runtime specification.
//!
//! ```text
//!  ContainerConfig + SandboxConfig   ImageDefaults     NodeDefaults + HandlerRules
//!                 \                       |                    /
//!                  +------> user: who? -> rootfs: prepare -> process, mounts, devices,
//!                                                            resources, security, seccomp
//!                                                                 |
//!                                             Built { spec, user, mounts_created, ... }
//! ```
//!
//! Nothing here starts, mounts or stores anything but three things, all of them named in the result or inside the
//! container's own root: missing host directories of volumes, directories in the root, and files in the container's
//! private directory. Each part of the specification has a file of its own in `spec/`.
//!
//! The specification declares the lowest `ociVersion` that its fields need, since runtimes of distributions are old.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root as RootDirectory;
use ochre_types::{ContainerId, SandboxId};
use oci_spec::runtime::{Linux, Process, Root, Spec, User};

use crate::cdi;
use crate::clamp::Warning;
use crate::config::{ContainerConfig, ImageDefaults, NamespaceMode, SandboxConfig};
use crate::namespaces::hostname;
use crate::user::{self, EffectiveUser};

mod allowed;
mod annotations;
pub mod capabilities;
mod devices;
mod error;
mod mounts;
mod namespaces;
mod node;
mod pause;
pub mod process;
pub mod resources;
mod rootfs;
pub mod seccomp;
pub mod security;
pub mod selinux;

pub use allowed::DEFAULT_ALLOWED_ANNOTATIONS;
pub use error::Error;
pub use namespaces::NamespacePaths;
pub use node::{
    CgroupFacts, DEFAULT_MIN_MEMORY, DeviceOwnership, DeviceRules, HandlerRules, HostDevices, ImageVolumes,
    NodeDefaults, SecurityDefaults, SourceRules, Ulimit,
};
pub use pause::{PauseInput, pause};
pub use resources::resources_json;

/// Everything a container's specification is made from.
#[derive(Debug, Clone, Copy)]
pub struct ContainerInput<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Its pod.
    pub sandbox_id: &'a SandboxId,
    /// The pod as asked for.
    pub sandbox: &'a SandboxConfig,
    /// The container as asked for.
    pub container: &'a ContainerConfig,
    /// What the image says.
    pub image: &'a ImageDefaults,
    /// The mounted root file system.
    pub rootfs: &'a Path,
    /// `cgroupsPath`, ready-made for the cgroup driver.
    pub cgroups_path: &'a str,
    /// Namespaces to join.
    pub namespaces: &'a NamespacePaths,
    /// The pod's files.
    pub files: &'a SandboxFiles,
    /// The node.
    pub node: &'a NodeDefaults,
    /// The handler.
    pub features: HandlerRules,
    /// The handler's own default seccomp profile (`seccomp_profile` of its table).
    pub handler_seccomp: Option<&'a seccomp::SeccompProfile>,
    /// Private directory of this container for generated files.
    pub run_dir: &'a Path,
    /// Where the images of volumes are mounted on the node, by the volume's place in the request.
    pub volumes: &'a BTreeMap<usize, VolumeDirectory>,
    /// Directory of this container for what belongs on a disk; made when it is needed.
    pub volume_dir: &'a Path,
    /// Annotations that the handler acts on (`allowed_annotations`).
    pub allowed_annotations: &'a [String],
}

/// Where the content of a volume's image is on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDirectory {
    /// The directory; read-only, of the container alone.
    pub path: PathBuf,
    /// Whether its files have the owners of the volume's id mappings already.
    pub id_mapped: bool,
}

/// Files of a pod that its containers see. [`crate::files`] makes them.
#[derive(Debug, Clone, Default)]
pub struct SandboxFiles {
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/hosts`; a volume of the request at that path wins.
    pub hosts: Option<PathBuf>,
    /// `/dev/shm`; `None` gives each container its own.
    pub shm: Option<PathBuf>,
}

/// A container's specification and what its making found out.
#[derive(Debug)]
pub struct Built {
    /// The specification.
    pub spec: Spec,
    /// Who it runs as.
    pub user: EffectiveUser,
    /// Host directories that were made because a volume's source was missing.
    pub mounts_created: Vec<PathBuf>,
    /// The signal that stops it.
    pub stop_signal: i32,
    /// What was lowered or left out.
    pub warnings: Vec<Warning>,
}

/// Builds a container's specification and prepares its root file system for it.
///
/// Blocking: looks at host paths of volumes, which a dead file server can make hang.
///
/// # Errors
/// [`Error`]; host directories that were made before a later refusal stay, as CRI-O leaves them.
pub fn container(input: &ContainerInput<'_>) -> Result<Built, Error> {
    let (container, security) = (input.container, &input.container.security);
    if security.privileged && !input.sandbox.privileged {
        return Err(Error::PrivilegedInPlainPod);
    }
    let mut warnings = Vec::new();
    let root = RootDirectory::open(input.rootfs).map_err(|source| Error::Own {
        action: "open",
        path: input.rootfs.to_path_buf(),
        source,
    })?;
    let hostname = hostname(input.sandbox, input.sandbox_id);
    let mut environment = process::Environment::of(&input.node.env, input.image, container, &hostname)?;
    let user = user::resolve(&root, &security.run_as, &input.image.user, &container.image)?;
    environment.default_home(user.home.as_deref());
    let stop_signal = process::stop_signal(container, input.image, &mut warnings)?;
    let sets = capability_sets(input, &mut warnings)?;
    let mut process = process_of(input, &user, sets, &mut warnings)?;
    let mut linux = linux(input, sets)?;

    // From here on things are made; whatever the request itself can be refused for has been looked at above.
    mounts::check(container, input.features)?;
    let cdi = cdi::resolve(&input.node.devices.cdi_dirs, &container.cdi_devices, &container.annotations)?;
    let rootfs::Prepared { cwd, declared } = rootfs::prepare(input, &root, &user)?;
    let readonly_root = security.readonly_rootfs || input.node.read_only;
    let generated = rootfs::generated_files(input, &root, &user, &environment)?;
    let generated = mounts::Generated { files: &generated, declared: &declared, readonly_root };
    let mounts = mounts::mounts(input, generated)?;
    process.set_cwd(cwd).set_env(Some(environment.to_oci()));
    linux.set_rootfs_propagation(mounts.root_propagation.map(str::to_owned));

    let mut spec = empty(mounts::oci_version(&mounts.list));
    let own_hostname = input.namespaces.uts.is_none() && security.namespaces.network != NamespaceMode::Node;
    spec.set_root(Some(root_of(input.rootfs, readonly_root)))
        .set_process(Some(process))
        .set_hostname(own_hostname.then_some(hostname))
        .set_mounts(Some(mounts.list))
        .set_annotations(Some(annotations::annotations(input, stop_signal)?))
        .set_linux(Some(linux));
    cdi.apply(&mut spec)?;
    Ok(Built { spec, user, mounts_created: mounts.created, stop_signal, warnings })
}

/// Refuses what can be refused by looking at a container's volumes and CDI devices alone; for an answer before
/// anything has been made.
///
/// # Errors
/// As [`container`].
pub fn check(container: &ContainerConfig, features: HandlerRules) -> Result<(), Error> {
    mounts::check(container, features)?;
    Ok(cdi::check(&container.cdi_devices, &container.annotations)?)
}

/// The process of an exec: the container's own with other arguments, as JSON objects of OCI runtimes describe it.
///
/// # Errors
/// [`Error::NoExecCommand`], [`Error::Text`] and [`Error::NoProcess`].
pub fn exec_process(spec: &Spec, command: &[String], tty: bool) -> Result<Process, Error> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::NoExecCommand);
    }
    process::check_args(command)?;
    let mut process = spec.process().clone().ok_or(Error::NoProcess)?;
    let mut env = process.env().clone().unwrap_or_default();
    if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process.set_args(Some(command.to_vec())).set_env(Some(env)).set_terminal(Some(tty));
    Ok(process)
}

/// A specification with nothing in it: the library's default brings mounts and capabilities of its own.
fn empty(version: &str) -> Spec {
    let mut spec = Spec::default();
    spec.set_version(version.to_owned())
        .set_root(None)
        .set_mounts(None)
        .set_process(None)
        .set_hostname(None)
        .set_annotations(None)
        .set_linux(None);
    spec
}

fn root_of(path: &Path, readonly: bool) -> Root {
    let mut root = Root::default();
    root.set_path(path.to_path_buf()).set_readonly(Some(readonly));
    root
}

fn oci_user(user: &EffectiveUser) -> User {
    let mut written = User::default();
    written.set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(user.additional_gids.clone()));
    written
}

fn capability_sets(
    input: &ContainerInput<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<capabilities::Sets, Error> {
    let security = &input.container.security;
    let wanted = if security.privileged {
        capabilities::Sets::PRIVILEGED
    } else {
        let node = input.node;
        capabilities::Sets::requested(node.capabilities, node.add_inheritable, &security.capabilities)?
    };
    let (sets, lost) = wanted.clamped(&input.node.held);
    if !lost.is_empty() {
        warnings.push(Warning::CapabilitiesNotHeld { names: lost.names() });
    }
    Ok(sets)
}

/// The process without its environment and working directory.
fn process_of(
    input: &ContainerInput<'_>,
    user: &EffectiveUser,
    sets: capabilities::Sets,
    warnings: &mut Vec<Warning>,
) -> Result<Process, Error> {
    let (container, security, held) = (input.container, &input.container.security, &input.node.held);
    let oom_score_adj = process::oom_score_adj(container.resources.oom_score_adj, held, warnings)?;
    let mut process = Process::default();
    process
        .set_terminal(Some(container.tty))
        .set_user(oci_user(user))
        .set_args(Some(process::args(container, input.image)?))
        .set_capabilities(Some(sets.to_oci()))
        .set_rlimits(Some(process::rlimits(&input.node.ulimits, held, warnings)))
        .set_no_new_privileges(Some(security.no_new_privs))
        .set_apparmor_profile(security::apparmor(input)?)
        .set_oom_score_adj(Some(oom_score_adj))
        .set_selinux_label(security::selinux(input).process);
    Ok(process)
}

/// The `linux` part without the propagation of the root.
fn linux(input: &ContainerInput<'_>, sets: capabilities::Sets) -> Result<Linux, Error> {
    let (security, node) = (&input.container.security, input.node);
    let namespaces = namespaces::namespaces(
        &security.namespaces,
        input.namespaces,
        node.cgroup.version,
        security.privileged,
    )?;
    let min_memory = input.features.min_memory;
    let mut resources = resources::limits(&input.container.resources, node.cgroup, min_memory)?;
    let devices = devices::devices(input)?;
    resources.set_pids(Some(resources::pids(node.pids_limit))).set_devices(Some(devices.rules));
    let seccomp = if security.privileged {
        node.security.privileged_seccomp.as_ref().map(|profile| profile.fit(sets.granted)).transpose()?
    } else {
        let default = input.handler_seccomp.or(node.security.seccomp.as_ref());
        seccomp::choose(security.seccomp.as_ref(), default, sets.granted)?
    };
    let mut linux = bare_linux(input.cgroups_path);
    linux
        .set_namespaces(Some(namespaces))
        .set_devices(Some(devices.nodes))
        .set_resources(Some(resources))
        .set_seccomp(seccomp)
        .set_masked_paths(Some(security::masked_paths(security, &node.security)))
        .set_mount_label(security::selinux(input).mount)
        .set_readonly_paths(Some(security::readonly_paths(security)));
    if let Some(user) = &security.namespaces.user
        && namespaces::has_user_namespace(&security.namespaces)
    {
        linux.set_uid_mappings(Some(namespaces::mappings(&user.uids)));
        linux.set_gid_mappings(Some(namespaces::mappings(&user.gids)));
    }
    Ok(linux)
}

fn bare_linux(cgroups_path: &str) -> Linux {
    let mut linux = Linux::default();
    linux
        .set_cgroups_path(Some(PathBuf::from(cgroups_path)))
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_seccomp(None);
    linux
}

#[cfg(test)]
pub(crate) mod tests;
