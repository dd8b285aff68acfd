//! Containers: their records, writable layers and mounts.
//!
//! ```text
//!   create: layer flagged --> layer directories --> container record --> layer complete
//!   delete: layer flagged --> unmounted, directories gone --> container record gone --> layer record gone
//! ```
//!
//! Records and layers of containers are volatile: written without syncing, since a reboot voids containers anyway.
//! Whoever finds a flagged layer at a start removes it together with the container that names it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use ochre_sys::user_namespace::UserNamespace;
use ochre_types::{ContainerId, ImageId, LayerId, Timestamp};
use serde_json::{Map, Value};

use crate::disk::containers::{self, ContainerRecord};
use crate::disk::layers::{self, LayerRecord};
use crate::disk::table::Writer;
use crate::disk::text;
use crate::layer::{discard_layers, forget_layers};
use crate::overlay::dirs::{Discarded, make_dir, remove_tree};
use crate::overlay::mount::{Access, How};
use crate::store::{Counting, Store};
use crate::{Error, IdMaps};

const MOUNT_LABEL: &str = "MountLabel";
const PROCESS_LABEL: &str = "ProcessLabel";
const VOLATILE: &str = "Volatile";

/// A container on record, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its identifier.
    pub id: ContainerId,
    /// Its names.
    pub names: Vec<String>,
    /// The image it was made from; `None` if it was made from none.
    pub image: Option<ImageId>,
    /// Its writable layer.
    pub layer: LayerId,
    /// JSON of the program that made it, verbatim.
    pub metadata: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// SELinux label of its mounts; empty for none.
    pub mount_label: String,
    /// Whether its layer may be mounted without syncing.
    pub volatile: bool,
    /// Mappings of its user namespace; its image's layers are shown through them.
    pub id_maps: Option<IdMaps>,
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// Its identifier.
    pub id: ContainerId,
    /// Names, unique among all containers of the store.
    pub names: Vec<String>,
    /// The image whose layers lie below; `None` for an empty root.
    pub image: Option<ImageId>,
    /// JSON kept verbatim.
    pub metadata: String,
    /// SELinux label for its mounts; empty for none.
    pub mount_label: String,
    /// Mappings of its user namespace, where it has one.
    pub id_maps: Option<IdMaps>,
}

impl Container {
    /// `None` for identifiers that are not ours to understand; the record is kept all the same.
    pub(crate) fn from_record(record: &ContainerRecord) -> Option<Self> {
        let flag = |name: &str| record.flags.get(name);
        Some(Self {
            id: record.id.parse().ok()?,
            names: record.names.clone(),
            image: record.image.parse().ok(),
            layer: record.layer.parse().ok()?,
            metadata: record.metadata.clone(),
            created: text::parse_time(&record.created),
            mount_label: flag(MOUNT_LABEL).and_then(Value::as_str).unwrap_or_default().to_owned(),
            volatile: flag(VOLATILE).and_then(Value::as_bool).unwrap_or_default(),
            id_maps: IdMaps::from_records(&record.uid_map, &record.gid_map),
        })
    }
}

impl Store {
    /// All containers of this store. Never waits for writers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and I/O errors of reading the records.
    pub fn containers(&self) -> Result<Arc<Vec<Arc<Container>>>, Error> {
        Ok(Arc::clone(&self.opened.containers.current()?.view.all))
    }

    /// The container of that identifier. Never waits for writers.
    ///
    /// # Errors
    /// As [`Store::containers`].
    pub fn container(&self, id: &ContainerId) -> Result<Option<Arc<Container>>, Error> {
        Ok(self.opened.containers.current()?.view.by_id.get(id).cloned())
    }

    /// Makes a container with a writable layer on top of its image's, and its two directories.
    ///
    /// # Errors
    /// [`Error::ContainerExists`], [`Error::ContainerNameInUse`], [`Error::ImageNotFound`], [`Error::ParentMissing`];
    /// I/O errors. Nothing is left behind then.
    pub fn create_container(&self, new: NewContainer) -> Result<Arc<Container>, Error> {
        let mut layers = self.opened.layers.write()?;
        // Held so that nobody removes the image meanwhile.
        let (_images_held, _) = self.opened.images.read()?;
        let mut containers = self.opened.containers.write()?;
        refuse_duplicates(&new, &containers)?;
        let parent = match &new.image {
            Some(id) => {
                self.image(id)?.ok_or_else(|| Error::ImageNotFound { id: id.clone() })?.top_layer.clone()
            }
            None => None,
        };
        let id = new.id.clone();
        let layer = LayerId::generate();
        let result = self.add(new, (&layer, parent.as_ref()), &mut layers, &mut containers);
        if let Err(error) = result {
            let ids = [layer.to_string()];
            let discarded = discard_layers(self, &mut layers, &ids)?;
            self.remove_container_dirs(id.as_str())?;
            containers.remove(id.as_str());
            containers.save(containers::VOLATILE)?;
            forget_layers(&mut layers, &ids)?;
            drop((containers, layers));
            discarded.into_iter().for_each(Discarded::remove);
            return Err(error);
        }
        drop((containers, layers));
        self.container(&id)?.ok_or(Error::ContainerNotFound { id })
    }

