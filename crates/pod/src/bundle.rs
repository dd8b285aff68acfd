//! OCI bundles of a pod: the specification of a container or pause process, written where the runtime reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ochre_runtime::cgroup::container_cgroups_path;
use ochre_runtime::config::{ContainerConfig, ImageDefaults, NamespaceMode, NamespaceOptions};
use ochre_runtime::handler::Handler;
use ochre_runtime::namespaces::PodNamespace;
use ochre_runtime::spec::selinux::Categories;
use ochre_runtime::spec::{
    self, Built, ContainerInput, DEFAULT_MIN_MEMORY, HandlerRules, NamespacePaths, PauseInput, SandboxFiles,
    VolumeDirectory,
};
use ochre_sys::atomic::{self, Durability};
use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;

use crate::container::Container;
use crate::disk::make_private;
use crate::engine::Engine;
use crate::error::Error;
use crate::sandbox::{Sandbox, SandboxState};

const CONFIG: &str = "config.json";
/// Below the run directory: the root file system of every pause process.
const PAUSE_ROOT: &str = "pause";

/// What the OCI runtime of a handler can do, as the specification needs it.
pub(crate) fn features(handler: &Handler) -> HandlerRules {
    HandlerRules {
        idmap: handler.features.idmap_mounts,
        rro: handler.features.recursive_read_only,
        host_devices: handler.host_devices,
        min_memory: DEFAULT_MIN_MEMORY,
    }
}

/// The files of a pod that its containers see, where `ochre_runtime::files` makes them.
pub(crate) fn sandbox_files(engine: &Engine, sandbox: &Sandbox) -> SandboxFiles {
    let dir = engine.sandbox_dir(sandbox);
    SandboxFiles {
        resolv_conf: dir.join("resolv.conf"),
        hostname: dir.join("hostname"),
        hosts: Some(dir.join("hosts")),
        shm: sandbox.namespaces.path(PodNamespace::Ipc).map(|_| dir.join("shm")),
    }
}

/// Writes the bundle of a container whose root file system is mounted at `rootfs`, the images of its volumes at
/// `volumes`.
pub(crate) fn container(
    engine: &Engine,
    container: &Container,
    image: &ImageDefaults,
    (rootfs, volumes): (&Path, &BTreeMap<usize, VolumeDirectory>),
) -> Result<(Built, String), Error> {
    let sandbox = &container.sandbox;
    let bundle = engine.bundle(sandbox, &container.id);
    make_private(&bundle)?;
    let cgroups_path =
        container_cgroups_path(engine.node.driver, &sandbox.config.cgroup_parent, &container.id)?;
    let mut config = container.config.clone();
    config.security.namespaces = effective(&config.security.namespaces, &sandbox.config.namespaces);
    let namespaces = namespaces(engine, container, &config)?;
    let handler = engine.node.handlers.get(&sandbox.handler)?;
    let built = spec::container(&ContainerInput {
        id: &container.id,
        sandbox_id: &sandbox.id,
        sandbox: &sandbox.config,
        container: &config,
        image,
        rootfs,
        cgroups_path: &cgroups_path,
        namespaces: &namespaces,
        files: &sandbox_files(engine, sandbox),
        node: &engine.node.defaults,
        features: features(handler),
        handler_seccomp: handler.seccomp.as_ref(),
        run_dir: &bundle,
        volumes,
        volume_dir: &engine.volume_dir(&container.id),
        allowed_annotations: &handler.allowed_annotations,
    })?;
    write(&bundle, &built.spec)?;
    Ok((built, cgroups_path))
}

/// The SELinux label of a container's root file system; empty where there is none.
pub(crate) fn mount_label(engine: &Engine, container: &Container) -> String {
    let (sandbox, mut security) = (&container.sandbox, container.config.security.clone());
    security.namespaces = effective(&security.namespaces, &sandbox.config.namespaces);
    let policy = engine.node.defaults.security.selinux.as_ref();
    let labels =
        policy.map(|policy| policy.of_container(&security, &sandbox.config, Categories::of(&sandbox.id)));
    labels.and_then(|labels| labels.mount).unwrap_or_default()
}

/// Writes the bundle of a pod's pause process.
pub(crate) fn pause(engine: &Engine, sandbox: &Sandbox, bundle: &Path) -> Result<(), Error> {
    make_private(bundle)?;
    write(bundle, &pause_spec(engine, sandbox)?)
}

/// The specification of a pod's pause process.
pub(crate) fn pause_spec(engine: &Engine, sandbox: &Sandbox) -> Result<Spec, Error> {
    let id = crate::sandbox::run::pause_id(&sandbox.id);
    let (spec, warnings) = spec::pause(&PauseInput {
        id: &sandbox.id,
        sandbox: &sandbox.config,
        rootfs: &engine.node.paths.run_dir.join(PAUSE_ROOT),
        cgroups_path: &container_cgroups_path(engine.node.driver, &sandbox.config.cgroup_parent, &id)?,
        namespaces: &pod_namespaces(sandbox),
        node: &engine.node.defaults,
    })?;
    for warning in warnings {
        tracing::debug!(pod = %sandbox.id, "{warning}");
    }
    Ok(spec)
}

