//! Exporting images: to an OCI image layout, an archive of one, or a docker-archive.
//!
//! ```text
//!   image held ─► configuration ─► layers, lowest first: tar-split + files ─► archive ─► diff id right? ─► compressed
//!                                                        files alone (no tar-split) ─► another diff id
//!               ─► new manifest ─► output renamed into its place
//! ```
//!
//! The store keeps no compressed blobs, so the layers are compressed anew and the manifest is new: its digest is not the
//! one that the image was pulled by. The image's id stays, since configuration and diff ids do. Only a layer without a
//! tar-split (another program made it, or its archive named a file twice) gets another archive, and the image with it
//! another configuration and id; [`Exported::rebuilt`] says so.

pub(crate) mod error;
mod output;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ochre_archive::{Compression, Compressor, Rebuilt, create_archive, reassemble};
use ochre_storage::{Image, ImageHold, Store};
use ochre_types::{Digest, ImageId, LayerId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::images::{Images, Service, sha256};
use crate::list::ImageSummary;
use crate::manifest::LAYERS_MAX;
use crate::reference::{Parsed, Reference};
use error::ExportError;
use output::{Output, Shape};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// An OCI image layout in a directory.
    Oci,
    /// An OCI image layout in a tar archive.
    OciArchive,
    /// What `docker load` and `podman load` take.
    DockerArchive,
}

/// What to export.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// References of images: names or ids.
    pub images: Vec<String>,
    /// What to write.
    pub format: ExportFormat,
    /// How layers are compressed; `None`: gzip in the OCI formats, not at all in a docker-archive.
    pub compression: Option<Compression>,
    /// Where to.
    pub output: PathBuf,
    /// Whether an archive or layout that is there is replaced.
    pub replace: bool,
}

/// An image that was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its id in the output.
    pub id: ImageId,
    /// The id here.
    pub from: ImageId,
    /// Layers that have another archive than the one they came from; if there are any, the ids differ.
    pub rebuilt: usize,
}

/// An image that will be written, under these names.
struct Selected {
    image: Arc<Image>,
    names: Vec<String>,
    _hold: ImageHold,
}

/// A layer in the output.
#[derive(Clone)]
struct Layer {
    digest: Digest,
    size: u64,
    diff_id: Digest,
    rebuilt: bool,
}

impl Images {
    /// Exports images into one output. They cannot be removed meanwhile; nobody else is kept from anything.
    ///
    /// # Errors
    /// As [`Images::resolve`] for the references, [`Error::Export`] for the rest; nothing is left of the output then.
    pub async fn export(&self, request: ExportRequest) -> Result<Vec<Exported>, Error> {
        self.service.with_store(move |service| service.export(&request)).await
    }
}

impl Service {
    fn export(&self, request: &ExportRequest) -> Result<Vec<Exported>, Error> {
        let mut selected: Vec<Selected> = Vec::new();
        for reference in &request.images {
            let (image, names) = self.select(reference)?;
            match selected.iter_mut().find(|other| other.image.id == image.id) {
                Some(other) => {
                    let new =
                        names.into_iter().filter(|name| !other.names.contains(name)).collect::<Vec<_>>();
                    other.names.extend(new);
                }
                None => {
                    let hold = self.config.store.hold_image(&image.id).map_err(Error::store)?;
                    selected.push(Selected { image, names, _hold: hold });
                }
            }
        }
        self.write(request, &selected).map_err(error::at(request.output.clone()))
    }

