//! Volumes from images and artifacts.
//!
//! ```text
//!   resolve ─► intent record ─► hold ─► mount at <bundle>/volumes/<place>      ─► runtime's create ─► detach
//!                                       or link below <state>/volumes/<id>                         … removal: undo
//! ```
//!
//! A mount is read-only and the container's own, whoever else mounts the same image. The runtime takes a copy of it into
//! the container when it creates it; after that the node's mount is of no use, and every further mount in its table
//! makes the next container slower. The image is held as long as the container is there.
//!
//! Where everything lies follows from the container's id, so undoing needs no record; the record names the images, which
//! are held again after a restart.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ochre_image::VolumeContent;
use ochre_runtime::namespaces::id_map;
use ochre_runtime::spec::VolumeDirectory;
use ochre_storage::IdMaps;
use ochre_types::ContainerId;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::Container;
use crate::disk::make_private;
use crate::engine::Engine;
use crate::error::Error;

/// What each volume is made from, by its place in the request.
pub(crate) type Volumes = BTreeMap<usize, VolumeContent>;

/// Mounts that can lie over one another at one place, which only a bug could make.
const STACKED: usize = 8;

/// Finds the images of all volumes.
pub(super) async fn resolve(engine: &Engine, container: &Container) -> Result<Volumes, Error> {
    let mut volumes = Volumes::new();
    for (place, mount) in container.config.mounts.iter().enumerate() {
        let Some(image) = &mount.image else { continue };
        let content = engine.node.images.resolve_volume(&image.reference).await;
        volumes.insert(place, content.map_err(|source| refused(container, place, source))?);
    }
    Ok(volumes)
}

/// Mounts them; returns where. The intent is on record. Blocking.
pub(super) fn mount(
    engine: &Engine,
    container: &Container,
    volumes: &Volumes,
) -> Result<BTreeMap<usize, VolumeDirectory>, Error> {
    let user = container.id.to_string();
    let mut mounted = BTreeMap::new();
    for (place, content) in volumes {
        let failed = |source| refused(container, *place, source);
        engine.node.images.hold(content.id(), &user).map_err(failed)?;
        let maps = id_maps(container, *place);
        let path = match content {
            VolumeContent::Artifact(artifact) => {
                let parent = engine.volume_dir(&container.id);
                make_private(&parent)?;
                let directory = parent.join(format!("artifact-{place}"));
                engine.node.images.link_artifact(artifact, &directory).map_err(failed)?;
                directory
            }
            VolumeContent::Image(id) => {
                let directory = mounts_dir(engine, container).join(place.to_string());
                make_private(&directory)?;
                match engine.node.store.mount_image_at(id, &directory, maps.as_ref()) {
                    // An image without layers is an empty directory.
                    Err(ochre_storage::Error::ImageWithoutLayers { .. }) => {}
                    result => result.map_err(|source| {
                        let (path, image) = names(container, *place);
                        Error::VolumeMount { path, image, source }
                    })?,
                }
                directory
            }
        };
        let id_mapped = maps.is_some() && matches!(content, VolumeContent::Image(_));
        mounted.insert(*place, VolumeDirectory { path, id_mapped });
    }
    Ok(mounted)
}

/// Takes the mounts away from the node, not from the container. Fine when there are none. Blocking.
pub(super) fn detach(engine: &Engine, container: &Container) -> Result<(), Error> {
    let directory = mounts_dir(engine, container);
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        unmount(&entry.path())?;
    }
    Ok(())
}

/// Undoes [`mount`], whatever of it was done. Blocking.
pub(super) fn undo(engine: &Engine, container: &Container) -> Result<(), Error> {
    detach(engine, container)?;
    let links = engine.volume_dir(&container.id);
    match std::fs::remove_dir_all(&links) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("removing volumes", links)(error));
        }
        _ => {}
    }
    engine.node.images.release(container.id.as_str());
    Ok(())
}

/// After a restart: what the container uses cannot be removed, and what a crash left mounted goes. Blocking, shortly.
pub(crate) fn restore(engine: &Engine, container: &Container) {
    for image in container.made().into_iter().flat_map(|made| made.volumes.values()) {
        // An image that another program has removed meanwhile is gone; the mount keeps what the container needs.
        drop(engine.node.images.hold(image, container.id.as_str()));
    }
    if let Err(error) = detach(engine, container) {
        tracing::warn!(container = %container.id, "{error}");
    }
}

/// Removes what no container's record names.
pub(crate) fn sweep(engine: &Engine, known: &HashSet<ContainerId>) {
    let directory = engine.node.paths.state_dir.join("volumes");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let stray = name.to_str().and_then(|name| name.parse::<ContainerId>().ok());
        if let Some(stray) = stray.filter(|id| !known.contains(id))
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(container = %stray, "removing volumes that no record names: {error}");
        }
    }
}

/// The mappings of a volume. overlayfs takes none from outside, so its layers are mapped instead.
fn id_maps(container: &Container, place: usize) -> Option<IdMaps> {
    let mount = container.config.mounts.get(place)?;
    let mapped = !(mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty());
    mapped.then(|| IdMaps {
        uids: id_map::ranges(&mount.uid_mappings),
        gids: id_map::ranges(&mount.gid_mappings),
    })
}

fn mounts_dir(engine: &Engine, container: &Container) -> PathBuf {
    engine.bundle(&container.sandbox, &container.id).join("volumes")
}

fn unmount(path: &Path) -> Result<(), Error> {
    for _ in 0..STACKED {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not a mount (any more).
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::io("unmounting", path)(error.into())),
        }
    }
    Ok(())
}

fn refused(container: &Container, place: usize, source: ochre_image::Error) -> Error {
    let (path, image) = names(container, place);
    Error::VolumeImage { path, image, source }
}

/// Container path and image of a volume, shortened.
fn names(container: &Container, place: usize) -> (String, String) {
    let short = |text: &str| text.chars().take(160).collect();
    let mount = container.config.mounts.get(place);
    let image = mount.and_then(|mount| mount.image.as_ref()).map(|image| image.reference.as_str());
    (short(mount.map_or("", |mount| &mount.container_path)), short(image.unwrap_or_default()))
}
