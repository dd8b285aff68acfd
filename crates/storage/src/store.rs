//! The store: opening it, cleaning up after a crash, and mounting layers.
//!
//! What a crash leaves, and who removes it at the next start:
//!
//! | left behind | recognised by | removed |
//! |---|---|---|
//! | a layer half made or half removed | record flagged incomplete | with the image or container that names it |
//! | a layer half unpacked | staging lock free | directory |
//! | a directory half removed | lies in the trash | directory |
//! | items of an image without a record | directory without a record | directory, unless `images.json` is missing |
//! | a temporary record file | its name | file |
//!
//! Nothing is removed because a record file cannot be read. Cleaning up needs the locks; when podman holds one for
//! longer than a moment, the store opens without cleaning, and podman cleans its own.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ochre_sys::user_namespace::UserNamespace;
use ochre_types::{ImageId, LayerId};

use crate::anchor::weigh_anchor;
use crate::disk::containers::{self, ContainerRecord};
use crate::disk::images::{self, ImageRecord};
use crate::disk::layers::{self, LayerRecord};
use crate::disk::mounts::{self, MountRecord};
use crate::disk::table::{Row, Table, Writer};
use crate::layer::{discard_layers, forget_layers};
use crate::overlay::Overlay;
use crate::overlay::dirs::{Discarded, entries, make_dir, remove_tree};
use crate::overlay::mount::{self, Access, How};
use crate::{Error, IdMaps};

/// How long opening waits for the locks that cleaning up needs.
const CLEANING_PATIENCE: Duration = Duration::from_secs(1);

/// Where the store lies and how its layers are mounted.
#[derive(Debug, Clone, Default)]
pub struct StoreConfig {
    /// Absolute path of what survives a reboot, `/var/lib/containers/storage` by default.
    pub root: PathBuf,
    /// Absolute path of what a reboot voids, `/run/containers/storage` by default.
    pub runroot: PathBuf,
    /// Mount options of layers (`overlay.mountopt`), such as `nodev,metacopy=on`.
    pub mount_options: Vec<String>,
    /// Roots of stores that are only read.
    pub additional_image_stores: Vec<PathBuf>,
}

/// An open store. Cloning is cheap, and all clones share their snapshots.
#[derive(Clone)]
pub struct Store {
    pub(crate) opened: Arc<Opened>,
}

/// What all handles share.
pub(crate) struct Opened {
    root: PathBuf,
    pub(crate) runroot: PathBuf,
    pub(crate) overlay: Overlay,
    pub(crate) layers: Table<LayerRecord>,
    pub(crate) images: Table<ImageRecord>,
    pub(crate) containers: Table<ContainerRecord>,
    mounts: Table<MountRecord>,
    pub(crate) additional: Vec<Additional>,
}

/// An additional image store: read only.
pub(crate) struct Additional {
    pub(crate) layers: Table<LayerRecord>,
    pub(crate) images: Table<ImageRecord>,
}