    fn add(
        &self,
        new: NewContainer,
        (layer, parent): (&LayerId, Option<&LayerId>),
        layers: &mut Writer<'_, LayerRecord>,
        containers: &mut Writer<'_, ContainerRecord>,
    ) -> Result<(), Error> {
        let (uid_map, gid_map) = new.id_maps.as_ref().map(IdMaps::to_records).unwrap_or_default();
        let mut record = LayerRecord {
            uid_map,
            gid_map,
            id: layer.to_string(),
            parent: parent.map(LayerId::to_string).unwrap_or_default(),
            mount_label: new.mount_label.clone(),
            created: text::time(Timestamp::now()),
            ..LayerRecord::default()
        };
        record.set_incomplete(true);
        layers.push(layers::VOLATILE, record);
        layers.save(layers::VOLATILE)?;
        self.opened.overlay.dirs.make(layer, parent, new.id_maps.as_ref())?;
        for dir in [self.container_dir(&new.id), self.container_run_dir(&new.id)] {
            if let Some(parent) = dir.parent() {
                make_dir(parent, 0o700)?;
            }
            make_dir(&dir, 0o700)?;
        }
        containers.push(containers::VOLATILE, record_of(new, layer));
        containers.save(containers::VOLATILE)?;
        layers.change(layer.as_str(), |record| record.set_incomplete(false));
        layers.save(layers::VOLATILE)
    }

    /// Mounts a container's root and returns its path. Fine when it is mounted already.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`], [`Error::LayerNotFound`], [`Error::Mount`]; for a container with id mappings
    /// [`Error::IdMap`] and [`Error::IdMapUnsupported`]; I/O errors.
    pub fn mount_container(&self, id: &ContainerId) -> Result<PathBuf, Error> {
        let container = self.container(id)?.ok_or_else(|| Error::ContainerNotFound { id: id.clone() })?;
        let access = if container.volatile { Access::Volatile } else { Access::Durable };
        let failed = |source| Error::IdMap { id: container.layer.clone(), source };
        let namespace =
            container.id_maps.as_ref().map(|maps| UserNamespace::new(&maps.uids, &maps.gids, &[]));
        let map = namespace
            .transpose()
            .and_then(|made| made.map(|made| made.open()).transpose())
            .map_err(failed)?;
        let how = How { access, label: &container.mount_label, id_map: map.as_ref().map(AsFd::as_fd) };
        self.mount(&container.layer, how, Counting::Once)
    }

    /// Undoes [`Store::mount_container`]. Fine when nothing is mounted; a mount that podman counts too stays.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`], [`Error::Unmount`]; I/O errors.
    pub fn unmount_container(&self, id: &ContainerId) -> Result<(), Error> {
        let container = self.container(id)?.ok_or_else(|| Error::ContainerNotFound { id: id.clone() })?;
        self.unmount(&container.layer)
    }

    /// Removes a container: its mount, layer, directories and record. Fine when parts or all of it are gone.
    ///
    /// # Errors
    /// [`Error::Unmount`]; I/O errors. The record stays then, so that it can be tried again.
    pub fn delete_container(&self, id: &ContainerId) -> Result<(), Error> {
        let mut layers = self.opened.layers.write()?;
        let mut containers = self.opened.containers.write()?;
        let Some(row) = containers.get(id.as_str()) else { return self.remove_container_dirs(id.as_str()) };
        let (file, layer) = (row.file, row.record.layer.clone());
        let ids = [layer];
        let discarded = discard_layers(self, &mut layers, &ids)?;
        self.remove_container_dirs(id.as_str())?;
        containers.remove(id.as_str());
        containers.save(file)?;
        forget_layers(&mut layers, &ids)?;
        drop((containers, layers));
        discarded.into_iter().for_each(Discarded::remove);
        Ok(())
    }

    /// `<root>/overlay-containers/<id>/userdata`: what must survive a restart of the engine. Made by
    /// [`Store::create_container`], mode 0700.
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.opened.containers.dir().join(id.as_str()).join("userdata")
    }

    /// `<runroot>/overlay-containers/<id>/userdata`: what a reboot voids. Made by [`Store::create_container`], mode 0700.
    pub fn container_run_dir(&self, id: &ContainerId) -> PathBuf {
        self.opened.runroot.join("overlay-containers").join(id.as_str()).join("userdata")
    }

    /// `id` is a valid identifier or names a record this crate read.
    pub(crate) fn remove_container_dirs(&self, id: &str) -> Result<(), Error> {
        if id.parse::<ContainerId>().is_err() {
            return Ok(());
        }
        remove_tree(&self.opened.containers.dir().join(id))?;
        remove_tree(&self.opened.runroot.join("overlay-containers").join(id))
    }
}

fn refuse_duplicates(new: &NewContainer, containers: &Writer<'_, ContainerRecord>) -> Result<(), Error> {
    if containers.get(new.id.as_str()).is_some() {
        return Err(Error::ContainerExists { id: new.id.clone() });
    }
    for row in &containers.rows {
        if let Some(name) = row.record.names.iter().find(|name| new.names.contains(name)) {
            return Err(Error::ContainerNameInUse { name: name.clone(), owner: row.record.id.clone() });
        }
    }
    Ok(())
}

fn record_of(new: NewContainer, layer: &LayerId) -> ContainerRecord {
    let (uid_map, gid_map) = new.id_maps.as_ref().map(IdMaps::to_records).unwrap_or_default();
    let flags = Map::from_iter([
        (MOUNT_LABEL.to_owned(), Value::from(new.mount_label)),
        (PROCESS_LABEL.to_owned(), Value::from("")),
        (VOLATILE.to_owned(), Value::from(true)),
    ]);
    ContainerRecord {
        id: new.id.into(),
        names: new.names,
        image: new.image.map(String::from).unwrap_or_default(),
        layer: layer.to_string(),
        metadata: new.metadata,
        created: text::time(Timestamp::now()),
        uid_map,
        gid_map,
        flags,
        ..ContainerRecord::default()
    }
}
