//! The handle that the CRI layer holds, and what every driver shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ochre_image::Images;
use ochre_network::Network;
use ochre_runtime::cgroup::{Cgroups, Driver};
use ochre_runtime::handler::Handlers;
use ochre_runtime::metrics::Groups;
use ochre_runtime::spec::NodeDefaults;
use ochre_storage::Store;
use ochre_types::ContainerId;

use crate::checkpoint::Checkpoints;
use crate::container::Container;
use crate::disk::Records;
use crate::error::Error;
use crate::events::Hub;
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use crate::user_namespace::Support;

/// Everything pods need from the layers below.
pub struct Node {
    /// The image and container store.
    pub store: Store,
    /// The image service.
    pub images: Images,
    /// The pod network.
    pub network: Network,
    /// OCI runtimes by handler name.
    pub handlers: Handlers,
    /// The cgroup hierarchies.
    pub cgroups: Cgroups,
    /// Who makes cgroups.
    pub driver: Driver,
    /// What the configuration says about every container.
    pub defaults: NodeDefaults,
    /// `default_sysctls`: key and value.
    pub default_sysctls: Vec<(String, String)>,
    /// Directories and programs.
    pub paths: Paths,
    /// What pods tell about themselves.
    pub reports: Reports,
    /// Whether containers can be checkpointed.
    pub checkpoints: Checkpoints,
}

/// What pods tell about themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reports {
    /// Whether there are events (`enable_pod_events`).
    pub events: bool,
    /// Which metrics there are (`included_pod_metrics`).
    pub metrics: Groups,
    /// How long a reading is told again (`collection_period`); zero reads on demand.
    pub collection_period: Duration,
}

/// Directories and programs of the engine; all absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Records that survive a reboot (`<root>/ochre`).
    pub state_dir: PathBuf,
    /// Bundles, sockets and generated files, void after a reboot (`<runroot>/ochre`).
    pub run_dir: PathBuf,
    /// Where namespaces are pinned.
    pub namespaces_dir: PathBuf,
    /// Where monitors leave exit codes for others, as conmon does.
    pub exits_dir: PathBuf,
    /// Logs of pods that name no directory.
    pub log_dir: PathBuf,
    /// The monitor program.
    pub monitor: PathBuf,
}

/// What every driver shares.
pub(crate) struct Engine {
    pub(crate) node: Node,
    pub(crate) registry: Registry,
    pub(crate) records: Records,
    pub(crate) events: Hub,
    pub(crate) boot_id: String,
    /// Whether pods can have user namespaces.
    pub(crate) user_namespaces: Support,
}

/// All pods of the node. Cheap to clone.
#[derive(Clone)]
pub struct Pods {
    pub(crate) engine: Arc<Engine>,
}

impl Pods {
    /// Opens the records and brings back what they name: pods go on where they were, operations that a crash
    /// interrupted are finished or undone. Returns once every pod is accounted for.
    ///
    /// # Errors
    /// Only when the state directories cannot be used; a bad record is set aside and logged.
    pub async fn open(node: Node) -> Result<Self, Error> {
        crate::disk::make_private(&node.paths.state_dir)?;
        crate::disk::make_private(&node.paths.run_dir)?;
        let records = Records::open(&node.paths.state_dir)?;
        let boot_id = boot_id()?;
        let events = Hub::new(node.reports.events);
        let store = node.store.clone();
        let user_namespaces = blocking("user namespaces", move || Ok(Support::probe(&store))).await?;
        let engine = Arc::new(Engine {
            node,
            registry: Registry::default(),
            records,
            events,
            boot_id,
            user_namespaces,
        });
        crate::bundle::install_pause(&engine)?;
        crate::restore::run(&engine).await?;
        Ok(Self { engine })
    }

