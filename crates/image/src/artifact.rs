//! OCI artifacts: files behind a manifest, such as models or rules, mounted into containers as volumes.
//!
//! ```text
//!  pull: manifest whose configuration is no image's ─► blobs ─► layout below <root>/artifacts ─► index entry
//!  volume: name or id ─► Artifact ─► one directory of links to its blobs, each named by its title
//! ```
//!
//! An artifact's id is the hexadecimal part of its manifest's digest, as an image's is that of its configuration's.
//! Its files are named by the annotation `org.opencontainers.image.title` of their descriptors; what has no title is
//! named by its digest.

pub(crate) mod error;
pub(crate) mod layout;
pub(crate) mod pull;

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ochre_types::{Digest, ImageId};

use crate::error::Error;
use crate::images::{Images, Service};
use crate::list::{ImageSummary, repository_of};
use crate::manifest::{Descriptor, Manifest};
use crate::reference::{Parsed, Reference};
use error::ArtifactError;

/// The annotation with a file's name (OCI image specification, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";
/// The type of a blob that stands for nothing (OCI image specification, manifest.md).
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// An artifact of the store.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its id.
    pub id: ImageId,
    pub(crate) names: Vec<String>,
    pub(crate) content: Arc<Content>,
}

/// What a manifest says; an id stands for its content, so this never changes.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) size: u64,
    pub(crate) files: Vec<File>,
    /// Every blob, the configuration included.
    pub(crate) blobs: Vec<Digest>,
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

/// What a volume is made from.
#[derive(Debug, Clone)]
pub enum VolumeContent {
    /// An image's file system.
    Image(ImageId),
    /// An artifact's files.
    Artifact(Artifact),
}

impl VolumeContent {
    /// The id of the image or artifact.
    pub fn id(&self) -> &ImageId {
        match self {
            Self::Image(id) => id,
            Self::Artifact(artifact) => &artifact.id,
        }
    }
}

impl Images {
    /// What a volume of `reference` is made from. Nothing is pulled.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a text that cannot be a reference; errors of the stores.
    pub async fn resolve_volume(&self, reference: &str) -> Result<VolumeContent, Error> {
        let reference = reference.to_owned();
        self.service
            .with_store(move |service| {
                if let Some(image) = service.find(&reference)? {
                    return Ok(VolumeContent::Image(image.id.clone()));
                }
                let artifact = service.find_artifact(&reference)?;
                artifact.map(VolumeContent::Artifact).ok_or(Error::NotFound { reference })
            })
            .await
    }

    /// Fills a fresh directory, which is made, with the files of an artifact. They are links to the blobs: the directory
    /// must be on the file system of the store, and is to be mounted read-only. Blocking.
    ///
    /// # Errors
    /// [`Error::Artifact`]: a title that is no plain relative name, two files of one name, a lost blob, another file
    /// system.
    pub fn link_artifact(&self, artifact: &Artifact, directory: &Path) -> Result<(), Error> {
        let layout = &self.service.artifacts;
        link(layout, artifact, directory)
            .map_err(|source| Error::Artifact { id: artifact.id.clone(), source: Arc::new(source) })
    }
}

fn link(layout: &layout::Layout, artifact: &Artifact, directory: &Path) -> Result<(), ArtifactError> {
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
            .map_err(ArtifactError::io("make", path))
    };
    make(directory)?;
    for file in &artifact.content.files {
        let name = plain_name(&file.name)?;
        let mut parent = directory.to_path_buf();
        for part in name.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            // The directory is ours and nobody else can reach it, so there are no links to follow in it.
            make(&parent)?;
        }
        let place = directory.join(&name);
        match std::fs::hard_link(layout.blob(&file.digest), &place) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(ArtifactError::Twice { name: file.name.clone() });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ArtifactError::Lost { blob: file.digest.clone() });
            }
            Err(error) => return Err(ArtifactError::io("link", place)(error)),
        }
    }
    Ok(())
}

