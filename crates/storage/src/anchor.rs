//! A layer that counts as mounted while this engine has layers mounted.
//!
//! podman 4.3 (containers/storage before 1.45) does not read `volatile-layers.json`. It therefore takes the layers of
//! our containers for unknown and, when no layer it knows is on record as mounted, ends each command by detaching
//! `<root>/overlay` with every mount of ours below it. One empty layer in `layers.json`, on record as mounted, keeps it
//! and every later version from that. The layer is made once, belongs to no image and is never mounted in fact.

use ochre_types::{Digest, LayerId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::disk::layers::{LayerRecord, STABLE};
use crate::disk::mounts::MountRecord;
use crate::disk::table::Writer;
use crate::disk::text;
use crate::store::{Store, set_count};

/// The layer's name on record, for people who wonder.
const NAME: &str = "ochre-anchor";

/// The same for every store, so that it is made only once.
fn anchor_id() -> LayerId {
    let hex = Digest::sha256(&Sha256::digest(NAME.as_bytes()).into()).hex().to_owned();
    // Invariant: the hexadecimal form of a SHA-256 is an identifier.
    LayerId::try_from(hex).unwrap_or_else(|invalid| unreachable!("{invalid}"))
}

impl Store {
    /// The anchor's identifier; makes the layer if it is missing. Takes the layers' lock then.
    pub(crate) fn anchor(&self) -> Result<LayerId, Error> {
        let id = anchor_id();
        if self.opened.layers.current()?.view.contains_key(&id) {
            return Ok(id);
        }
        let mut layers = self.opened.layers.write()?;
        if layers.get(id.as_str()).is_some_and(|row| !row.record.is_incomplete()) {
            return Ok(id);
        }
        layers.remove(id.as_str());
        let mut record = LayerRecord {
            id: id.to_string(),
            names: vec![NAME.to_owned()],
            created: text::time(Timestamp::now()),
            ..LayerRecord::default()
        };
        record.set_incomplete(true);
        layers.push(STABLE, record);
        layers.save(STABLE)?;
        let dirs = &self.opened.overlay.dirs;
        dirs.discard(&id)?.remove();
        dirs.make(&id, None, None)?;
        layers.change(id.as_str(), |record| record.set_incomplete(false));
        layers.save(STABLE)?;
        Ok(id)
    }

    /// Puts the anchor on record as mounted. The caller saves.
    pub(crate) fn drop_anchor(&self, mounts: &mut Writer<'_, MountRecord>, anchor: &LayerId) {
        if mounts.get(anchor.as_str()).is_none_or(|row| row.record.count <= 0) {
            set_count(mounts, anchor, &self.opened.overlay.dirs.own(anchor).join("merged"), 1);
        }
    }
}

/// Takes the anchor off the record of mounts. Returns whether it was there.
pub(crate) fn weigh_anchor(mounts: &mut Writer<'_, MountRecord>) -> bool {
    mounts.remove(anchor_id().as_str())
}
