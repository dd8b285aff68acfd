//! An OCI image layout directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ochre_sys::rooted::Root;
use ochre_types::{Algorithm, Digest, ErrorKind};
use rustix::fs::{FileType, OFlags};
use serde::Deserialize;

use crate::images::sha256;
use crate::manifest::{CONFIG_MAX, Descriptor, Document, Index, MANIFEST_MAX, ManifestError};
use crate::platform::Platform;
use crate::pull::error::PullError;
use crate::pull::resolve::Found;

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
    /// No layout at all.
    #[error(
        "this is not an OCI image layout: there is no readable oci-layout file of version 1 (docker-archive files are not supported)"
    )]
    NotALayout,
    /// An archive that cannot be unpacked.
    #[error("unpacking the archive")]
    Archive {
        /// Why.
        #[source]
        source: Box<ochre_archive::Error>,
    },
    /// An index that cannot be read.
    #[error("the layout's index.json cannot be used")]
    Index {
        /// Why.
        #[source]
        source: Box<ManifestError>,
    },
    /// Nothing in the index.
    #[error("the layout's index.json names no image")]
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
            Self::NotARegularFile { .. } | Self::NotALayout | Self::Empty | Self::Algorithm { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Archive { source } => source.kind(),
            Self::Index { source } => source.kind(),
            Self::Digest { .. } | Self::Size { .. } => ErrorKind::Internal,
        }
    }
}

/// An open layout.
pub(super) struct Layout {
    root: Root,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let root = Root::open(path)
            .map_err(|source| LayoutError::Read { place: path.display().to_string(), source })?;
        let marker = root.read_limited(Path::new("oci-layout"), 4096).map_err(|_| LayoutError::NotALayout)?;
        let marker: Marker = serde_json::from_slice(&marker).map_err(|_| LayoutError::NotALayout)?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(LayoutError::NotALayout);
        }
        Ok(Self { root })
    }

    /// The image for `platform`, and the name that the index gives it.
    pub(super) fn find(&self, platform: &Platform) -> Result<(Found, Option<String>), PullError> {
        let bytes = self.read("index.json", MANIFEST_MAX)?;
        let top = Document::parse(&bytes, Some("application/vnd.oci.image.index.v1+json"))
            .and_then(index_of)
            .map_err(|source| LayoutError::Index { source: Box::new(source) })?;
        let entry = match top.manifests.as_slice() {
            [] => return Err(LayoutError::Empty.into()),
            [only] => only,
            _ => top.choose(platform)?,
        };
        let name = NAMES.iter().find_map(|key| entry.annotation(key)).map(str::to_owned);
        let document = self.document(entry)?;
        let index = match Document::parse(&document, content_type(entry))? {
            Document::Image(manifest) => {
                manifest.check()?;
                let found =
                    Found { manifest: *manifest, chosen: (entry.digest.clone(), document), index: None };
                return Ok((found, name));
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
        Ok((Found { manifest: *manifest, chosen, index }, name))
    }

    /// A verified document.
    pub(super) fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        self.verified(descriptor, CONFIG_MAX)
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        self.verified(descriptor, MANIFEST_MAX)
    }

    fn verified(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let digest = descriptor.digest.clone();
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(LayoutError::Algorithm { digest });
        }
        let bytes = self.read(blob_path(&digest), limit)?;
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

    /// A blob to be verified while it is read.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = blob_path(digest);
        let failed = |source| LayoutError::Read { place: path.display().to_string(), source };
        let file = self
            .root
            .open_at(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)
            .map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(LayoutError::NotARegularFile { place: path.display().to_string() });
        }
        Ok(file.into())
    }

    fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let path = path.as_ref();
        self.root
            .read_limited(path, limit)
            .map_err(|source| LayoutError::Read { place: path.display().to_string(), source })
    }
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
