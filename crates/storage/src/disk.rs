//! The bytes on disk: containers/storage's overlay layout, written so that its own programs read it.
//!
//! ```text
//! <root>/
//!   storage.lock                         guards the bind mount of overlay/ on itself
//!   overlay/<layer>/{diff,link,lower,work,merged,empty}
//!   overlay/l/<26 characters>            -> ../<layer>/diff, short names for mount options
//!   overlay-layers/layers.{json,lock}    records of layers
//!   overlay-layers/volatile-layers.json  records of layers that a reboot may void, never synced
//!   overlay-layers/<layer>.tar-split.gz  what rebuilds the layer's tar byte for byte
//!   overlay-images/images.{json,lock}    records of images
//!   overlay-images/<image>/<item>        "big data": manifest, configuration, signatures (names.rs)
//!   overlay-containers/containers.{json,lock}, volatile-containers.json
//!   overlay-containers/<container>/userdata
//!   ochre/{staging,trash}/               ours: layers being unpacked, layers being removed (overlay/dirs.rs)
//! <runroot>/
//!   overlay-layers/mountpoints.{json,lock}
//!   overlay-containers/<container>/userdata
//! ```
//!
//! Every `.json` file is an array of records. Fields this crate does not know survive a rewrite: each record keeps them
//! in a map. The lock file beside a table holds 64 bytes that change with every write (`lock.rs`); `table.rs` reads
//! again only when they did.

pub(crate) mod containers;
pub(crate) mod images;
pub(crate) mod layers;
pub(crate) mod lock;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod table;
pub(crate) mod text;
