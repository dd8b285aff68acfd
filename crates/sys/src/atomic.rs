//! Whole-file replacement that a crash or a power loss cannot tear.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

/// How far a write must have gone when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives `kill -9` of this process; a power loss may undo it. For state that a reboot voids anyway.
    Volatile,
    /// Survives a power loss: data, rename and directory are synced.
    Synced,
}

/// Replaces `name` in `dir` with `content`: writes a temporary file beside it, renames it over the old one.
/// Readers see the old content or the new one, never a mixture.
///
/// # Errors
/// Any error of the calls involved; the temporary file is removed then and the old content is untouched.
pub fn write(
    dir: impl AsFd,
    name: &str,
    content: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let temporary = format!(".{name}.{}.{:x}.tmp", std::process::id(), unique());
    let result = write_temporary(dir, &temporary, content, mode, durability)
        .and_then(|()| rustix::fs::renameat(dir, &temporary, dir, name).map_err(io::Error::from));
    if let Err(error) = result {
        // The temporary file may not exist; the write's own error is the one that matters.
        rustix::fs::unlinkat(dir, &temporary, AtFlags::empty()).ok();
        return Err(error);
    }
    if durability == Durability::Synced {
        sync_dir(dir)?;
    }
    Ok(())
}

fn write_temporary(
    dir: BorrowedFd<'_>,
    name: &str,
    content: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    let mut rest = content;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if durability == Durability::Synced {
        rustix::fs::fdatasync(&file)?;
    }
    Ok(())
}

/// Makes renames, creations and removals in `dir` survive a power loss.
///
/// # Errors
/// The error of `fsync`.
pub fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    // A descriptor opened with O_PATH cannot be synced; open the directory again through itself.
    match rustix::fs::fsync(dir.as_fd()) {
        Err(rustix::io::Errno::BADF) => {
            let again = rustix::fs::openat(
                dir,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::fs::fsync(again).map_err(io::Error::from)
        }
        result => result.map_err(io::Error::from),
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_no_temporary_behind() {
        let path = std::env::temp_dir().join(format!("ochre-atomic-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        write(&dir, "state", b"one", 0o600, Durability::Synced).unwrap();
        write(&dir, "state", b"two", 0o600, Durability::Volatile).unwrap();
        assert_eq!(std::fs::read(path.join("state")).unwrap(), b"two");
        assert!(write(&dir, "no/such/dir", b"x", 0o600, Durability::Volatile).is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
        std::fs::remove_dir_all(&path).unwrap();
    }
}