    /// The image, and the names it is exported under: the one asked for, or with an id all of them.
    fn select(&self, text: &str) -> Result<(Arc<Image>, Vec<String>), Error> {
        let Some(image) = self.find(text)? else {
            return Err(match self.find_artifact(text)? {
                Some(_) => Error::NotAnImage { reference: text.to_owned() },
                None => Error::NotFound { reference: text.to_owned() },
            });
        };
        let candidates = match Parsed::parse(text) {
            Ok(Parsed::Qualified(reference)) => vec![reference],
            Ok(Parsed::Short(name)) => self.registries().local_candidates(&name),
            Err(_) => Vec::new(),
        };
        let asked = candidates.iter().map(Reference::recorded_name).find(|name| image.names.contains(name));
        let tagged = |name: &String| !name.contains('@');
        let names = match asked {
            Some(name) => Some(name).filter(tagged).into_iter().collect(),
            None => image.names.iter().filter(|name| tagged(name)).cloned().collect(),
        };
        Ok((image, names))
    }

    fn write(&self, request: &ExportRequest, selected: &[Selected]) -> Result<Vec<Exported>, ExportError> {
        let docker = request.format == ExportFormat::DockerArchive;
        let compression = match (docker, request.compression) {
            (true, Some(other)) if other != Compression::None => return Err(ExportError::Compression),
            (true, _) => Compression::None,
            (false, wanted) => wanted.unwrap_or(Compression::Gzip),
        };
        let shape = if request.format == ExportFormat::Oci { Shape::Directory } else { Shape::Archive };
        let output = Output::create(&request.output, shape, request.replace)?;
        let mut export =
            Export { store: &self.config.store, output, docker, compression, layers: HashMap::new() };
        let (mut exported, mut entries) = (Vec::new(), Vec::new());
        for selected in selected {
            let summary = self.summary(&selected.image);
            exported.push(export.image(selected, &summary, &mut entries)?);
        }
        if docker {
            export.file("manifest.json", Value::Array(entries).to_string())?;
        } else {
            let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
            export.file("index.json", index.to_string())?;
            export.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        export.output.finish()?;
        Ok(exported)
    }
}

/// An export that runs.
struct Export<'a> {
    store: &'a Store,
    output: Output,
    docker: bool,
    compression: Compression,
    /// Layers written so far, for images that share them.
    layers: HashMap<LayerId, Layer>,
}

