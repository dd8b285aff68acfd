//! The containers/storage overlay store, shared live with podman, skopeo and buildah.
//!
//! [`Store`] is the way in: images ([`Image`]), layers ([`Layer`], [`LayerStaging`]), containers ([`Container`]) and
//! their mounts. What lies on disk is drawn in the header of `disk.rs`, how locks are taken in that of `disk/lock.rs`,
//! and what a crash can leave behind in that of `store.rs`. Everything here blocks; callers run it on a blocking pool.

mod anchor;
mod container;
mod content;
mod disk;
mod error;
mod id_map;
mod image;
mod layer;
mod overlay;
mod store;
mod usage;

pub use container::{Container, NewContainer};
pub use content::{ImageHold, LayerContent};
pub use error::Error;
pub use id_map::IdMaps;
pub use image::{Image, NewImage};
pub use layer::{Layer, LayerDigests, LayerStaging, chain_layer_id};
pub use store::{Store, StoreConfig};
pub use usage::Usage;