    /// Takes away what pods share, if there is no pod: the built-in bridge, firewall tables, the default parent cgroup.
    /// For the end of the daemon; with pods, everything stays as it is.
    pub async fn close(&self) {
        if !self.engine.registry.is_bare() {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let closed = blocking("the node", move || {
            engine.node.cgroups.remove_default_parent(engine.node.driver);
            if let Err(error) = engine.node.network.teardown() {
                tracing::warn!("taking down the built-in network: {error}");
            }
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!("{error}");
        }
    }

    /// The layers below, for status pages.
    pub fn node(&self) -> &Node {
        &self.engine.node
    }

    /// The visible sandbox with this id or unique id prefix.
    ///
    /// # Errors
    /// `NoSuchSandbox`, `Ambiguous`.
    pub fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let sandbox = self.engine.registry.sandbox(id)?;
        if sandbox.visible() { Ok(sandbox) } else { Err(Error::NoSuchSandbox { id: id.to_owned() }) }
    }

    /// The visible container with this id or unique id prefix.
    ///
    /// # Errors
    /// `NoSuchContainer`, `Ambiguous`.
    pub fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        let container = self.engine.registry.container(id)?;
        if container.visible() { Ok(container) } else { Err(Error::NoSuchContainer { id: id.to_owned() }) }
    }

    /// `info` of a verbose container status, in CRI-O's form.
    ///
    /// # Errors
    /// When the specification cannot be read.
    pub async fn container_details(&self, container: &Arc<Container>) -> Result<serde_json::Value, Error> {
        let (engine, container) = (Arc::clone(&self.engine), Arc::clone(container));
        blocking(container.id.to_string(), move || {
            // The bundle goes with the pod; a container that outlives it has no specification to show. As it is written:
            // sets of the typed one would come out in another order each time.
            let spec: Option<serde_json::Value> = crate::bundle::read(&engine, &container).ok();
            Ok(serde_json::json!({
                "sandboxID": container.sandbox.id,
                "pid": container.state().process().map_or(0, |process| process.pid),
                "runtimeSpec": spec,
                "privileged": container.config.security.privileged,
            }))
        })
        .await
    }

    /// `info` of a verbose pod status, in CRI-O's form.
    pub fn sandbox_details(&self, sandbox: &Sandbox) -> serde_json::Value {
        let pid = sandbox.state().live().and_then(|live| live.pause_pid).unwrap_or(0);
        let resources = sandbox.resources();
        serde_json::json!({
            "image": "",
            "pid": pid,
            // Without a pause process nobody runs it; tools read the paths of the pod's namespaces from it all the same.
            "runtimeSpec": crate::bundle::pause_spec(&self.engine, sandbox).ok(),
            "overhead": resources.overhead,
            "resources": resources.resources,
            "runtimeHandler": sandbox.handler,
            "networkNamespace": sandbox.network_namespace(),
        })
    }

    /// Every visible sandbox.
    pub fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        let mut all = self.engine.registry.sandboxes();
        all.retain(|sandbox| sandbox.visible());
        all
    }

    /// Every visible container.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        let mut all = self.engine.registry.containers();
        all.retain(|container| container.visible());
        all
    }
}

impl Engine {
    /// The run directory of a sandbox: its monitor's socket, its generated files, the bundles of its containers.
    pub(crate) fn sandbox_dir(&self, sandbox: &Sandbox) -> PathBuf {
        self.node.paths.run_dir.join("pods").join(sandbox.id.as_str())
    }

    /// The bundle of a container.
    pub(crate) fn bundle(&self, sandbox: &Sandbox, id: &ContainerId) -> PathBuf {
        self.sandbox_dir(sandbox).join(id.as_str())
    }

    /// What a container keeps on the disk beside its layer: directories and links for its volumes.
    pub(crate) fn volume_dir(&self, id: &ContainerId) -> PathBuf {
        self.node.paths.state_dir.join("volumes").join(id.as_str())
    }

    /// The containers of a sandbox, also those being made.
    pub(crate) fn containers_of(&self, sandbox: &Sandbox) -> Vec<Arc<Container>> {
        self.registry.containers_of(&sandbox.id)
    }
}

/// Runs blocking work on the blocking pool. The work goes on when the caller goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    object: impl Into<String>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| Err(Error::Interrupted { object: object.into() }))
}

fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).map_err(Error::io("reading", path))?.trim().to_owned())
}
