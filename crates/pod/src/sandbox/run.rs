//! RunPodSandbox, the story: check → intent → namespaces, files and network beside the monitor → pause → ready.
//!
//! The intent record is written before the first effect and names all of them: run directory, pins, shm mount,
//! network, monitor. A failure or a crash at any later line is undone from that record; what cannot be undone then keeps
//! its record and is tried again (`leftover.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ochre_monitor_api::RuntimeCommand;
use ochre_monitor_api::client::{LaunchOptions, Monitor};
use ochre_network::{AttachRequest, Attachment, Dns, PortProtocol};
use ochre_runtime::cgroup::{Driver, parent_group};
use ochre_runtime::config::{NamespaceMode, Protocol, SandboxConfig};
use ochre_runtime::files;
use ochre_runtime::namespaces::id_map;
use ochre_runtime::namespaces::{
    NamespaceError, NamespaceSettings, PodNamespace, PodNamespaces, Sysctl, check_hostname, hostname,
    merge_sysctls,
};
use ochre_runtime::spec::selinux::Categories;
use ochre_sys::atomic::Durability;
use ochre_types::{ContainerId, SandboxId, Timestamp};

use super::state::{Live, SandboxState};
use super::{Sandbox, Seed, leftover, record};
use crate::disk::latest::SandboxPhase;
use crate::disk::make_private;
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::user_namespace::open_passage;

/// CRI-O's score for monitors: the kernel takes them last (CVE-2019-14891).
const MONITOR_SCORE: i32 = -999;

/// A request that has passed every check which needs no side effect.
pub(super) struct Plan {
    handler: String,
    /// `None`: one of the engine's, named after the id.
    log_directory: Option<PathBuf>,
}

impl Plan {
    /// Checks a request.
    pub(super) fn check(engine: &Engine, config: &SandboxConfig) -> Result<Self, Error> {
        check_names(config)?;
        let handler = engine.node.handlers.get(&config.handler)?;
        if id_map::of_pod(&config.namespaces).is_some() {
            engine.user_namespaces.check(handler)?;
        }
        let handler = handler.name.clone();
        parent_group(engine.node.driver, &config.cgroup_parent)?;
        sysctls(engine, config)?;
        if config.namespaces.network != NamespaceMode::Node {
            engine.node.network.status().map_err(|e| Error::NetworkNotReady { reason: e.reason })?;
        }
        Ok(Self { handler, log_directory: log_directory(config)? })
    }

    /// The pod to be, once it has an id.
    pub(super) fn seed(self, engine: &Engine, config: &SandboxConfig, id: SandboxId) -> Seed {
        let paths = &engine.node.paths;
        Seed {
            config: config.clone(),
            created_at: Timestamp::now(),
            handler: self.handler,
            log_directory: self.log_directory.unwrap_or_else(|| paths.log_dir.join(id.as_str())),
            namespaces: PodNamespaces::plan(&paths.namespaces_dir, &id, &own_namespaces(config)),
            state: SandboxState::Creating,
            id,
        }
    }
}

fn check_names(config: &SandboxConfig) -> Result<(), Error> {
    let name = &config.metadata;
    for (field, value) in
        [("metadata.name", &name.name), ("metadata.namespace", &name.namespace), ("metadata.uid", &name.uid)]
    {
        if value.is_empty() {
            return Err(Error::Missing { object: "pod sandbox config", field });
        }
        if value.len() > 1024 || value.contains(['\0', '\n', '/']) {
            return Err(invalid(
                field,
                value,
                "at most 1024 characters without slashes, newlines and NUL bytes",
            ));
        }
    }
    if !config.hostname.is_empty() {
        check_hostname(&config.hostname)?;
    }
    for (field, mode) in
        [("network namespace mode", config.namespaces.network), ("ipc namespace mode", config.namespaces.ipc)]
    {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            return Err(invalid(field, &format!("{mode:?}"), "a pod takes POD or NODE"));
        }
    }
    if config.namespaces.pid == NamespaceMode::Target {
        return Err(invalid("pid namespace mode", "Target", "only a container can have a target"));
    }
    Ok(id_map::check_pod(&config.namespaces).map_err(NamespaceError::from)?)
}

pub(crate) fn invalid(field: &'static str, value: &str, reason: &'static str) -> Error {
    Error::Invalid { field, value: value.chars().take(80).collect(), reason }
}

