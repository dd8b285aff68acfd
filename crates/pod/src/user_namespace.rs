//! Whether pods can have user namespaces here, and what they exclude.
//!
//! It takes three: a kernel that makes user namespaces, a file system below the store whose layers can be shown with
//! other owners, and a runtime with id-mapped mounts for the volumes. The first two are tried once at start, with an empty
//! layer; the third stands in the handler's own `features`. What Status says and what RunPodSandbox does is the same
//! answer.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use ochre_runtime::config::{ContainerConfig, NamespaceMode, Propagation, SandboxConfig};
use ochre_runtime::handler::{BUILT_IN, Handler};
use ochre_runtime::namespaces::id_map::{self, IdMapError};
use ochre_storage::Store;
use ochre_sys::user_namespace::{IdRange, UserNamespace};

use crate::engine::{Engine, Pods};
use crate::error::Error;
use crate::sandbox::Sandbox;

/// A mapping as the kubelet makes them.
const TRIAL: [IdRange; 1] = [IdRange { inside: 0, outside: 65_536, count: 65_536 }];

/// What this node can do, found out once.
#[derive(Debug)]
pub(crate) struct Support(Result<(), String>);

impl Support {
    /// Tries it: makes a user namespace and mounts an empty layer through its mappings. Blocking, some milliseconds.
    pub(crate) fn probe(store: &Store) -> Self {
        let made = UserNamespace::new(&TRIAL, &TRIAL, &[]).and_then(|made| made.open());
        let tried = made.map_err(|error| format!("the kernel makes none: {error}")).and_then(|namespace| {
            store.try_id_maps(namespace.as_fd()).map_err(|error| match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })
        });
        Self(tried)
    }

    /// Whether pods of this handler can have user namespaces.
    pub(crate) fn check(&self, handler: &Handler) -> Result<(), Error> {
        if let Err(reason) = &self.0 {
            return Err(Error::NodeWithoutUserNamespaces { reason: reason.clone() });
        }
        if !handler.features.idmap_mounts {
            return Err(Error::HandlerWithoutUserNamespaces {
                handler: handler.name.clone(),
                version: handler.features.version.clone(),
            });
        }
        Ok(())
    }
}

impl Pods {
    /// Whether pods of this handler can have user namespaces.
    ///
    /// # Errors
    /// `HandlerWithoutUserNamespaces`, `NodeWithoutUserNamespaces`.
    pub fn check_user_namespaces(&self, handler: &Handler) -> Result<(), Error> {
        self.engine.user_namespaces.check(handler)
    }
}

/// Lets the root of a pod find its root file systems, for runtimes that look for them by path after they have become it
/// (runc and crun; the engine's own looks before). The directories on the way are private to the node's root; those of the
/// store and the engine get the right to pass for everybody. Each of their entries stays closed: layers, records and pods
/// have directories of mode 0700, a layer of such a pod one that belongs to the pod's root.
///
/// # Errors
/// `NoPassage` for a directory further up, whose mode is not the engine's to change.
pub(crate) fn open_passage(engine: &Engine, handler: &str) -> Result<(), Error> {
    if handler == BUILT_IN {
        return Ok(());
    }
    let (store, run_dir) = (&engine.node.store, &engine.node.paths.run_dir);
    for own in [store.root(), &store.root().join("overlay"), store.runroot(), run_dir] {
        pass(own, true)?;
    }
    let further = store.root().ancestors().skip(1).chain(run_dir.ancestors().skip(1));
    further.filter(|path| *path != store.runroot()).try_for_each(|path| pass(path, false))
}

fn pass(path: &Path, is_own: bool) -> Result<(), Error> {
    const SEARCH: u32 = 0o001;
    let mode = std::fs::metadata(path).map_err(Error::io("looking at", path))?.permissions().mode();
    if mode & SEARCH != 0 {
        return Ok(());
    }
    if !is_own {
        return Err(Error::NoPassage { path: path.to_owned() });
    }
    let wider = std::fs::Permissions::from_mode((mode & 0o7777) | SEARCH);
    std::fs::set_permissions(path, wider).map_err(Error::io("opening to pods with user namespaces", path))
}

/// Gives the pipes of a container that has been made and not started to its user, who may open `/dev/stdout` again. From
/// inside its user namespace no runtime can; the engine's own does it before it enters.
pub(crate) fn give_streams(pod: &Sandbox, pid: i32, uid: u32) -> Result<(), Error> {
    let Some(user) = id_map::of_pod(&pod.config.namespaces).filter(|_| pod.handler != BUILT_IN) else {
        return Ok(());
    };
    let Some(owner) = id_map::host_id(&user.uids, uid) else { return Ok(()) };
    for number in 0..3 {
        let stream = format!("/proc/{pid}/fd/{number}");
        let is_pipe = |found: std::fs::Metadata| found.file_type().is_fifo();
        if std::fs::metadata(&stream).is_ok_and(is_pipe) {
            std::os::unix::fs::chown(&stream, Some(owner), None)
                .map_err(Error::io("giving to the container's user", stream))?;
        }
    }
    Ok(())
}

/// Refuses a container that its pod's user namespace excludes.
pub(crate) fn check_container(container: &ContainerConfig, pod: &SandboxConfig) -> Result<(), Error> {
    let refused = |error: IdMapError| Error::Spec(error.into());
    id_map::check_container(&container.security.namespaces, &pod.namespaces).map_err(refused)?;
    if id_map::of_pod(&pod.namespaces).is_none() {
        return Ok(());
    }
    // The kernel lets no mount travel from the namespace of a less privileged owner to the node's.
    if container.mounts.iter().any(|mount| mount.propagation == Propagation::Bidirectional) {
        return Err(refused(IdMapError::Excluded { what: "bidirectional mount propagation" }));
    }
    if container.security.namespaces.pid == NamespaceMode::Node {
        return Err(refused(IdMapError::Excluded { what: "the node's PID namespace" }));
    }
    Ok(())
}
