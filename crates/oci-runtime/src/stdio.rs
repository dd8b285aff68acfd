//! Standard streams that the container's user may open again.
//!
//! Programs log to `/dev/stdout`, which opens the pipe behind descriptor 1 anew, and the kernel then asks for the rights
//! on that pipe. It belongs to whoever made it, the host's root; so it is given to the user of the process, as other
//! runtimes do. Only pipes are: a file, a terminal or a device of the caller keeps its owner.

use std::io;

use rustix::fs::{FileType, Uid};

use crate::idmap;
use crate::spec::{Linux, NamespaceKind, Process};

/// Gives the pipes among the runtime's standard streams, which are those of the process, to its user.
///
/// # Errors
/// The error of the change; a stream that is closed is left out.
pub(crate) fn give(process: &Process, linux: &Linux) -> io::Result<()> {
    let map = match linux.namespace(NamespaceKind::User) {
        Some(_) => &linux.uid_mappings[..],
        None => &[],
    };
    // Without a place on the host the user cannot own anything there; becoming that user will fail with a reason.
    let Some(uid) = idmap::host_id(map, process.user.uid).filter(|uid| *uid != u32::MAX) else {
        return Ok(());
    };
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    give_one(&streams.0, uid)?;
    give_one(&streams.1, uid)?;
    give_one(&streams.2, uid)
}

fn give_one(stream: impl std::os::fd::AsFd, uid: u32) -> io::Result<()> {
    let Ok(found) = rustix::fs::fstat(&stream) else { return Ok(()) };
    if FileType::from_raw_mode(found.st_mode) != FileType::Fifo || found.st_uid == uid {
        return Ok(());
    }
    match rustix::fs::fchown(&stream, Some(Uid::from_raw(uid)), None) {
        // A named pipe on a read-only file system, or one that the runtime itself does not own.
        Ok(()) | Err(rustix::io::Errno::ROFS | rustix::io::Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_pipe_changes_its_owner_and_a_file_does_not() {
        let (reader, writer) = io::pipe().unwrap();
        give_one(&writer, 4711).unwrap();
        assert_eq!(rustix::fs::fstat(&reader).unwrap().st_uid, 4711);
        let file = tempfile::tempfile().unwrap();
        give_one(&file, 4711).unwrap();
        assert_ne!(file.metadata().unwrap().uid(), 4711);
    }
}