/// The directory for logs: absolute, without `..`, so that no name of a pod leads elsewhere.
fn log_directory(config: &SandboxConfig) -> Result<Option<PathBuf>, Error> {
    if config.log_directory.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(&config.log_directory);
    let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    if !path.is_absolute()
        || !plain
        || config.log_directory.contains('\0')
        || config.log_directory.len() > 4096
    {
        return Err(invalid("log_directory", &config.log_directory, "an absolute path without `..`"));
    }
    Ok(Some(path))
}

/// The namespaces of the pod's own. A pod in the host's network keeps the host's name as well, as every engine does.
fn own_namespaces(config: &SandboxConfig) -> Vec<PodNamespace> {
    let mut own = Vec::new();
    if config.namespaces.network != NamespaceMode::Node {
        own.extend([PodNamespace::Net, PodNamespace::Uts]);
    }
    if config.namespaces.ipc != NamespaceMode::Node {
        own.push(PodNamespace::Ipc);
    }
    if id_map::of_pod(&config.namespaces).is_some() {
        own.push(PodNamespace::User);
    }
    own
}

fn sysctls(engine: &Engine, config: &SandboxConfig) -> Result<Vec<Sysctl>, Error> {
    let merged = merge_sysctls(&engine.node.default_sysctls, &config.sysctls, &own_namespaces(config))?;
    let Some(user) = id_map::of_pod(&config.namespaces) else { return Ok(merged) };
    Ok(merged.into_iter().map(|sysctl| sysctl.in_user_namespace(&user.gids)).collect::<Result<_, _>>()?)
}

