//! An OCI image layout directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ochre_archive::worker::WorkerError;
use ochre_sys::rooted::Root;
use ochre_types::{Algorithm, Digest, ErrorKind};
use rustix::fs::{FileType, OFlags};
use serde::Deserialize;

use super::{IMAGES_MAX, Image};
use crate::images::sha256;
use crate::manifest::{CONFIG_MAX, Descriptor, Document, Index, MANIFEST_MAX, ManifestError};
use crate::platform::Platform;
use crate::pull::error::PullError;
use crate::pull::resolve::Found;
use crate::reference::{Reference, ReferenceError};

/// Names that tools give an image in an index.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Why a layout cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file of it cannot be read.
    #[error("reading {place}")]
    Read {
        /// The file.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else in a file's place.
    #[error("{place} is not a regular file")]
    NotARegularFile {
        /// The file.
        place: String,
    },
    /// Neither a layout nor a docker-archive.
    #[error(
        "this is not an image: there is neither a readable oci-layout file of version 1 (an OCI image layout) nor, in \
         an archive, a manifest.json (a docker-archive)"
    )]
    NotALayout,
    /// A docker-archive's list of images that cannot be read.
    #[error("the archive's manifest.json is malformed")]
    DockerManifest {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Two members of one name: which one is meant depends on the reader.
    #[error("the archive holds {count} members a second time, so it does not mean one thing")]
    Ambiguous {
        /// How many.
        count: u64,
    },
    /// More of something than a reasonable archive has.
    #[error("the archive lists {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A name in the archive that is none.
    #[error("the archive calls an image {name:?}")]
    Name {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// Several images, none of the name asked for.
    #[error("no image in it is called {name}; it has {available}")]
    NoSuchImage {
        /// The name asked for.
        name: String,
        /// The first names in it.
        available: String,
    },
    /// An archive that cannot be unpacked.
    #[error("unpacking the archive")]
    Archive {
        /// Why.
        #[source]
        source: Box<WorkerError>,
    },
    /// An index that cannot be read.
    #[error("the layout's index.json cannot be used")]
    Index {
        /// Why.
        #[source]
        source: Box<ManifestError>,
    },
    /// Nothing in the index.
    #[error("it names no image")]
    Empty,
    /// A blob that is not what its descriptor says.
    #[error("blob {expected} of the layout is not what its name says (its content is {actual})")]
    Digest {
        /// Digest by the descriptor.
        expected: Digest,
        /// Digest of the content.
        actual: Digest,
    },
    /// A blob of another size.
    #[error("blob {digest} of the layout has {actual} bytes instead of {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// Size by the descriptor.
        expected: u64,
        /// Size found.
        actual: u64,
    },
    /// An algorithm that documents are not read with.
    #[error("document {digest} of the layout is not named by a sha256 digest")]
    Algorithm {
        /// The digest.
        digest: Digest,
    },
}

impl LayoutError {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Self::Read { .. } => ErrorKind::Internal,
            Self::NotARegularFile { .. }
            | Self::NotALayout
            | Self::Empty
            | Self::Algorithm { .. }
            | Self::DockerManifest { .. }
            | Self::Ambiguous { .. }
            | Self::Name { .. } => ErrorKind::InvalidArgument,
            Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::NoSuchImage { .. } => ErrorKind::NotFound,
            Self::Archive { source } => source.kind(),
            Self::Index { source } => source.kind(),
            Self::Digest { .. } | Self::Size { .. } => ErrorKind::Internal,
        }
    }
}

