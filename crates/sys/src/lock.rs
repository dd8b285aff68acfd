//! Open-file-description locks that exclude the fcntl locks of containers/storage.
//!
//! containers/storage locks with `fcntl(F_SETLKW)` over the whole file. Three kinds of lock exist on Linux and only two
//! of them see each other:
//!
//! | call | excludes fcntl locks | owner | lost when |
//! |---|---|---|---|
//! | `flock(2)` (also `std::fs::File::lock`) | **no** | open file description | last descriptor closed |
//! | `fcntl(F_SETLK)` | yes | process | *any* descriptor of the file is closed in the process |
//! | `fcntl(F_OFD_SETLK)` (Linux 3.15) | yes | open file description | last descriptor closed |
//!
//! Only the last one is usable here: it excludes the Go programs and cannot be lost by an unrelated `close`. Two opens
//! of one file within this process exclude each other too, so the lock also works between threads. A descriptor that a
//! child inherits would keep the lock, so lock files are opened with `O_CLOEXEC` by their owners.
//!
//! The kernel does not report deadlocks between these locks; callers take them in one fixed order.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What a lock allows others to hold at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any number of shared locks; needs a descriptor open for reading.
    Shared,
    /// Nobody else; needs a descriptor open for writing.
    Exclusive,
}

/// First pause of [`lock_within`]; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Locks the whole file (including what is appended later) and waits as long as it takes.
///
/// # Errors
/// The error of `fcntl(F_OFD_SETLKW)`; `EBADF` for a descriptor whose access mode does not fit the kind.
pub fn lock(file: impl AsFd, kind: Kind) -> io::Result<()> {
    loop {
        match set(file.as_fd(), libc::F_OFD_SETLKW, type_of(kind)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Locks the whole file if that is possible at once. Returns whether the lock is held now.
///
/// # Errors
/// The error of `fcntl(F_OFD_SETLK)`, except those that mean "somebody else holds it".
pub fn try_lock(file: impl AsFd, kind: Kind) -> io::Result<bool> {
    loop {
        match set(file.as_fd(), libc::F_OFD_SETLK, type_of(kind)) {
            Ok(()) => return Ok(true),
            // POSIX allows either one for a conflicting lock.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Locks the whole file, asking again until `patience` is over. Returns whether the lock is held now.
///
/// It polls, since a blocked `fcntl` can be woken early only by a signal. A waiter that polls is not in the kernel's
/// queue: it can be overtaken by blocked ones, never by itself starve them.
///
/// # Errors
/// As [`try_lock`].
pub fn lock_within(file: impl AsFd, kind: Kind, patience: Duration) -> io::Result<bool> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if try_lock(file.as_fd(), kind)? {
            return Ok(true);
        }
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Gives the lock back. Closing the last descriptor of the open file description does the same.
///
/// # Errors
/// The error of `fcntl(F_OFD_SETLK)`.
pub fn unlock(file: impl AsFd) -> io::Result<()> {
    set(file.as_fd(), libc::F_OFD_SETLK, libc::F_UNLCK)
}

fn type_of(kind: Kind) -> libc::c_int {
    match kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
    }
}

fn set(file: BorrowedFd<'_>, command: libc::c_int, lock_type: libc::c_int) -> io::Result<()> {
    let range = libc::flock {
        // The constants are 0 to 2; the field is a C short.
        l_type: lock_type as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        // 0: to the end of the file, however far that moves.
        l_len: 0,
        // Must be 0 for open-file-description locks.
        l_pid: 0,
    };
    // SAFETY: the descriptor is borrowed, so it stays open during the call. `range` is a valid, fully initialised
    // `struct flock` (on the 64-bit targets of this project the same as `flock64`), it lives across the call, and the
    // kernel only reads it for these three commands.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const range) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ochre-lock-{name}-{}", std::process::id()));
            std::fs::write(&path, "").unwrap();
            Self(path)
        }

        fn open(&self) -> File {
            File::options().read(true).write(true).open(&self.0).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    /// What a Go program does: a POSIX lock of this process.
    fn posix_try_lock(file: &File) -> bool {
        rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let scratch = Scratch::new("share");
        let (one, two, three) = (scratch.open(), scratch.open(), scratch.open());
        assert!(try_lock(&one, Kind::Shared).unwrap());
        assert!(try_lock(&two, Kind::Shared).unwrap());
        assert!(!try_lock(&three, Kind::Exclusive).unwrap());
        unlock(&one).unwrap();
        drop(two);
        assert!(try_lock(&three, Kind::Exclusive).unwrap());
        assert!(!try_lock(&one, Kind::Shared).unwrap());
    }

    #[test]
    fn fcntl_locks_of_the_go_programs_are_excluded() {
        let scratch = Scratch::new("posix");
        let (ours, theirs) = (scratch.open(), scratch.open());
        lock(&ours, Kind::Exclusive).unwrap();
        assert!(!posix_try_lock(&theirs));
        unlock(&ours).unwrap();
        assert!(posix_try_lock(&theirs));
        assert!(!try_lock(&ours, Kind::Shared).unwrap());
    }

    #[test]
    fn closing_another_descriptor_of_the_file_keeps_the_lock() {
        let scratch = Scratch::new("close");
        let (holder, other) = (scratch.open(), scratch.open());
        lock(&holder, Kind::Exclusive).unwrap();
        drop(scratch.open());
        assert!(!try_lock(&other, Kind::Shared).unwrap());
    }

    #[test]
    fn waiting_ends_with_the_patience_or_the_lock() {
        let scratch = Scratch::new("patience");
        let (holder, waiter) = (scratch.open(), scratch.open());
        lock(&holder, Kind::Exclusive).unwrap();
        let start = Instant::now();
        assert!(!lock_within(&waiter, Kind::Shared, Duration::from_millis(30)).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(30));
        let releaser = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(holder);
        });
        assert!(lock_within(&waiter, Kind::Shared, Duration::from_secs(10)).unwrap());
        releaser.join().unwrap();
    }
}
