//! Images: reading, adding, naming and removing them.
//!
//! Adding writes the items first and the record once: a crash before the record leaves a directory without one, which
//! the next start removes. Removing flags the layers first, then takes the record out, then the layers: whoever finds
//! flagged layers finishes the job.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ochre_sys::atomic::{self, Durability};
use ochre_sys::rooted::Root;
use ochre_types::{Digest, ImageId, LayerId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::disk::containers::ContainerRecord;
use crate::disk::images::ImageRecord;
use crate::disk::layers::LayerRecord;
use crate::disk::table::Writer;
use crate::disk::{names, text};
use crate::layer::{discard_layers, flag, forget_layers};
use crate::overlay::dirs::{Discarded, make_dir, remove_tree};
use crate::store::{self, Store};
use crate::{Error, usage};

/// Manifests are at most 4 MiB by the distribution specification, configurations and signatures smaller.
const BIG_DATA_LIMIT: u64 = 16 << 20;

/// Names a manifest, or starts the name of one: its digest is one of the image's digests.
const MANIFEST: &str = "manifest";

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its identifier, the digest of its configuration.
    pub id: ImageId,
    /// Digest of its manifest, as recorded.
    pub digest: Option<Digest>,
    /// Digests of all manifests it is known by, `digest` first.
    pub digests: Vec<Digest>,
    /// Full names, such as `docker.io/library/busybox:latest` or `host/repository@sha256:…`.
    pub names: Vec<String>,
    /// Names it had, newest first.
    pub names_history: Vec<String>,
    /// The topmost layer; `None` for an image without layers.
    pub top_layer: Option<LayerId>,
    /// Text that goes with the image (JSON of containers/image).
    pub metadata: String,
    /// The items that [`Store::big_data`] returns.
    pub big_data_names: Vec<String>,
    /// Their sizes in bytes.
    pub big_data_sizes: HashMap<String, u64>,
    /// Their digests.
    pub big_data_digests: HashMap<String, Digest>,
    /// When the image was built; `None` if it does not say.
    pub created: Option<Timestamp>,
}

/// An image to be added.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its identifier, the digest of its configuration.
    pub id: ImageId,
    /// Full names; they are taken away from images that have them now.
    pub names: Vec<String>,
    /// The topmost layer, which exists.
    pub top_layer: Option<LayerId>,
    /// Digest of its manifest.
    pub digest: Option<Digest>,
    /// Items: `manifest`, `manifest-sha256:…`, `sha256:…` (the configuration).
    pub big_data: Vec<(String, Vec<u8>)>,
    /// When the image was built.
    pub created: Timestamp,
    /// Text that goes with the image.
    pub metadata: String,
}

impl Image {
    /// `None` for identifiers that are not ours to understand; the record is kept all the same.
    pub(crate) fn from_record(record: &ImageRecord) -> Option<Self> {
        let top_layer = match record.top_layer.as_str() {
            "" => None,
            layer => Some(layer.parse().ok()?),
        };
        let digest: Option<Digest> = record.digest.parse().ok();
        let of_manifests = record.big_data_names.iter().filter(|name| name.starts_with(MANIFEST));
        let of_manifests = of_manifests.filter_map(|name| record.big_data_digests.get(name)?.parse().ok());
        let mut digests: Vec<Digest> = digest.iter().cloned().chain(of_manifests).collect();
        let mut seen = HashSet::new();
        digests.retain(|digest| seen.insert(digest.clone()));
        let sizes = record.big_data_sizes.iter();
        let items = record.big_data_digests.iter();
        Some(Self {
            id: record.id.parse().ok()?,
            digest,
            digests,
            names: record.names.clone(),
            names_history: record.names_history.clone(),
            top_layer,
            metadata: record.metadata.clone(),
            big_data_names: record.big_data_names.clone(),
            big_data_sizes: sizes.map(|(k, size)| (k.clone(), u64::try_from(*size).unwrap_or(0))).collect(),
            big_data_digests: items
                .filter_map(|(k, digest)| Some((k.clone(), digest.parse().ok()?)))
                .collect(),
            created: text::parse_time(&record.created),
        })
    }
}

impl Store {
    /// All images, those of additional stores last. Never waits for writers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and I/O errors of reading the records.
    pub fn images(&self) -> Result<Arc<Vec<Arc<Image>>>, Error> {
        let own = self.opened.images.current()?;
        if self.opened.additional.is_empty() {
            return Ok(Arc::clone(&own.view.all));
        }
        let mut all = own.view.all.to_vec();
        let mut seen: HashSet<ImageId> = own.view.by_id.keys().cloned().collect();
        for store in &self.opened.additional {
            let more = store.images.current()?;
            all.extend(more.view.all.iter().filter(|image| seen.insert(image.id.clone())).cloned());
        }
        Ok(Arc::new(all))
    }

