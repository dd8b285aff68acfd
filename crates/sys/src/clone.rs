//! `clone3` for single-threaded programs.
//!
//! The child is a copy of the caller that goes on running ordinary Rust code. That is sound only while no other
//! thread exists, since a lock held by a thread that the child does not have is never released there. The call
//! proves it by asking the kernel first (`unshare(CLONE_VM)` succeeds only in a process of one thread), which is
//! why it can be a safe function: a threaded program gets an error, never a child that hangs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::ThreadNameSpaceType;

/// What the new process gets beyond a copy of its parent.
#[derive(Debug, Default)]
pub struct CloneOptions<'a> {
    /// Namespaces it gets of its own. The cgroup namespace is taken from the parent's cgroup even with `cgroup`.
    pub namespaces: Option<ThreadNameSpaceType>,
    /// Directory of a cgroup v2 group that it starts in (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Its parent is the caller's parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// The two ways in which [`clone_process`] returns.
#[derive(Debug)]
pub enum Cloned {
    /// In the caller: the new process, as seen from the caller's PID namespace.
    Parent {
        /// Its process id.
        pid: Pid,
        /// Its process descriptor, close-on-exec.
        pidfd: OwnedFd,
    },
    /// In the new process.
    Child,
}

/// `CLONE_INTO_CGROUP`; libc's constant is an `int` and overflows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Copies the calling process, which must have one thread.
///
/// # Errors
/// `EINVAL` when the process has several threads; otherwise the error of `clone3`.
pub fn clone_process(options: &CloneOptions<'_>) -> io::Result<Cloned> {
    // SAFETY: `unshare` takes no pointers. CLONE_VM changes nothing: it fails when the address space is shared with
    // another thread, and does nothing otherwise.
    if unsafe { libc::unshare(libc::CLONE_VM) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is a plain structure of integers, for which all zeroes means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    if options.sibling {
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(namespaces) = options.namespaces {
        args.flags |= u64::from(namespaces.bits());
    }
    if let Some(cgroup) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and the descriptor slot it points to live across the call, and the size is that of the structure.
    // Without CLONE_VM and with a zero stack the child runs on a private copy of this address space and this stack, as
    // after fork; there is no other thread (asked above), so no lock can be held for ever in the copy.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<libc::clone_args>())
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        Ok(raw) if raw > 0 => {
            let pid = Pid::from_raw(raw).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: a successful clone3 with CLONE_PIDFD stored a new descriptor that nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the calling thread namespaces of its own (a PID or time namespace: its future children).
///
/// # Errors
/// The error of `unshare`.
pub fn unshare_namespaces(namespaces: ThreadNameSpaceType) -> io::Result<()> {
    // SAFETY: no pointers; only CLONE_NEW* bits can be in the type, none of which affects memory or descriptors.
    if unsafe { libc::unshare(namespaces.bits() as libc::c_int) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_several_threads_is_refused() {
        // The test harness itself is threaded.
        let waiting = std::thread::spawn(std::thread::park);
        let refused = clone_process(&CloneOptions::default());
        waiting.thread().unpark();
        waiting.join().unwrap();
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
