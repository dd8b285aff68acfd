//! Replacing the process image, and process-wide settings just before it.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Replaces the process image by the program at `path`; returns only when that failed.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> io::Error {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: `path` and every element are NUL-terminated strings borrowed for the call; both arrays end in null.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the process image by the open file `program`; returns only when that failed.
pub fn execve_fd(program: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> io::Error {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: the empty path and every element are NUL-terminated strings borrowed for the call; both arrays end in
    // null; AT_EMPTY_PATH makes the kernel use the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Gives `SIGSEGV` and `SIGBUS` their default disposition. The handlers that the standard library has for them take a
/// signal that another process sends for a fault of their own, make the next one deadly and go on: it would be lost.
pub fn default_faults() {
    for number in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: SIG_DFL installs no handler, so no code of this process can be run by it.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Gives every signal its default disposition and unblocks all, as a new program expects them: what this process
/// ignores (Rust programs ignore `SIGPIPE`) or blocks would otherwise be inherited through exec.
pub fn default_signals() {
    // Four words of zeroes: the kernel's `struct sigaction` with SIG_DFL, no flags and an empty mask. Asked from the
    // kernel itself, since the C library keeps two signals out of reach that a caller may have ignored all the same.
    let default = [0_usize; 4];
    for number in 1..=64 {
        // SAFETY: the kernel reads the structure, which lives across the call, and 8 is the size of its mask. SIG_DFL
        // installs no handler, so no code of this process can be run by it. SIGKILL and SIGSTOP give an error.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), std::ptr::null_mut::<usize>(), 8)
        };
    }
    // SAFETY: `sigset_t` is plain memory that `sigemptyset` fills; the kernel only reads it.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ends the process at once: no destructors, no exit handlers. For the child of a clone.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
///
/// # Errors
/// The error of `close_range`.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: no pointers; CLOEXEC changes a flag and closes nothing, so no owned descriptor becomes invalid.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the descriptor number is open in this process.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing; a number that is not open gives EBADF.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// A real-time signal by its number, 34 to 64; the two below them belong to the C library.
pub fn realtime_signal(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: the range excludes 32 and 33, which the C library reserves for itself.
    (34..=64).contains(&number).then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// Sets the execution domain (`personality(2)`): 0 for 64-bit Linux, 8 for 32-bit.
///
/// # Errors
/// The error of the call.
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: takes an integer.
    if unsafe { libc::personality(domain.into()) } >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_numbers_are_not_open() {
        assert!(is_open(1));
        assert!(!is_open(1 << 20));
    }

    #[test]
    fn a_failed_exec_returns_its_error() {
        assert_eq!(execve(c"/nonexistent/program", &[], &[]).raw_os_error(), Some(libc::ENOENT));
    }
}
