//! A docker-archive: what `docker save`, `podman save` and `skopeo copy … docker-archive:` write (moby's image
//! specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
//!
//! ```text
//!   manifest.json ─► [ { Config, RepoTags, Layers } … ] ─► Config: the image configuration, its digest the image's id
//!                                                          Layers: tar archives, lowest first, compressed or not
//! ```
//!
//! The format has no manifest with digests. One is made here, of Docker's schema 2 over the members as they lie in the
//! archive; what the layers must unpack to says the configuration. The archive lies unpacked in a directory that paths
//! cannot leave: a layer that is a symbolic link to another one's file (as docker wrote duplicates until 1.9) is
//! followed inside, anywhere else it finds nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ochre_archive::Compression;
use ochre_sys::rooted::Root;
use ochre_types::Digest;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::layout::{LayoutError, open_regular, read};
use super::{IMAGES_MAX, Image, NAMES_MAX};
use crate::config::ImageConfig;
use crate::images::sha256;
use crate::manifest::{CONFIG_MAX, Document, LAYERS_MAX, MANIFEST_MAX, ManifestError};
use crate::pull::error::PullError;
use crate::pull::resolve::Found;
use crate::reference::{Parsed, Reference};

const MANIFEST: &str = "manifest.json";
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// One image of the archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Whether the unpacked archive says that it is one.
pub(super) fn is_one(root: &Root) -> bool {
    open_regular(root, Path::new(MANIFEST)).is_ok()
}

/// The images of the archive, all of them or the one called `wanted`. With a single one in it, `wanted` is no choice.
pub(super) fn images(root: &Root, wanted: Option<&Reference>) -> Result<Vec<Image>, PullError> {
    let bytes = read(root, MANIFEST, MANIFEST_MAX)?;
    let items: Vec<Item> =
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::DockerManifest { source })?;
    let single = items.len() == 1;
    if items.is_empty() {
        return Err(LayoutError::Empty.into());
    }
    if items.len() > IMAGES_MAX {
        return Err(LayoutError::TooMany { what: "images", count: items.len(), limit: IMAGES_MAX }.into());
    }
    let mut named = Vec::new();
    for item in items {
        named.push((names(&item)?, item));
    }
    if let (Some(wanted), false) = (wanted, single) {
        let available = named.iter().flat_map(|(names, _)| names).take(20).map(Reference::to_string);
        let available = available.collect::<Vec<_>>().join(", ");
        named.retain(|(names, _)| names.contains(wanted));
        if named.is_empty() {
            return Err(LayoutError::NoSuchImage { name: wanted.to_string(), available }.into());
        }
    }
    // A layer that several images share is hashed once.
    let mut blobs = HashMap::new();
    named.into_iter().map(|(names, item)| image(root, &item, names, &mut blobs)).collect()
}

/// Docker leaves its own registry out of names.
fn names(item: &Item) -> Result<Vec<Reference>, LayoutError> {
    let tags = item.repo_tags.as_deref().unwrap_or_default();
    if tags.len() > NAMES_MAX {
        return Err(LayoutError::TooMany { what: "names", count: tags.len(), limit: NAMES_MAX });
    }
    tags.iter()
        .map(|tag| match Parsed::parse(tag) {
            Ok(Parsed::Qualified(reference)) => Ok(reference),
            Ok(Parsed::Short(short)) => Ok(short.at("docker.io")),
            Err(source) => Err(LayoutError::Name { name: tag.chars().take(120).collect(), source }),
        })
        .collect()
}

/// A layer as it lies in the archive.
#[derive(Clone)]
struct Blob {
    digest: Digest,
    size: u64,
    media_type: String,
}

fn image(
    root: &Root,
    item: &Item,
    names: Vec<Reference>,
    blobs: &mut HashMap<String, Blob>,
) -> Result<Image, PullError> {
    let config = read(root, &item.config, CONFIG_MAX)?;
    let digest = sha256(&config);
    check_name(&item.config, &digest)?;
    let layers = item.layers.as_deref().unwrap_or_default();
    if layers.len() > LAYERS_MAX {
        return Err(ManifestError::TooManyLayers { count: layers.len() }.into());
    }
    let diff_ids = ImageConfig::parse(&config)?.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(PullError::LayerCount { manifest: layers.len(), config: diff_ids.len() });
    }
    let (mut descriptors, mut places) = (Vec::new(), HashMap::new());
    for (path, diff_id) in layers.iter().zip(&diff_ids) {
        let known = blobs.get(path).filter(|blob| blob.media_type != LAYER_TYPE || blob.digest == *diff_id);
        let blob = match known {
            Some(blob) => blob.clone(),
            None => blob(root, Path::new(path), diff_id)?,
        };
        let Blob { digest, size, media_type } = &blob;
        descriptors.push(json!({ "mediaType": media_type, "size": size, "digest": digest.to_string() }));
        places.insert(digest.clone(), PathBuf::from(path));
        blobs.insert(path.clone(), blob);
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "size": config.len(), "digest": digest.to_string() },
        "layers": descriptors,
    });
    let bytes = manifest.to_string().into_bytes();
    let Document::Image(manifest) = Document::parse(&bytes, Some(MANIFEST_TYPE))? else {
        return Err(LayoutError::Empty.into());
    };
    manifest.check()?;
    let found =
        Found { manifest: *manifest, chosen: (sha256(&bytes), bytes), index: None, signatures: Vec::new() };
    Ok(Image { found, config, names, places })
}

/// A configuration that is called by a digest must have it.
fn check_name(path: &str, actual: &Digest) -> Result<(), LayoutError> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".json").unwrap_or(name);
    match format!("sha256:{name}").parse::<Digest>() {
        Ok(expected) if expected != *actual => Err(LayoutError::Digest { expected, actual: actual.clone() }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A plain archive has the digest that the configuration promises; this is verified when it is unpacked. A compressed one
/// has to be read for its digest.
fn blob(root: &Root, path: &Path, diff_id: &Digest) -> Result<Blob, LayoutError> {
    let failed = |source| LayoutError::Read { place: path.display().to_string(), source };
    let mut file = open_regular(root, path)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    file.by_ref().take(6).read_to_end(&mut start).map_err(failed)?;
    let suffix = match Compression::detect(&start) {
        Compression::None => {
            return Ok(Blob { digest: diff_id.clone(), size, media_type: LAYER_TYPE.to_owned() });
        }
        Compression::Zstd => ".zstd",
        // bzip2 and xz are refused when the layer is unpacked, by name.
        Compression::Gzip | Compression::Bzip2 | Compression::Xz => ".gzip",
    };
    let digest = hash(&start, file).map_err(failed)?;
    Ok(Blob { digest, size, media_type: format!("{LAYER_TYPE}{suffix}") })
}

fn hash(start: &[u8], mut rest: File) -> io::Result<Digest> {
    let mut hash = Sha256::new_with_prefix(start);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(Digest::sha256(&hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
