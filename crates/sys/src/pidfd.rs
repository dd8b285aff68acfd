//! Process descriptors: exit information after the fact (`PIDFD_GET_INFO`), and signals by number.
//!
//! `waitid` tells only a parent how a process ended. Since Linux 6.15 a pidfd keeps the wait status of a process that has
//! been reaped by whoever its parent was, which is how a new monitor learns the exit code of a container it adopted.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `PIDFD_INFO_EXIT` (linux/pidfd.h): the exit status is wanted, or is there.
const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` with the structure's first version of 64 bytes.
const GET_INFO: u32 = (3 << 30) | ((size_of::<PidfdInfo>() as u32) << 16) | (0xFF << 8) | 11;

/// `struct pidfd_info`, version 0 (`PIDFD_INFO_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    /// pid, tgid, ppid, then the four user and four group ids.
    identity: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// The wait status (as of `waitpid(2)`) of a process that has ended and has been reaped, by anyone.
/// `None` while it lives or is a zombie.
///
/// # Errors
/// `Unsupported` on kernels before 6.15; otherwise the error of the call.
pub fn wait_status(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    let mut record = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request's encoded size is that of `record`, a live `repr(C)` structure of integers that the kernel may
    // fill with any bytes; the descriptor is borrowed for the call.
    let result = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), GET_INFO as libc::Ioctl, &raw mut record) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // A task that is being reaped at this moment.
            Some(libc::ESRCH) => Ok(None),
            Some(libc::ENOTTY | libc::EINVAL | libc::ENOSYS) => Err(io::ErrorKind::Unsupported.into()),
            _ => Err(error),
        };
    }
    Ok((record.mask & INFO_EXIT != 0).then_some(record.exit_code))
}

/// Sends a signal by number, also a real-time one, which rustix's `Signal` cannot name.
///
/// # Errors
/// The error of `pidfd_send_signal`: `ESRCH` for a process that has been reaped, `EINVAL` for an impossible number.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let (fd, no_siginfo) = (pidfd.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is borrowed for the call; a null siginfo lets the kernel fill in a plain kill's.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_siginfo, 0) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[test]
    fn the_status_is_known_after_somebody_else_reaped() {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "read x; exit 42"]).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        match wait_status(&pidfd) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            Ok(before) => {
                assert_eq!(before, None);
                drop(child.stdin.take());
                child.wait().unwrap();
                assert_eq!(wait_status(&pidfd).unwrap(), Some(42 << 8));
            }
        }
    }
}