/// An open layout.
pub(super) struct Layout<'a> {
    root: &'a Root,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl<'a> Layout<'a> {
    pub(super) fn open(root: &'a Root) -> Result<Self, LayoutError> {
        let marker = root.read_limited(Path::new("oci-layout"), 4096).map_err(|_| LayoutError::NotALayout)?;
        let marker: Marker = serde_json::from_slice(&marker).map_err(|_| LayoutError::NotALayout)?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(LayoutError::NotALayout);
        }
        Ok(Self { root })
    }

    /// The images in it. Entries that all have names of their own are several images: all of them, or the one called
    /// `wanted`. Otherwise they are one image for several platforms, of which the one for `platform` is meant.
    pub(super) fn images(
        &self,
        platform: &Platform,
        wanted: Option<&Reference>,
    ) -> Result<Vec<Image>, PullError> {
        let bytes = read(self.root, "index.json", MANIFEST_MAX)?;
        let top = Document::parse(&bytes, Some("application/vnd.oci.image.index.v1+json"))
            .and_then(index_of)
            .map_err(|source| LayoutError::Index { source: Box::new(source) })?;
        let mut entries: Vec<(&Descriptor, Option<Reference>)> =
            top.manifests.iter().map(|entry| (entry, own_name(entry))).collect();
        if entries.len() > IMAGES_MAX {
            return Err(
                LayoutError::TooMany { what: "images", count: entries.len(), limit: IMAGES_MAX }.into()
            );
        }
        match entries.as_slice() {
            [] => return Err(LayoutError::Empty.into()),
            [_] => {}
            several if !all_named(several) => {
                let chosen = top.choose(platform)?;
                entries = vec![(chosen, own_name(chosen))];
            }
            _ => {
                if let Some(wanted) = wanted {
                    let names = entries.iter().filter_map(|(_, name)| name.as_ref()).take(20);
                    let available = names.map(Reference::to_string).collect::<Vec<_>>().join(", ");
                    entries.retain(|(_, name)| name.as_ref() == Some(wanted));
                    if entries.is_empty() {
                        return Err(LayoutError::NoSuchImage { name: wanted.to_string(), available }.into());
                    }
                }
            }
        }
        entries.into_iter().map(|(entry, name)| self.image(entry, platform, name)).collect()
    }

    fn image(
        &self,
        entry: &Descriptor,
        platform: &Platform,
        name: Option<Reference>,
    ) -> Result<Image, PullError> {
        let found = self.found(entry, platform)?;
        let config = self.verified(&found.manifest.config, CONFIG_MAX)?;
        let layers = found.manifest.layers.iter().map(|layer| &layer.digest);
        let places = layers.map(|digest| (digest.clone(), blob_path(digest))).collect();
        Ok(Image { found, config, names: name.into_iter().collect(), places })
    }

    fn found(&self, entry: &Descriptor, platform: &Platform) -> Result<Found, PullError> {
        let document = self.document(entry)?;
        let index = match Document::parse(&document, content_type(entry))? {
            Document::Image(manifest) => {
                manifest.check()?;
                let chosen = (entry.digest.clone(), document);
                return Ok(Found { manifest: *manifest, chosen, index: None, signatures: Vec::new() });
            }
            Document::Index(index) => index,
        };
        let chosen = index.choose(platform)?;
        let chosen_bytes = self.document(chosen)?;
        let Document::Image(manifest) = Document::parse(&chosen_bytes, content_type(chosen))? else {
            return Err(ManifestError::NestedIndex { digest: chosen.digest.clone() }.into());
        };
        manifest.check()?;
        let (index, chosen) = (Some((entry.digest.clone(), document)), (chosen.digest.clone(), chosen_bytes));
        Ok(Found { manifest: *manifest, chosen, index, signatures: Vec::new() })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        self.verified(descriptor, MANIFEST_MAX)
    }

    fn verified(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let digest = descriptor.digest.clone();
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(LayoutError::Algorithm { digest });
        }
        let bytes = read(self.root, blob_path(&digest), limit)?;
        let actual = bytes.len() as u64;
        if actual != descriptor.size {
            return Err(LayoutError::Size { digest, expected: descriptor.size, actual });
        }
        let actual = sha256(&bytes);
        if actual != digest {
            return Err(LayoutError::Digest { expected: digest, actual });
        }
        Ok(bytes)
    }
}

/// A file to be verified while it is read.
pub(super) fn open_regular(root: &Root, path: &Path) -> Result<File, LayoutError> {
    let failed = |source| LayoutError::Read { place: path.display().to_string(), source };
    let file = root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(LayoutError::NotARegularFile { place: path.display().to_string() });
    }
    Ok(file.into())
}

/// A small file.
pub(super) fn read(root: &Root, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, LayoutError> {
    let path = path.as_ref();
    root.read_limited(path, limit)
        .map_err(|source| LayoutError::Read { place: path.display().to_string(), source })
}

/// The name that the index gives an entry, if it is one.
fn own_name(entry: &Descriptor) -> Option<Reference> {
    super::parse_name(NAMES.iter().find_map(|key| entry.annotation(key))?).ok()
}

fn all_named(entries: &[(&Descriptor, Option<Reference>)]) -> bool {
    let mut names: Vec<String> =
        entries.iter().filter_map(|(_, name)| name.as_ref()).map(Reference::to_string).collect();
    names.sort_unstable();
    names.dedup();
    names.len() == entries.len()
}

fn index_of(document: Document) -> Result<Index, ManifestError> {
    match document {
        Document::Index(index) => Ok(index),
        Document::Image(_) => Err(ManifestError::Ambiguous { reason: "index.json is no index" }),
    }
}

fn content_type(descriptor: &Descriptor) -> Option<&str> {
    Some(descriptor.media_type.as_str()).filter(|media_type| !media_type.is_empty())
}

/// A parsed digest is safe as a path.
fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm().name()).join(digest.hex())
}
