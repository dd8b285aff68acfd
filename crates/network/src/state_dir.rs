//! The engine's own files of this crate:
//!
//! ```text
//! <state_dir>/                      0700
//!   boot-id                         the boot that leases and host ports belong to
//!   attachments/<pod>.json          written before the first plugin runs, removed after the last DEL
//!   host-ports/<pod>.json           ports a pod holds
//!   leases/<address>                symbolic link whose target is the pod's id: made in one exclusive step
//!   leases/.last                    symbolic link naming the address to go on behind
//! ```
//!
//! Leases and host ports are kernel state of one boot: after a reboot no pod's network exists any more.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_types::SandboxId;

/// A record is our own writing; one that is larger was not written by us.
const RECORD_LIMIT: u64 = 8 << 20;

/// Makes a directory of ours and its parents.
pub(crate) fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Empties what a reboot has voided.
pub(crate) fn start_boot(state_dir: &Path) -> io::Result<()> {
    create(state_dir)?;
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id")?;
    if std::fs::read(state_dir.join("boot-id")).is_ok_and(|known| known == boot) {
        return Ok(());
    }
    for name in ["host-ports", "leases"] {
        match std::fs::remove_dir_all(state_dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Last: a crash before this line repeats the emptying.
    atomic::write(File::open(state_dir)?, "boot-id", &boot, 0o600, Durability::Synced)
}

/// The records in a directory by the pod in their name; other files are not ours.
pub(crate) fn records(dir: &Path) -> io::Result<Vec<(SandboxId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
        if let Some(sandbox) = name.and_then(|name| name.parse().ok()) {
            found.push((sandbox, path));
        }
    }
    Ok(found)
}

/// Reads a file of ours.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_limited(path, RECORD_LIMIT)
}

/// Reads a regular file of at most `limit` bytes without ever blocking on a FIFO.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(content)
}