impl Export<'_> {
    /// Writes an image and adds what the list of images says of it.
    fn image(
        &mut self,
        selected: &Selected,
        summary: &ImageSummary,
        entries: &mut Vec<Value>,
    ) -> Result<Exported, ExportError> {
        let from = selected.image.id.clone();
        let mut config = summary.config_json().to_vec();
        if config.is_empty() {
            return Err(ExportError::NoConfig { id: from });
        }
        let chain = self.chain(&selected.image)?;
        let diff_ids = &summary.config().diff_ids;
        if chain.len() != diff_ids.len() {
            return Err(ExportError::LayerCount { id: from, layers: chain.len(), config: diff_ids.len() });
        }
        let mut layers = Vec::new();
        for (id, diff_id) in chain.iter().zip(diff_ids) {
            layers.push(self.layer(id, diff_id)?);
        }
        let rebuilt =
            layers.iter().zip(diff_ids).filter(|(layer, diff_id)| layer.diff_id != **diff_id).count();
        if rebuilt > 0 {
            config = with_diff_ids(&config, &layers).ok_or(ExportError::NoConfig { id: from.clone() })?;
        }
        let digest = sha256(&config);
        let id = digest.hex().parse().map_err(|_| ExportError::NoConfig { id: from.clone() })?;
        if self.docker {
            self.file(&format!("{id}.json"), &config)?;
            let layers: Vec<String> =
                layers.iter().map(|layer| format!("{}.tar", layer.diff_id.hex())).collect();
            entries.push(json!({
                "Config": format!("{id}.json"), "RepoTags": selected.names, "Layers": layers,
            }));
        } else {
            let config = self.blob(OCI_CONFIG, &config)?;
            let layers: Vec<Value> = layers.iter().map(|layer| self.descriptor(layer)).collect();
            let mut manifest =
                json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
            if !summary.annotations().is_empty() {
                manifest["annotations"] = json!(summary.annotations());
            }
            let mut entry = self.blob(OCI_MANIFEST, manifest.to_string().as_bytes())?;
            if selected.names.is_empty() {
                entries.push(entry.clone());
            }
            for name in &selected.names {
                entry["annotations"] = json!({ REF_NAME: name });
                entries.push(entry.clone());
            }
        }
        Ok(Exported { id, from, rebuilt })
    }

    /// The image's layers, lowest first.
    fn chain(&self, image: &Image) -> Result<Vec<LayerId>, ExportError> {
        let mut chain = Vec::new();
        let mut next = image.top_layer.clone();
        while let Some(id) = next {
            let layer = self.store.layer(&id)?;
            let layer = layer.ok_or_else(|| ochre_storage::Error::LayerNotFound { id: id.clone() })?;
            next = layer.parent.clone();
            chain.push(id);
            // A damaged file could hold a ring of parents; the configuration never lists that many.
            if chain.len() > LAYERS_MAX {
                break;
            }
        }
        chain.reverse();
        Ok(chain)
    }

    fn layer(&mut self, id: &LayerId, expected: &Digest) -> Result<Layer, ExportError> {
        if let Some(layer) = self.layers.get(id) {
            return Ok(layer.clone());
        }
        let content = self.store.layer_content(id)?;
        let (docker, compression) = (self.docker, self.compression);
        let layer = self.output.member(|output| {
            let mut hashed = Hashed { output, hash: Sha256::new(), size: 0 };
            let mut compressor = Compressor::new(&mut hashed, compression)?;
            let rebuilt = content.tar_split.is_none();
            let made = match content.tar_split {
                Some(split) => reassemble(split, &content.root, &mut compressor),
                None => create_archive(&content.root, &mut compressor),
            };
            let Rebuilt { diff_id, .. } =
                made.map_err(|source| ExportError::Layer { id: id.clone(), source })?;
            compressor.finish()?;
            if !rebuilt && diff_id != *expected {
                let expected = expected.clone();
                return Err(ExportError::Damaged { id: id.clone(), expected, actual: diff_id });
            }
            let digest = Digest::sha256(&hashed.hash.finalize().into());
            let name = if docker { format!("{}.tar", diff_id.hex()) } else { blob_name(&digest) };
            Ok((name, Layer { digest, size: hashed.size, diff_id, rebuilt }))
        })?;
        if layer.rebuilt {
            tracing::warn!(layer = %id, "a layer without a tar-split was archived from its files");
        }
        self.layers.insert(id.clone(), layer.clone());
        Ok(layer)
    }

    fn descriptor(&self, layer: &Layer) -> Value {
        let suffix = match self.compression {
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
            Compression::None | Compression::Bzip2 | Compression::Xz => "",
        };
        json!({
            "mediaType": format!("{OCI_LAYER}{suffix}"),
            "digest": layer.digest.to_string(), "size": layer.size,
        })
    }

    /// Writes a document as a blob; returns its descriptor.
    fn blob(&mut self, media_type: &str, content: &[u8]) -> Result<Value, ExportError> {
        let digest = sha256(content);
        self.file(&blob_name(&digest), content)?;
        Ok(json!({ "mediaType": media_type, "digest": digest.to_string(), "size": content.len() }))
    }

    fn file(&mut self, name: &str, content: impl AsRef<[u8]>) -> Result<(), ExportError> {
        self.output.member(|output| {
            output.write_all(content.as_ref())?;
            Ok((name.to_owned(), ()))
        })
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The configuration with the diff ids of these layers and nothing else changed.
fn with_diff_ids(config: &[u8], layers: &[Layer]) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    config.get_mut("rootfs")?["diff_ids"] = json!(diff_ids);
    serde_json::to_vec(&config).ok()
}

/// Hashes and counts what comes out of the compressor.
struct Hashed<'a> {
    output: &'a mut dyn Write,
    hash: Sha256,
    size: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