/// A title as the path it may be: plain parts below one another.
fn plain_name(title: &str) -> Result<PathBuf, ArtifactError> {
    let path = Path::new(title);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    // A trailing or doubled slash disappears between components; what is left must be what was written.
    let same = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if title.is_empty() || !plain || !same || title.contains('\0') || title.len() > 1024 {
        return Err(ArtifactError::Title { title: title.chars().take(160).collect() });
    }
    Ok(path.to_path_buf())
}

impl Content {
    /// From a manifest whose bytes have this digest.
    pub(crate) fn of(manifest: Manifest, digest: Digest, manifest_size: u64) -> Self {
        let blobs: Vec<&Descriptor> = std::iter::once(&manifest.config).chain(&manifest.layers).collect();
        let size = blobs.iter().map(|blob| blob.size).fold(manifest_size, u64::saturating_add);
        let files = manifest.layers.iter().filter(|blob| blob.media_type != EMPTY).map(|blob| File {
            name: blob.annotation(TITLE).unwrap_or_else(|| blob.digest.hex()).to_owned(),
            digest: blob.digest.clone(),
        });
        Self {
            digest,
            size,
            files: files.collect(),
            blobs: blobs.iter().map(|blob| blob.digest.clone()).collect(),
            annotations: manifest.annotations,
        }
    }
}

impl Service {
    /// All artifacts; none where artifacts are not supported.
    pub(crate) fn all_artifacts(&self) -> Result<Vec<Artifact>, Error> {
        if !self.config.artifacts {
            return Ok(Vec::new());
        }
        self.artifacts.list().map_err(|source| Error::Artifacts { source: Arc::new(source) })
    }

    /// The artifact that `text` means: by id, name, digest or the beginning of an id.
    pub(crate) fn find_artifact(&self, text: &str) -> Result<Option<Artifact>, Error> {
        let all = self.all_artifacts()?;
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = bare.len() <= 64 && bare.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && let Some(found) = all.iter().find(|one| one.id.as_str() == bare) {
            return Ok(Some(found.clone()));
        }
        let candidates: Vec<Reference> = match Parsed::parse(text) {
            Ok(Parsed::Qualified(reference)) => vec![reference],
            Ok(Parsed::Short(name)) => self.registries().local_candidates(&name),
            Err(_) => Vec::new(),
        };
        let fits = |one: &&Artifact| {
            candidates.iter().any(|wanted| {
                let (name, repository) = (wanted.recorded_name(), wanted.repository());
                one.names.contains(&name)
                    || (wanted.digest() == Some(&one.content.digest)
                        && one.names.iter().any(|known| repository_of(known) == repository))
            })
        };
        if let Some(found) = all.iter().find(fits) {
            return Ok(Some(found.clone()));
        }
        if !hex || bare.len() < 3 {
            return Ok(None);
        }
        let mut fitting = all.iter().filter(|one| one.id.as_str().starts_with(bare));
        match (fitting.next(), fitting.count()) {
            (found, 0) => Ok(found.cloned()),
            (_, more) => Err(Error::AmbiguousId { prefix: text.to_owned(), count: more + 1 }),
        }
    }

    pub(crate) fn artifact_summary(&self, artifact: &Artifact) -> ImageSummary {
        let Artifact { id, names, content } = artifact;
        let digests = names.iter().map(|name| format!("{}@{}", repository_of(name), content.digest));
        let mut repo_digests: Vec<String> = digests.collect();
        repo_digests.dedup();
        ImageSummary::of_artifact(
            (id.clone(), content.size, content.annotations.clone()),
            names.iter().filter(|name| !name.contains('@')).cloned().collect(),
            repo_digests,
            self.pins(names),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_plain_relative_names() {
        for (title, fits) in [
            ("model.bin", true),
            ("weights/part-1", true),
            (".hidden", true),
            ("a b", true),
            ("", false),
            ("/etc/passwd", false),
            ("..", false),
            ("a/../b", false),
            ("./a", false),
            ("a//b", false),
            ("a/", false),
            (".", false),
            ("a\0b", false),
        ] {
            assert_eq!(plain_name(title).is_ok(), fits, "{title:?}");
        }
        assert!(plain_name(&"x".repeat(2000)).is_err());
    }
}
