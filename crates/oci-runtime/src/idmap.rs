//! User namespaces as carriers of id mappings.

use std::io;
use std::os::fd::OwnedFd;

use ochre_sys::user_namespace::{IdRange, UserNamespace};
use rustix::process::Pid;

use crate::spec::IdMapping;

/// Writes the mappings of a process in a new user namespace.
///
/// # Errors
/// The error of writing: `EINVAL` for mappings that overlap.
pub fn write(pid: Pid, uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<()> {
    let lines = |mappings: &[IdMapping]| -> String {
        mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    };
    let pid = pid.as_raw_nonzero();
    std::fs::write(format!("/proc/{pid}/uid_map"), lines(uids))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), lines(gids))
}

/// A user namespace with the mappings and nobody in it.
///
/// # Errors
/// The error of making it.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let ranges = |map: &[IdMapping]| -> Vec<IdRange> {
        map.iter()
            .map(|line| IdRange { inside: line.container_id, outside: line.host_id, count: line.size })
            .collect()
    };
    UserNamespace::new(&ranges(uids), &ranges(gids), &[])?.open()
}

/// The id on the host of an id in a user namespace with these mappings; without mappings, the id itself.
pub fn host_id(map: &[IdMapping], id: u32) -> Option<u32> {
    if map.is_empty() {
        return Some(id);
    }
    map.iter().find_map(|line| {
        let offset = id.checked_sub(line.container_id).filter(|offset| *offset < line.size)?;
        line.host_id.checked_add(offset)
    })
}
