//! Whether pods can have user namespaces here, and what they exclude.
//!
//! It takes three: a kernel that makes user namespaces, a file system below the store whose layers can be shown with
//! other owners, and a runtime with id-mapped mounts for the volumes. The first two are tried once at start, with an empty
//! layer; the third stands in the handler's own `features`. What Status says and what RunPodSandbox does is the same
//! answer.

use std::os::fd::AsFd;

use ochre_runtime::config::{ContainerConfig, Propagation, SandboxConfig};
use ochre_runtime::handler::Handler;
use ochre_runtime::namespaces::id_map::{self, IdMapError};
use ochre_storage::Store;
use ochre_sys::user_namespace::{IdRange, UserNamespace};

use crate::engine::Pods;
use crate::error::Error;

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
    if container.security.namespaces.pid == ochre_runtime::config::NamespaceMode::Node {
        return Err(refused(IdMapError::Excluded { what: "the node's PID namespace" }));
    }
    Ok(())
}
