//! Everything that can go wrong in the store, one variant per failure.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ochre_types::{ContainerId, Digest, ErrorKind, ImageId, LayerId};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the store could not be read, written, made or removed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// A record file is not the JSON it should be. Nothing is ever removed on the strength of such a file.
    #[error("{path} is damaged")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the parser stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the store is larger than anything that belongs there.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another program held a lock of the store for too long.
    #[error("lock {path} was not free within {waited:?}")]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
        /// How long the store waited.
        waited: Duration,
    },
    /// The file system below the store cannot carry overlay mounts.
    #[error("overlay does not work on {root}")]
    OverlayUnsupported {
        /// The store's root.
        root: PathBuf,
        /// The answer to a trial mount.
        #[source]
        source: io::Error,
    },
    /// The file system below the store does not report the types of directory entries, which overlay needs.
    #[error("the file system of {root} lacks d_type (xfs: ftype=1)")]
    NoEntryTypes {
        /// The store's root.
        root: PathBuf,
    },
    /// No store knows the image.
    #[error("image {id} does not exist")]
    ImageNotFound {
        /// The image.
        id: ImageId,
    },
    /// The image lies in an additional image store, which is read only.
    #[error("image {id} lies in a read-only store")]
    ImageReadOnly {
        /// The image.
        id: ImageId,
    },
    /// A container was made from the image.
    #[error("image {id} is used by container {container}")]
    ImageInUse {
        /// The image.
        id: ImageId,
        /// One of the containers, as recorded (other programs choose their own form).
        container: String,
    },
    /// Somebody reads the image, such as an export.
    #[error("image {id} is being read, by an export for example")]
    ImageHeld {
        /// The image.
        id: ImageId,
    },
    /// The image has no layer, so there is nothing to mount.
    #[error("image {id} has no layers")]
    ImageWithoutLayers {
        /// The image.
        id: ImageId,
    },
    /// The image has no item of that name.
    #[error("image {id} has no item {key:?}")]
    BigDataNotFound {
        /// The image.
        id: ImageId,
        /// The item's name.
        key: String,
    },
    /// An item's name is empty or too long to be a file name.
    #[error("{key:?} cannot name an item of image {id}")]
    BigDataName {
        /// The image.
        id: ImageId,
        /// The refused name.
        key: String,
    },
    /// No store knows the layer.
    #[error("layer {id} does not exist")]
    LayerNotFound {
        /// The layer.
        id: LayerId,
    },
    /// A complete layer of that identifier exists.
    #[error("layer {id} exists already")]
    LayerExists {
        /// The layer.
        id: LayerId,
    },
    /// A layer of that identifier exists with different content.
    #[error("layer {id} exists with content {existing:?} instead of {wanted}")]
    LayerConflict {
        /// The layer.
        id: LayerId,
        /// The digest on record.
        existing: Option<Digest>,
        /// The digest of the new content.
        wanted: Digest,
    },
    /// The layer's parent is gone or was never there.
    #[error("layer {id} lacks its parent {parent}")]
    ParentMissing {
        /// The layer.
        id: LayerId,
        /// The missing parent.
        parent: LayerId,
    },
    /// A layer's `link` or `lower` file does not contain what it should.
    #[error("{path} does not name layers")]
    BadLink {
        /// The file.
        path: PathBuf,
    },
    /// A mount would need more layers than fit into one page of options.
    #[error("layer {id} has {count} layers below it, more than one mount can take")]
    TooManyLayers {
        /// The layer.
        id: LayerId,
        /// How many lower layers.
        count: usize,
    },
    /// No container of that identifier is on record.
    #[error("container {id} does not exist")]
    ContainerNotFound {
        /// The container.
        id: ContainerId,
    },
    /// A container of that identifier is on record.
    #[error("container {id} exists already")]
    ContainerExists {
        /// The container.
        id: ContainerId,
    },
    /// Another container has the name.
    #[error("container name {name:?} belongs to container {owner}")]
    ContainerNameInUse {
        /// The name.
        name: String,
        /// Its owner, as recorded.
        owner: String,
    },
    /// The overlay mount of a layer failed.
    #[error("cannot mount layer {id} at {path}")]
    Mount {
        /// The layer.
        id: LayerId,
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel or the file system of the store cannot show layers with other owners.
    #[error(
        "the layers below {path} cannot be mounted with mapped ids: the kernel (5.19 or newer) or the file system cannot"
    )]
    IdMapUnsupported {
        /// The store, or the mount point.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel makes no user namespace with a container's mappings.
    #[error("cannot make a user namespace for the mappings of container layer {id}")]
    IdMap {
        /// The layer.
        id: LayerId,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A mount could not be undone.
    #[error("cannot unmount {path}")]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. }
            | Self::Mount { source, .. }
            | Self::Unmount { source, .. }
            | Self::IdMap { source, .. } => kind_of(source),
            Self::Corrupt { .. } | Self::TooLarge { .. } | Self::BadLink { .. } => ErrorKind::Internal,
            Self::LockTimeout { .. } => ErrorKind::Timeout,
            Self::ImageNotFound { .. }
            | Self::LayerNotFound { .. }
            | Self::ContainerNotFound { .. }
            | Self::BigDataNotFound { .. } => ErrorKind::NotFound,
            Self::LayerExists { .. }
            | Self::LayerConflict { .. }
            | Self::ContainerExists { .. }
            | Self::ContainerNameInUse { .. } => ErrorKind::AlreadyExists,
            Self::BigDataName { .. } | Self::TooManyLayers { .. } => ErrorKind::InvalidArgument,
            Self::OverlayUnsupported { .. }
            | Self::IdMapUnsupported { .. }
            | Self::NoEntryTypes { .. }
            | Self::ImageReadOnly { .. }
            | Self::ImageInUse { .. }
            | Self::ImageHeld { .. }
            | Self::ImageWithoutLayers { .. }
            | Self::ParentMissing { .. } => ErrorKind::FailedPrecondition,
        }
    }

    /// For `map_err`: names the action and the path of a failed file operation.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: source.into() }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            ErrorKind::Exhausted
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    }
}