    /// The image of that identifier. Never waits for writers.
    ///
    /// # Errors
    /// As [`Store::images`].
    pub fn image(&self, id: &ImageId) -> Result<Option<Arc<Image>>, Error> {
        for table in self.opened.image_tables() {
            if let Some(image) = table.current()?.view.by_id.get(id) {
                return Ok(Some(Arc::clone(image)));
            }
        }
        Ok(None)
    }

    /// The image of that full name. Never waits for writers.
    ///
    /// # Errors
    /// As [`Store::images`].
    pub fn image_by_name(&self, name: &str) -> Result<Option<Arc<Image>>, Error> {
        for table in self.opened.image_tables() {
            if let Some(image) = table.current()?.view.by_name.get(name) {
                return Ok(Some(Arc::clone(image)));
            }
        }
        Ok(None)
    }

    /// An item of an image: `manifest`, `manifest-sha256:…`, or `sha256:…` for the configuration. At most 16 MiB.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::BigDataNotFound`], [`Error::BigDataName`]; I/O errors.
    pub fn big_data(&self, id: &ImageId, key: &str) -> Result<Vec<u8>, Error> {
        let name = item_name(id, key)?;
        for table in self.opened.image_tables() {
            if !table.current()?.view.by_id.contains_key(id) {
                continue;
            }
            let dir = table.dir().join(id.as_str());
            return match Root::open(&dir).and_then(|root| root.read_limited(Path::new(&name), BIG_DATA_LIMIT))
            {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Err(Error::BigDataNotFound { id: id.clone(), key: key.to_owned() })
                }
                result => result.map_err(Error::io("read", dir.join(name))),
            };
        }
        Err(Error::ImageNotFound { id: id.clone() })
    }

    /// Adds an image, or names, digest and items to the image of that identifier. Names move here from other images.
    ///
    /// # Errors
    /// [`Error::LayerNotFound`] when the top layer does not exist; [`Error::BigDataName`]; I/O errors.
    pub fn create_image(&self, new: NewImage) -> Result<Arc<Image>, Error> {
        // Held so that nobody removes the top layer meanwhile.
        let (_layers_held, layers) = self.opened.layers.read()?;
        if let Some(top) = &new.top_layer
            && !layers.view.contains_key(top)
            && !store::in_additional_store(&self.opened, top)?
        {
            return Err(Error::LayerNotFound { id: top.clone() });
        }
        let mut images = self.opened.images.write()?;
        self.write_items(&new)?;
        let id = new.id.clone();
        let mut record = images.get(id.as_str()).map(|row| row.record.clone()).unwrap_or_default();
        let all_names: Vec<String> = record.names.iter().chain(&new.names).cloned().collect();
        merge(&mut record, new);
        images.remove(id.as_str());
        images.push(0, record);
        give_names(&mut images, &id, all_names);
        images.save(0)?;
        drop(images);
        self.image(&id)?.ok_or(Error::ImageNotFound { id })
    }

    /// Replaces an image's names. Names move here from other images.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`]; [`Error::ImageReadOnly`]; I/O errors.
    pub fn set_image_names(&self, id: &ImageId, names: Vec<String>) -> Result<(), Error> {
        let mut images = self.opened.images.write()?;
        if images.get(id.as_str()).is_none() {
            return Err(self.absent(id)?);
        }
        give_names(&mut images, id, names);
        images.save(0)
    }

    /// Removes an image with its items and every layer that nothing else needs.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`]; [`Error::ImageReadOnly`]; [`Error::ImageInUse`]; [`Error::ImageHeld`]; I/O errors.
    pub fn delete_image(&self, id: &ImageId) -> Result<(), Error> {
        // The mount lock comes last in the order, but unmounting is done under the layers' lock like in podman.
        let mut layers = self.opened.layers.write()?;
        let mut images = self.opened.images.write()?;
        let containers = self.opened.containers.write()?;
        let Some(row) = images.get(id.as_str()) else { return Err(self.absent(id)?) };
        if let Some(user) = containers.rows.iter().find(|row| row.record.image == id.as_str()) {
            return Err(Error::ImageInUse { id: id.clone(), container: user.record.id.clone() });
        }
        // Held until the directory is gone.
        let _removal = self.lock_for_removal(id)?;
        let unused = unused_layers(&row.record, &layers, &images, &containers);
        flag(&mut layers, &unused, true)?;
        images.remove(id.as_str());
        if let Err(error) = images.save(0) {
            // The image stays, so its layers must; flagged ones would go at the next start.
            flag(&mut layers, &unused, false)?;
            return Err(error);
        }
        remove_tree(&self.opened.images.dir().join(id.as_str()))?;
        let discarded = discard_layers(self, &mut layers, &unused)?;
        forget_layers(&mut layers, &unused)?;
        drop((containers, images, layers));
        discarded.into_iter().for_each(Discarded::remove);
        Ok(())
    }

    /// Bytes of an image's layers and items, from the records: the uncompressed archives, shared layers included.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`]; errors of reading the records.
    pub fn image_size(&self, id: &ImageId) -> Result<u64, Error> {
        let image = self.image(id)?.ok_or_else(|| Error::ImageNotFound { id: id.clone() })?;
        usage::image_bytes(self, &image, &mut HashSet::new())
    }

    fn absent(&self, id: &ImageId) -> Result<Error, Error> {
        let id = id.clone();
        Ok(if self.image(&id)?.is_some() { Error::ImageReadOnly { id } } else { Error::ImageNotFound { id } })
    }

    fn write_items(&self, new: &NewImage) -> Result<(), Error> {
        let dir = self.opened.images.dir().join(new.id.as_str());
        make_dir(&dir, 0o700)?;
        let file = File::open(&dir).map_err(Error::io("open", &dir))?;
        for (key, content) in &new.big_data {
            let name = item_name(&new.id, key)?;
            atomic::write(&file, &name, content, 0o600, Durability::Synced)
                .map_err(Error::io("write", dir.join(&name)))?;
        }
        let parent =
            File::open(self.opened.images.dir()).map_err(Error::io("open", self.opened.images.dir()))?;
        atomic::sync_dir(parent).map_err(Error::io("sync", self.opened.images.dir()))
    }
}