/// Whether mounting a mounted layer counts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// A retry after a crash is the same mount.
    Once,
    /// Every user has its own.
    EveryUser,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.opened.root).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store, making what is missing. Tries out overlay, and removes what a crash left behind.
    ///
    /// # Errors
    /// [`Error::OverlayUnsupported`], [`Error::NoEntryTypes`]; [`Error::Corrupt`] naming a damaged record file; I/O
    /// errors.
    pub fn open(config: StoreConfig) -> Result<Self, Error> {
        let StoreConfig { root, runroot, mount_options, additional_image_stores } = config;
        for dir in [&root, &runroot] {
            make_dir_all(dir)?;
        }
        for name in ["overlay-layers", "overlay-images", "overlay-containers"] {
            make_dir(&root.join(name), 0o700)?;
        }
        for name in ["overlay-layers", "overlay-containers"] {
            make_dir(&runroot.join(name), 0o700)?;
        }
        let additional =
            additional_image_stores.iter().map(|root| Additional::open(root)).collect::<Result<_, _>>()?;
        let opened = Opened {
            overlay: Overlay::open(&root, &additional_image_stores, &mount_options)?,
            layers: Table::open(root.join("overlay-layers"), layers::LOCK, layers::FILES)?,
            images: Table::open(root.join("overlay-images"), images::LOCK, images::FILES)?,
            containers: Table::open(root.join("overlay-containers"), containers::LOCK, containers::FILES)?,
            mounts: Table::open(runroot.join("overlay-layers"), mounts::LOCK, mounts::FILES)?,
            additional,
            root,
            runroot,
        };
        let store = Self { opened: Arc::new(opened) };
        store.clean()?;
        Ok(store)
    }

    /// The root, as configured.
    pub fn root(&self) -> &Path {
        &self.opened.root
    }

    /// The run root, as configured.
    pub fn runroot(&self) -> &Path {
        &self.opened.runroot
    }

    /// Mounts an image's layers read only and returns the path. Each mount needs its own [`Store::unmount_image`].
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageWithoutLayers`], [`Error::Mount`]; I/O errors.
    pub fn mount_image(&self, id: &ImageId) -> Result<PathBuf, Error> {
        let layer = self.top_layer(id)?;
        let label = self.layer(&layer)?.map(|layer| layer.mount_label.clone()).unwrap_or_default();
        self.mount(&layer, How { access: Access::ReadOnly, label: &label, id_map: None }, Counting::EveryUser)
    }

    /// Undoes one [`Store::mount_image`]. Fine when nothing is mounted.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageWithoutLayers`], [`Error::Unmount`]; I/O errors.
    pub fn unmount_image(&self, id: &ImageId) -> Result<(), Error> {
        self.unmount(&self.top_layer(id)?)
    }

    /// Whether containers can have id mappings: tries it with an empty layer and the mappings of a user namespace.
    ///
    /// # Errors
    /// [`Error::IdMapUnsupported`]; [`Error::Mount`] and I/O errors.
    pub fn try_id_maps(&self, user_namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let overlay = &self.opened.overlay;
        mount::try_mapped(&self.opened.root, &overlay.dirs, &overlay.options, user_namespace)
    }

    /// Mounts an image's layers read only at `target`, an existing directory of the caller's. The mount is the caller's
    /// own: it stands in no record of the store and is undone by unmounting it. With `maps`, files have the owners that
    /// a user namespace of these mappings gives them.
    ///
    /// # Errors
    /// As [`Store::mount_image`]; with mappings [`Error::IdMap`] and [`Error::IdMapUnsupported`].
    pub fn mount_image_at(&self, id: &ImageId, target: &Path, maps: Option<&IdMaps>) -> Result<(), Error> {
        let top = self.top_layer(id)?;
        let label = self.layer(&top)?.map(|layer| layer.mount_label.clone()).unwrap_or_default();
        // Held so that nobody removes a layer between the look at it and the mount.
        let _held = self.opened.layers.read()?;
        let overlay = &self.opened.overlay;
        let dir = overlay.dirs.find(&top).ok_or_else(|| Error::LayerNotFound { id: top.clone() })?;
        let failed = |source| Error::IdMap { id: top.clone(), source };
        let namespace = maps.map(|maps| UserNamespace::new(&maps.uids, &maps.gids, &[]));
        let map = namespace
            .transpose()
            .and_then(|made| made.map(|made| made.open()).transpose())
            .map_err(failed)?;
        let how = How { access: Access::ReadOnly, label: &label, id_map: map.as_ref().map(AsFd::as_fd) };
        mount::mount_layer(&overlay.dirs, &overlay.options, (&top, &dir), target, how)
    }

    fn top_layer(&self, id: &ImageId) -> Result<LayerId, Error> {
        let image = self.image(id)?.ok_or_else(|| Error::ImageNotFound { id: id.clone() })?;
        image.top_layer.clone().ok_or_else(|| Error::ImageWithoutLayers { id: id.clone() })
    }

    pub(crate) fn mount(&self, id: &LayerId, how: How<'_>, counting: Counting) -> Result<PathBuf, Error> {
        let overlay = &self.opened.overlay;
        let dir = overlay.dirs.find(id).ok_or_else(|| Error::LayerNotFound { id: id.clone() })?;
        let target = self.mount_point(id, &dir)?;
        // podman undoes the bind mount of `overlay` when no layer is on record as mounted; this lock keeps it from doing
        // so between the mount and its record.
        let home = overlay.hold_home()?;
        let anchor = self.anchor()?;
        let mut mounts = self.opened.mounts.write()?;
        overlay.bind_home(&home, mounts.rows.iter().map(|row| Path::new(&row.record.path)))?;
        let counted = mounts.get(id.as_str()).map_or(0, |row| row.record.count.max(0));
        let mounted = mount::is_mount_point(&target)?;
        if !mounted {
            mount::mount_layer(&overlay.dirs, &overlay.options, (id, &dir), &target, how)?;
        }
        let count = match (mounted, counting) {
            (false, _) => 1,
            (true, Counting::Once) => counted.max(1),
            (true, Counting::EveryUser) => counted + 1,
        };
        if !mounted || count != counted {
            set_count(&mut mounts, id, &target, count);
            self.drop_anchor(&mut mounts, &anchor);
            if let Err(error) = mounts.save(0) {
                if !mounted {
                    mount::unmount(&target)?;
                }
                return Err(error);
            }
        }
        Ok(target)
    }

    pub(crate) fn unmount(&self, id: &LayerId) -> Result<(), Error> {
        let mut mounts = self.opened.mounts.write()?;
        let Some((count, path)) =
            mounts.get(id.as_str()).map(|row| (row.record.count, row.record.path.clone()))
        else {
            // Mounted by somebody who died before the record.
            return self.unmount_all(id);
        };
        if count > 1 {
            set_count(&mut mounts, id, Path::new(&path), count - 1);
        } else {
            self.unmount_all(id)?;
            mounts.remove(id.as_str());
        }
        mounts.save(0)
    }

    /// Undoes every mount of a layer, whoever counts on it.
    pub(crate) fn release(&self, id: &LayerId) -> Result<(), Error> {
        let mut mounts = self.opened.mounts.write()?;
        self.unmount_all(id)?;
        if mounts.remove(id.as_str()) {
            mounts.save(0)?;
        }
        Ok(())
    }

    fn unmount_all(&self, id: &LayerId) -> Result<(), Error> {
        let overlay = &self.opened.overlay;
        for target in [overlay.dirs.own(id).join("merged"), self.foreign_mount_point(id)] {
            // Mounts can be stacked when two programs made one each; nobody stacks more than a few.
            for _ in 0..16 {
                if !mount::unmount(&target)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where a layer is mounted: in its own directory, or below the run root if it lies in an additional store.
    fn mount_point(&self, id: &LayerId, dir: &Path) -> Result<PathBuf, Error> {
        if dir == self.opened.overlay.dirs.own(id) {
            let target = dir.join("merged");
            make_dir(&target, 0o700)?;
            return Ok(target);
        }
        let target = self.foreign_mount_point(id);
        make_dir_all(&target)?;
        Ok(target)
    }

    fn foreign_mount_point(&self, id: &LayerId) -> PathBuf {
        self.opened.runroot.join("overlay").join(id.as_str()).join("merged")
    }

    fn clean(&self) -> Result<(), Error> {
        self.opened.overlay.dirs.sweep();
        let Some(mut layers) = self.opened.layers.write_within(CLEANING_PATIENCE)? else { return Ok(()) };
        let Some(mut images) = self.opened.images.write_within(CLEANING_PATIENCE)? else { return Ok(()) };
        let Some(mut containers) = self.opened.containers.write_within(CLEANING_PATIENCE)? else {
            return Ok(());
        };
        layers.sweep_temporary_files()?;
        images.sweep_temporary_files()?;
        containers.sweep_temporary_files()?;
        self.sweep_items(&images)?;
        // Makers and removers of layers hold the lock as long as the flag is set, so these have lost theirs.
        let flagged = layers.rows.iter().filter(|row| row.record.is_incomplete());
        let stale: Vec<String> = flagged.map(|row| row.record.id.clone()).collect();
        if stale.is_empty() {
            return Ok(());
        }
        self.forget_users(&stale, &layers, &mut images, &mut containers)?;
        let discarded = discard_layers(self, &mut layers, &stale)?;
        forget_layers(&mut layers, &stale)?;
        drop((containers, images, layers));
        discarded.into_iter().for_each(Discarded::remove);
        Ok(())
    }

    /// Removes the records of images and containers whose layers are going.
    fn forget_users(
        &self,
        stale: &[String],
        layers: &Writer<'_, LayerRecord>,
        images: &mut Writer<'_, ImageRecord>,
        containers: &mut Writer<'_, ContainerRecord>,
    ) -> Result<(), Error> {
        let broken: Vec<String> = images
            .rows
            .iter()
            .filter(|row| chain(layers, &row.record.top_layer).any(|layer| stale.contains(layer)))
            .map(|row| row.record.id.clone())
            .collect();
        for id in &broken {
            images.remove(id);
        }
        if !broken.is_empty() {
            images.save(0)?;
            self.sweep_items(images)?;
        }
        let broken: Vec<(String, usize)> = containers
            .rows
            .iter()
            .filter(|row| stale.contains(&row.record.layer))
            .map(|row| (row.record.id.clone(), row.file))
            .collect();
        for (id, file) in broken {
            self.remove_container_dirs(&id)?;
            containers.remove(&id);
            containers.save(file)?;
        }
        Ok(())
    }

    /// Removes directories of images that are not on record.
    fn sweep_items(&self, images: &Writer<'_, ImageRecord>) -> Result<(), Error> {
        let dir = self.opened.images.dir();
        // Without the file there is no telling a lost record from one that never was.
        if std::fs::metadata(dir.join(images::FILES[0].name)).map_or(true, |file| file.len() == 0) {
            return Ok(());
        }
        for path in entries(dir) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.parse::<ImageId>().is_ok() && images.get(&name).is_none() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

impl Opened {
    /// This store's images, then those of the additional ones.
    pub(crate) fn image_tables(&self) -> impl Iterator<Item = &Table<ImageRecord>> {
        std::iter::once(&self.images).chain(self.additional.iter().map(|store| &store.images))
    }
}

impl Drop for Opened {
    /// Undoes the bind mount of `overlay` if nothing is mounted below it. Nobody is left to hear of a failure.
    fn drop(&mut self) {
        if let Some(_held) = self.overlay.undo_bind()
            && let Ok(mut mounts) = self.mounts.write()
            && weigh_anchor(&mut mounts)
        {
            drop(mounts.save(0));
        }
    }
}

impl Additional {
    fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self {
            layers: Table::open_read_only(root.join("overlay-layers"), layers::LOCK, layers::FILES)?,
            images: Table::open_read_only(root.join("overlay-images"), images::LOCK, images::FILES)?,
        })
    }
}

/// Whether an additional store has the layer.
pub(crate) fn in_additional_store(opened: &Opened, id: &LayerId) -> Result<bool, Error> {
    for store in &opened.additional {
        if store.layers.current()?.view.contains_key(id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the file lies that rebuilds a layer's tar.
pub(crate) fn tar_split_path(opened: &Opened, id: &str) -> PathBuf {
    opened.layers.dir().join(format!("{id}.tar-split.gz"))
}

/// A layer and those below it, by the records.
fn chain<'a>(layers: &'a Writer<'_, LayerRecord>, top: &'a str) -> impl Iterator<Item = &'a String> {
    let parent = |row: &&'a Row<LayerRecord>| layers.get(&row.record.parent);
    // A damaged file could hold a ring of parents.
    std::iter::successors(layers.get(top), parent).take(layers.rows.len()).map(|row| &row.record.id)
}

pub(crate) fn set_count(mounts: &mut Writer<'_, MountRecord>, id: &LayerId, path: &Path, count: i64) {
    if mounts.get(id.as_str()).is_some() {
        return mounts.change(id.as_str(), |record| {
            record.count = count;
            record.path = path.display().to_string();
        });
    }
    let record = MountRecord {
        id: id.to_string(),
        path: path.display().to_string(),
        count,
        other: serde_json::Map::new(),
    };
    mounts.push(0, record);
}

fn make_dir_all(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make", path))
}
