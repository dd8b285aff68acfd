//! Id mappings of containers: what stands in the records, and which owner a directory gets.
//!
//! The record has the form of containers/storage, so that podman shows and commits such a container with the ids that
//! its processes see: `uidmap` and `gidmap` of the container and of its layer, whose files lie on disk with the ids of
//! the host. Layers of images have no mapping; they are shown through id-mapped copies of their mounts
//! (`overlay/mapped.rs`).

use ochre_sys::user_namespace::IdRange;
use serde::{Deserialize, Serialize};

/// The mappings of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// Of users.
    pub uids: Vec<IdRange>,
    /// Of groups.
    pub gids: Vec<IdRange>,
}

/// One line as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMapRecord {
    container_id: u32,
    host_id: u32,
    size: u32,
}

impl IdMaps {
    /// From what is on record; `None` where there is nothing.
    pub(crate) fn from_records(uids: &[IdMapRecord], gids: &[IdMapRecord]) -> Option<Self> {
        let read = |map: &[IdMapRecord]| {
            map.iter()
                .map(|line| IdRange { inside: line.container_id, outside: line.host_id, count: line.size })
                .collect()
        };
        (!uids.is_empty() && !gids.is_empty()).then(|| Self { uids: read(uids), gids: read(gids) })
    }

    /// For the record: users, then groups.
    pub(crate) fn to_records(&self) -> (Vec<IdMapRecord>, Vec<IdMapRecord>) {
        let written = |map: &[IdRange]| {
            map.iter()
                .map(|line| IdMapRecord {
                    container_id: line.inside,
                    host_id: line.outside,
                    size: line.count,
                })
                .collect()
        };
        (written(&self.uids), written(&self.gids))
    }

    /// The owner on disk of what `owner` owns in the container. An owner without a mapping becomes the container's root,
    /// as in containers/storage.
    pub(crate) fn on_host(&self, owner: (u32, u32)) -> (u32, u32) {
        (outside(&self.uids, owner.0), outside(&self.gids, owner.1))
    }
}

fn outside(map: &[IdRange], id: u32) -> u32 {
    let of = |id: u32| {
        map.iter().find_map(|line| {
            let offset = id.checked_sub(line.inside).filter(|offset| *offset < line.count)?;
            line.outside.checked_add(offset)
        })
    };
    of(id).or_else(|| of(0)).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_form_of_containers_storage_and_come_back() {
        let line = IdRange { inside: 0, outside: 100_000, count: 65_536 };
        let maps = IdMaps { uids: vec![line], gids: vec![line] };
        let (uids, gids) = maps.to_records();
        let text = serde_json::to_string(&uids).unwrap();
        assert_eq!(text, r#"[{"container_id":0,"host_id":100000,"size":65536}]"#);
        assert_eq!(IdMaps::from_records(&uids, &gids), Some(maps));
        assert_eq!(IdMaps::from_records(&[], &[]), None);
    }

    #[test]
    fn an_owner_without_a_mapping_becomes_the_containers_root() {
        let line = IdRange { inside: 0, outside: 100_000, count: 10 };
        let maps = IdMaps { uids: vec![line], gids: vec![IdRange { outside: 200_000, ..line }] };
        assert_eq!(maps.on_host((0, 5)), (100_000, 200_005));
        assert_eq!(maps.on_host((10, 1000)), (100_000, 200_000));
    }
}
