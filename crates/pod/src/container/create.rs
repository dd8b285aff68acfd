//! CreateContainer, the story: check → images → intent → layer, mount, volumes → specification → log → runtime → created.
//!
//! The intent record is written before the first effect; its id names all of them. A failure or a crash at any later
//! line is undone from it (`remove::undo`).

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ochre_image::ResolvedImage;
use ochre_runtime::config::{ContainerConfig, ImageDefaults, SandboxConfig};
use ochre_runtime::namespaces::id_map;
use ochre_storage::{IdMaps, NewContainer};
use ochre_sys::atomic::Durability;
use serde_json::json;

use super::state::Process;
use super::volumes::{self, Volumes};
use super::{Container, Made};
use crate::disk::latest::{self, ContainerPhase, ImageRecord, UserRecord, VolumeRecord};
use crate::engine::{Engine, blocking};
use crate::error::Error;
use crate::sandbox::Sandbox;
use crate::sandbox::run::invalid;

/// Marks store containers as this engine's; CRI-O's own mark is the pair pod-name and pod-id.
const MARK: &str = "ochre";

/// Checks what needs no look at the machine.
pub(super) fn check(engine: &Engine, sandbox: &Sandbox, config: &ContainerConfig) -> Result<(), Error> {
    let handler = engine.node.handlers.get(&sandbox.handler)?;
    ochre_runtime::spec::check(config, crate::bundle::features(handler))?;
    let path = Path::new(&config.log_path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !config.log_path.is_empty()
        && (!plain || config.log_path.len() > 4096 || config.log_path.contains('\0'))
    {
        return Err(invalid(
            "log_path",
            &config.log_path,
            "a path relative to the pod's log directory, without `..`",
        ));
    }
    if config.metadata.name.len() > 1024 || config.metadata.name.contains(['\0', '\n', '/']) {
        return Err(invalid(
            "metadata.name",
            &config.metadata.name,
            "at most 1024 characters without slashes",
        ));
    }
    Ok(())
}

/// Performs it. On failure everything that was made is undone before the error is returned.
pub(super) async fn create(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<Process, Error> {
    // Asked again now that the container is registered: a stop that began before sees it and waits for this creation.
    super::driver::check_ready(&container.sandbox)?;
    crate::checkpoint::refuse_archive(&container.config.image)?;
    let image = engine.node.images.resolve(&container.config.image).await?;
    admit(engine, container, &image).await?;
    crate::checkpoint::refuse_image(&container.config.image, &image.summary)?;
    let volumes = volumes::resolve(engine, container).await?;
    let result = perform(engine, container, image, volumes).await;
    if result.is_err()
        && let Err(error) = super::undo(engine, container).await
    {
        tracing::warn!(container = %container.id, "undoing the failed creation: {error}");
    }
    result
}

/// The policy is asked again, about the name that the pod's author wrote: it may have changed since the pull, and the
/// pull may have been for another namespace. An image without any name came from this node's own disk.
async fn admit(engine: &Engine, container: &Container, image: &ResolvedImage) -> Result<(), Error> {
    let written = Some(&container.config.user_specified_image).filter(|name| !name.is_empty());
    let names = image.summary.repo_tags.iter().chain(&image.summary.repo_digests);
    let Some(name) = written.into_iter().chain(names).next() else { return Ok(()) };
    let namespace = Some(container.sandbox.config.metadata.namespace.as_str());
    Ok(engine.node.images.admit(name, &image.summary.id, namespace).await?)
}

async fn perform(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    image: ResolvedImage,
    volumes: Volumes,
) -> Result<Process, Error> {
    let prepared = {
        let (engine, container) = (Arc::clone(engine), Arc::clone(container));
        blocking(container.id.to_string(), move || prepare(&engine, &container, &image, &volumes)).await?
    };
    let creation = crate::monitor::creation(engine, container, prepared.log_path.clone())?;
    let monitor = container.monitor()?;
    // The cell was empty: only this task makes this container.
    drop(container.made.set(prepared));
    // The sync runs beside the runtime. What a power loss must not take is that the container was there; its process
    // does not survive that anyway, so the synced record has none.
    let unborn = ContainerPhase::Live { pid: 0, started_at: 0 };
    let (durable, created) =
        tokio::join!(save(engine, container, unborn, Durability::Synced), monitor.create(creation));
    let created = created?;
    if id_map::of_pod(&container.sandbox.config.namespaces).is_some() {
        let (pod, uid) = (Arc::clone(&container.sandbox), container.made().map_or(0, |made| made.uid));
        let give = move || crate::user_namespace::give_streams(&pod, created.pid, uid);
        blocking(container.id.to_string(), give).await?;
    }
    if container.made().is_some_and(|made| !made.volumes.is_empty()) {
        let (engine, container) = (Arc::clone(engine), Arc::clone(container));
        blocking(container.id.to_string(), move || volumes::detach(&engine, &container)).await?;
    }
    *container.spare.lock() = Some(created.spare);
    durable?;
    let phase = ContainerPhase::Live { pid: created.pid, started_at: 0 };
    save(engine, container, phase, Durability::Volatile).await?;
    Ok(Process { pid: created.pid })
}

/// Everything that blocks: records, layer, mount, specification, log directory.
fn prepare(
    engine: &Engine,
    container: &Arc<Container>,
    image: &ResolvedImage,
    volumes: &Volumes,
) -> Result<Made, Error> {
    let summary = &image.summary;
    let name = summary.repo_tags.first().cloned().unwrap_or_else(|| summary.id.to_string());
    let reference = summary.repo_digests.first().cloned().unwrap_or_else(|| summary.id.to_string());
    let mut made = Made {
        image_id: summary.id.clone(),
        image_name: name,
        image_reference: reference,
        log_path: log_path(container),
        stop_signal: 0,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        cgroups_path: String::new(),
        volumes: volumes.iter().map(|(place, content)| (*place, content.id().clone())).collect(),
    };
    let intent = record(container, &made, ContainerPhase::Creating);
    engine.records.put_container(&intent, Durability::Volatile)?;
    engine.node.store.create_container(new_container(engine, container, &made))?;
    let rootfs = engine.node.store.mount_container(&container.id)?;
    let mounted = volumes::mount(engine, container, volumes)?;
    let defaults = image_defaults(image);
    let (built, cgroups_path) = crate::bundle::container(engine, container, &defaults, (&rootfs, &mounted))?;
    for warning in &built.warnings {
        tracing::debug!(container = %container.id, "{warning}");
    }
    if let Some(parent) = made.log_path.as_ref().and_then(|path| path.parent()) {
        std::fs::create_dir_all(parent).map_err(Error::io("making log directory", parent))?;
    }
    made.stop_signal = built.stop_signal;
    made.uid = built.user.uid;
    made.gid = built.user.gid;
    made.groups = built.user.additional_gids;
    made.cgroups_path = cgroups_path;
    Ok(made)
}

fn log_path(container: &Container) -> Option<PathBuf> {
    let path = &container.config.log_path;
    (!path.is_empty()).then(|| container.sandbox.log_directory.join(path))
}

fn image_defaults(image: &ResolvedImage) -> ImageDefaults {
    let config = &image.config;
    ImageDefaults {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        volumes: config.volumes.clone(),
        stop_signal: config.stop_signal.clone(),
    }
}

/// The store's record, with the metadata in CRI-O's form so that its tools know whose container this is.
fn new_container(engine: &Engine, container: &Container, made: &Made) -> NewContainer {
    let (pod, own) = (&container.sandbox.config.metadata, &container.config.metadata);
    let name = format!("k8s_{}_{}_{}_{}_{}", own.name, pod.name, pod.namespace, pod.uid, own.attempt);
    let metadata = json!({
        "pod-name": pod.name, "pod-id": container.sandbox.id, "image-name": made.image_name,
        "image-id": made.image_id, "name": name, "metadata-name": own.name, "uid": pod.uid,
        "namespace": pod.namespace, "created-at": container.created_at.nanos() / 1_000_000_000,
        "attempt": own.attempt, "engine": MARK,
    });
    NewContainer {
        id: container.id.clone(),
        names: vec![format!("{name}_{}", container.id.short())],
        image: Some(made.image_id.clone()),
        metadata: metadata.to_string(),
        mount_label: crate::bundle::mount_label(engine, container),
        id_maps: id_maps(&container.sandbox.config),
    }
}

/// The mappings of the pod's user namespace, through which the image's layers are shown.
fn id_maps(pod: &SandboxConfig) -> Option<IdMaps> {
    id_map::of_pod(&pod.namespaces)
        .map(|user| IdMaps { uids: id_map::ranges(&user.uids), gids: id_map::ranges(&user.gids) })
}

/// Whether a store container's metadata carries this engine's mark.
pub(crate) fn is_ours(metadata: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(metadata).is_ok_and(|metadata| metadata["engine"] == MARK)
}

fn record(container: &Container, made: &Made, phase: ContainerPhase) -> latest::Container {
    latest::Container {
        id: container.id.clone(),
        sandbox: container.sandbox.id.clone(),
        created_at: container.created_at.nanos(),
        phase,
        config: ContainerConfig { resources: container.resources(), ..container.config.clone() },
        image: ImageRecord {
            id: made.image_id.clone(),
            name: made.image_name.clone(),
            reference: made.image_reference.clone(),
        },
        log_path: made.log_path.clone(),
        stop_signal: made.stop_signal,
        user: UserRecord { uid: made.uid, gid: made.gid, groups: made.groups.clone() },
        cgroups_path: made.cgroups_path.clone(),
        volumes: made
            .volumes
            .iter()
            .map(|(place, image)| VolumeRecord { place: *place, image: image.clone() })
            .collect(),
    }
}

/// Writes the record of a container that has been made.
pub(super) async fn save(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    phase: ContainerPhase,
    durability: Durability,
) -> Result<(), Error> {
    let Some(made) = container.made() else { return Ok(()) };
    let record = record(container, made, phase);
    let engine = Arc::clone(engine);
    blocking(container.id.to_string(), move || engine.records.put_container(&record, durability)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containers_with_the_mark_are_ours() {
        assert!(is_ours(r#"{"pod-name":"a","engine":"ochre"}"#));
        for foreign in [r#"{"pod-name":"a","pod-id":"b"}"#, "", "[]", r#"{"engine":"other"}"#] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }
}