/// Puts the pause program where every pause process finds it; called once at start.
pub(crate) fn install_pause(engine: &Engine) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let root = engine.node.paths.run_dir.join(PAUSE_ROOT);
    make_private(&root)?;
    // The root of a pod with a user namespace cannot make them in a directory of the node's.
    for mount_point in ["proc", "dev"] {
        let path = root.join(mount_point);
        make_private(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(Error::io("opening to pause processes", path))?;
    }
    let place = root.join("pause");
    let fresh = root.join("pause.new");
    // A copy: a container that shares the namespace reaches this file through /proc/1/exe, never the monitor's own.
    std::fs::copy(&engine.node.paths.monitor, &fresh)
        .map_err(Error::io("copying the pause program to", &fresh))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o555))
        .and_then(|()| std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&fresh, &place))
        .map_err(Error::io("placing the pause program at", place))
}

/// The `process` object of an exec.
pub(crate) fn exec_process(
    engine: &Engine,
    container: &Container,
    command: &[String],
    tty: bool,
) -> Result<Process, Error> {
    let spec: Spec = read(engine, container)?;
    Ok(spec::exec_process(&spec, command, tty)?)
}

/// The specification a container was made with.
pub(crate) fn read<T: DeserializeOwned>(engine: &Engine, container: &Container) -> Result<T, Error> {
    let path = engine.bundle(&container.sandbox, &container.id).join(CONFIG);
    let text = std::fs::read(&path).map_err(Error::io("reading", &path))?;
    serde_json::from_slice(&text).map_err(|error| Error::BadRecord { path, reason: error.to_string() })
}

fn write(bundle: &Path, spec: &Spec) -> Result<(), Error> {
    let path = bundle.join(CONFIG);
    let text = serde_json::to_vec(spec)
        .map_err(|error| Error::BadRecord { path: path.clone(), reason: error.to_string() })?;
    let dir = std::fs::File::open(bundle).map_err(Error::io("opening", bundle))?;
    atomic::write(&dir, CONFIG, &text, 0o600, Durability::Volatile).map_err(Error::io("writing", path))
}

/// A container's `Pod` means what its pod has: the pod's own namespace, the node's, or one per container. Network and
/// IPC belong to the pod: a container that asks for the node's gets them only where its pod has them, as in CRI-O.
fn effective(container: &NamespaceOptions, pod: &NamespaceOptions) -> NamespaceOptions {
    let of = |own, pod| if own == NamespaceMode::Pod { pod } else { own };
    let of_pod = |own, pod| if own == NamespaceMode::Node { pod } else { of(own, pod) };
    NamespaceOptions {
        network: of_pod(container.network, pod.network),
        pid: of(container.pid, pod.pid),
        ipc: of_pod(container.ipc, pod.ipc),
        target_id: container.target_id.clone(),
        // Never the container's word: what it may say has been found equal (`id_map::check_container`).
        user: pod.user.clone(),
    }
}

fn pod_namespaces(sandbox: &Sandbox) -> NamespacePaths {
    let path = |namespace| sandbox.namespaces.path(namespace).map(Path::to_owned);
    NamespacePaths {
        network: path(PodNamespace::Net),
        ipc: path(PodNamespace::Ipc),
        uts: path(PodNamespace::Uts),
        pid: None,
        user: path(PodNamespace::User),
    }
}

fn namespaces(
    engine: &Engine,
    container: &Container,
    config: &ContainerConfig,
) -> Result<NamespacePaths, Error> {
    let sandbox = &container.sandbox;
    let of_process = |pid: i32| PathBuf::from(format!("/proc/{pid}/ns/pid"));
    let pid = match config.security.namespaces.pid {
        NamespaceMode::Pod => match sandbox.state() {
            SandboxState::Ready(live) => live.pause_pid.map(of_process),
            _ => None,
        },
        NamespaceMode::Target => Some(of_process(target(engine, container, config)?)),
        NamespaceMode::Container | NamespaceMode::Node => None,
    };
    Ok(NamespacePaths { pid, ..pod_namespaces(sandbox) })
}

/// The process whose PID namespace a container joins: of a container of the same pod that is alive.
fn target(engine: &Engine, container: &Container, config: &ContainerConfig) -> Result<i32, Error> {
    let wanted = &config.security.namespaces.target_id;
    let refused = || Error::BadTarget {
        target: wanted.chars().take(80).collect(),
        name: config.metadata.name.clone(),
        sandbox: container.sandbox.id.clone(),
    };
    let target = engine.registry.container(wanted).map_err(|_| refused())?;
    if target.sandbox.id != container.sandbox.id {
        return Err(refused());
    }
    target.state().process().map(|process| process.pid).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_mode_of_a_container_means_what_its_pod_has() {
        let pod = NamespaceOptions {
            network: NamespaceMode::Node,
            pid: NamespaceMode::Container,
            ..Default::default()
        };
        let merged = effective(&NamespaceOptions::default(), &pod);
        assert_eq!((merged.network, merged.pid), (NamespaceMode::Node, NamespaceMode::Container));
        assert_eq!(merged.ipc, NamespaceMode::Pod);
        let own = NamespaceOptions { pid: NamespaceMode::Node, ..Default::default() };
        assert_eq!(effective(&own, &pod).pid, NamespaceMode::Node);
    }

    #[test]
    fn a_container_gets_the_nodes_network_and_ipc_only_where_its_pod_has_them() {
        let node =
            NamespaceOptions { network: NamespaceMode::Node, ipc: NamespaceMode::Node, ..Default::default() };
        let own = effective(&node, &NamespaceOptions::default());
        assert_eq!((own.network, own.ipc), (NamespaceMode::Pod, NamespaceMode::Pod));
        let shared = effective(&node, &node);
        assert_eq!((shared.network, shared.ipc), (NamespaceMode::Node, NamespaceMode::Node));
    }
}