/// Performs it. On failure everything that was made is undone before the error is returned.
pub(super) async fn run(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<Live, Error> {
    leftover::undo_of(engine, &sandbox.config.metadata).await;
    let result = perform(engine, sandbox).await;
    if result.is_err() {
        leftover::undo(engine, sandbox).await;
    }
    result
}

async fn perform(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<Live, Error> {
    let nothing = Live::default();
    {
        let intent = record::of(engine, sandbox, SandboxPhase::Creating, &nothing);
        let (engine, dir) = (Arc::clone(engine), engine.sandbox_dir(sandbox));
        let logs = sandbox.log_directory.clone();
        blocking(sandbox.id.as_str(), move || {
            // Enough against `kill -9`; the synced copy against power loss follows beside the work.
            engine.records.put_sandbox(&intent, Durability::Volatile)?;
            make_private(&dir)?;
            std::fs::create_dir_all(&logs).map_err(Error::io("making log directory", logs))
        })
        .await?;
    }
    let (durable, attachment, monitor) = tokio::join!(
        record::put(engine, sandbox, (SandboxPhase::Creating, &nothing), Durability::Synced),
        surroundings(engine, sandbox),
        crate::monitor::launch(engine, sandbox),
    );
    durable?;
    let (attachment, monitor) = (attachment?, monitor?);
    let ips = attachment.map(|a| a.ips).unwrap_or_default();
    let pause_pid = pause(engine, sandbox, &monitor).await?;
    let live = Live { ips, pause_pid };
    record::put(engine, sandbox, (SandboxPhase::Ready, &live), Durability::Volatile).await?;
    Ok(live)
}

/// Namespaces, generated files, shm and the network: blocking work in one go.
async fn surroundings(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<Option<Attachment>, Error> {
    let (engine, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
    blocking(sandbox.id.to_string(), move || {
        let dir = engine.sandbox_dir(&sandbox);
        let hostname = hostname(&sandbox.config, &sandbox.id);
        let has_user_namespace = id_map::of_pod(&sandbox.config.namespaces).is_some();
        if has_user_namespace {
            open_passage(&engine, &sandbox.handler)?;
        }
        sandbox.namespaces.create(&NamespaceSettings {
            sysctls: sysctls(&engine, &sandbox.config)?,
            hostname: sandbox.namespaces.path(PodNamespace::Uts).map(|_| hostname.clone()),
            user: id_map::of_pod(&sandbox.config.namespaces).cloned(),
        })?;
        let attachment = match sandbox.network_namespace() {
            Some(netns) => Some(attach(&engine, &sandbox, netns)?),
            None => None,
        };
        let ips = attachment.as_ref().map(|a| a.ips.clone()).unwrap_or_default();
        files::write_resolv_conf(&dir, sandbox.config.dns.as_ref(), Path::new("/etc/resolv.conf"))?;
        files::write_hostname(&dir, &hostname)?;
        if sandbox.network_namespace().is_some() {
            files::write_hosts(&dir, &hostname, &ips)?;
        } else {
            files::copy_hosts(&dir, Path::new("/etc/hosts"))?;
        }
        if sandbox.namespaces.path(PodNamespace::Ipc).is_some() {
            let policy = engine.node.defaults.security.selinux.as_ref();
            let label = policy.and_then(|policy| policy.of_pod(&sandbox.config, Categories::of(&sandbox.id)));
            files::mount_shm(&dir, shm_size(&sandbox.config)?, label.as_deref())?;
        }
        if has_user_namespace {
            files::give_to(&dir, id_map::root_of(&sandbox.config.namespaces))?;
        }
        Ok(attachment)
    })
    .await
}

/// The size of `/dev/shm`: the annotation's, or the default.
fn shm_size(config: &SandboxConfig) -> Result<u64, Error> {
    let wanted = files::SHM_SIZE_ANNOTATIONS.iter().find_map(|key| config.annotations.get(*key));
    wanted.map_or(Ok(files::DEFAULT_SHM_SIZE), |text| Ok(files::shm_size(text)?))
}

fn attach(engine: &Engine, sandbox: &Sandbox, netns: &Path) -> Result<Attachment, Error> {
    let config = &sandbox.config;
    let port_mappings = config
        .port_mappings
        .iter()
        .map(|mapping| ochre_network::PortMapping {
            protocol: match mapping.protocol {
                Protocol::Tcp => PortProtocol::Tcp,
                Protocol::Udp => PortProtocol::Udp,
                Protocol::Sctp => PortProtocol::Sctp,
            },
            container_port: mapping.container_port,
            host_port: mapping.host_port,
            host_ip: mapping.host_ip,
        })
        .collect();
    engine
        .node
        .network
        .attach(&AttachRequest {
            sandbox: sandbox.id.clone(),
            name: config.metadata.name.clone(),
            namespace: config.metadata.namespace.clone(),
            uid: config.metadata.uid.clone(),
            netns: netns.to_owned(),
            port_mappings,
            annotations: config.annotations.clone(),
            cgroup_path: (!config.cgroup_parent.is_empty()).then(|| config.cgroup_parent.clone()),
            dns: config.dns.as_ref().map(|dns| Dns {
                servers: dns.servers.clone(),
                searches: dns.searches.clone(),
                options: dns.options.clone(),
            }),
        })
        .map_err(|source| Error::Network { id: sandbox.id.clone(), source })
}

/// Starts the pause process where containers share a PID namespace.
async fn pause(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    monitor: &Monitor,
) -> Result<Option<i32>, Error> {
    if sandbox.config.namespaces.pid != NamespaceMode::Pod {
        return Ok(None);
    }
    let creation = super::pause::creation(engine, sandbox)?;
    let (id, bundle) = (creation.id.clone(), creation.bundle.clone());
    {
        let (engine, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
        blocking(sandbox.id.to_string(), move || crate::bundle::pause(&engine, &sandbox, &bundle)).await?;
    }
    let created = monitor.create(creation).await?;
    monitor.start(&id).await?;
    Ok(Some(created.pid))
}

/// The pause process is the container that has its sandbox's id.
pub(crate) fn pause_id(id: &SandboxId) -> ContainerId {
    match id.as_str().parse() {
        Ok(id) => id,
        // Both types hold the same 64 hexadecimal characters.
        Err(_) => unreachable!("a sandbox id has the form of a container id"),
    }
}

/// How the monitor calls a handler's runtime.
pub(crate) fn runtime_command(engine: &Engine, handler: &ochre_runtime::handler::Handler) -> RuntimeCommand {
    RuntimeCommand {
        path: handler.path.clone(),
        root: handler.root.clone(),
        systemd_cgroup: engine.node.driver == Driver::Systemd,
    }
}

/// Options for starting the pod's monitor.
pub(crate) fn launch_options(engine: &Engine, sandbox: &Sandbox) -> LaunchOptions {
    LaunchOptions {
        binary: engine.node.paths.monitor.clone(),
        dir: engine.sandbox_dir(sandbox),
        oom_score_adj: Some(MONITOR_SCORE),
    }
}