fn item_name(id: &ImageId, key: &str) -> Result<String, Error> {
    names::file_name(key)
        .ok_or_else(|| Error::BigDataName { id: id.clone(), key: key.chars().take(256).collect() })
}

fn merge(record: &mut ImageRecord, new: NewImage) {
    let known = !record.id.is_empty();
    record.id = new.id.into();
    if let Some(digest) = new.digest {
        record.digest = digest.to_string();
    }
    if let Some(top) = new.top_layer {
        record.top_layer = top.into();
    }
    if !known || !new.metadata.is_empty() {
        record.metadata = new.metadata;
    }
    if !known {
        record.created = text::time(new.created);
    }
    for (key, content) in new.big_data {
        let digest = Digest::sha256(&Sha256::digest(&content).into());
        record.big_data_sizes.insert(key.clone(), i64::try_from(content.len()).unwrap_or(i64::MAX));
        record.big_data_digests.insert(key.clone(), digest.to_string());
        if !record.big_data_names.contains(&key) {
            record.big_data_names.push(key);
        }
    }
}

fn give_names(images: &mut Writer<'_, ImageRecord>, id: &ImageId, names: Vec<String>) {
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    let robbed = images.rows.iter().filter(|row| row.record.names.iter().any(|name| unique.contains(name)));
    let robbed: Vec<String> = robbed.map(|row| row.record.id.clone()).collect();
    for other in robbed {
        images.change(&other, |record| record.names.retain(|name| !unique.contains(name)));
    }
    images.change(id.as_str(), |record| {
        for name in &unique {
            record.names_history.retain(|old| old != name);
            record.names_history.insert(0, name.clone());
        }
        record.names = unique;
    });
}

/// The image's layers from the top down to the first one that another image, a container or another layer needs.
fn unused_layers(
    image: &ImageRecord,
    layers: &Writer<'_, LayerRecord>,
    images: &Writer<'_, ImageRecord>,
    containers: &Writer<'_, ContainerRecord>,
) -> Vec<String> {
    let others = images.rows.iter().filter(|row| row.record.id != image.id).map(|row| &row.record);
    let mut needed: HashSet<&str> =
        others.flat_map(|i| i.mapped_layers.iter().chain([&i.top_layer])).map(String::as_str).collect();
    needed.extend(containers.rows.iter().map(|row| row.record.layer.as_str()));
    let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
    for row in &layers.rows {
        children.entry(&row.record.parent).or_default().push(&row.record.id);
    }
    let mut unused: Vec<String> = Vec::new();
    let free = |id: &str, unused: &[String]| {
        let child_stays = |child: &&str| !unused.iter().any(|removed| removed == child);
        !needed.contains(id) && !children.get(id).is_some_and(|all| all.iter().any(child_stays))
    };
    for mapped in &image.mapped_layers {
        if free(mapped, &unused) {
            unused.push(mapped.clone());
        }
    }
    let mut current = image.top_layer.as_str();
    // A damaged file could hold a ring of parents; a layer is never taken twice.
    while let Some(row) = layers.get(current)
        && free(current, &unused)
        && !unused.iter().any(|id| id == current)
    {
        unused.push(current.to_owned());
        current = &row.record.parent;
    }
    unused
}
