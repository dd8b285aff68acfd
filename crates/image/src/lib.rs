//! Images: references, registries, credentials, policies, pulls and imports.
//!
//! [`Images`] is the handle that the rest of the engine uses; its verbs are one file each: `pull`, `list`, `status`,
//! `remove`, `import`, `export`. What registries, users and images send is bounded and verified before anything is made of it.

mod admit;
mod artifact;
mod auth;
mod config;
mod error;
mod explain;
mod export;
mod holds;
mod images;
mod import;
mod list;
mod manifest;
mod platform;
mod policy;
mod pull;
mod reference;
mod registries;
mod registry;
mod remove;
mod status;
mod trust;

pub use artifact::error::ArtifactError;
pub use artifact::{Artifact, VolumeContent};
pub use auth::{AuthConfig, AuthError, AuthFiles, CredentialSource, Credentials, NamespacedAuth};
pub use config::{ConfigError, ImageConfig};
pub use error::{Error, PullReason};
pub use explain::{Explanation, Location};
pub use export::error::ExportError;
pub use export::{ExportFormat, ExportRequest, Exported};
pub use images::{FsUsage, ImageServiceConfig, Images};
pub use import::LayoutError;
pub use list::ImageSummary;
pub use manifest::ManifestError;
pub use ochre_archive::Compression as ExportCompression;
pub use ochre_archive::worker::{PROGRAM as UNPACK_WORKER, main as unpack_worker};
pub use platform::Platform;
pub use policy::{PolicyError, PolicyPaths};
pub use pull::PullRequest;
pub use pull::error::PullError;
pub use pull::progress::PullProgress;
pub use reference::{Parsed, Reference, ReferenceError, ShortName};
pub use registries::{PullSource, Registries, RegistriesError, RegistriesPaths, ShortNameMode};
pub use registry::{Proxies, RegistryError, RetryPolicy};
pub use status::ResolvedImage;
pub use trust::{MaterialError, PlacesError, SignatureError};
