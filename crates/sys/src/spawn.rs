//! Starting children with exactly the descriptors they need, and hearing of their end.
//!
//! `std::process::Command` can neither place a descriptor at number 3 nor return a pidfd without `unsafe` hooks, and with
//! hooks it falls back to a full `fork`. [`Program::spawn`] is one `clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD)`: no page
//! table is copied, the parent thread sleeps until the child has executed or failed, and the error number of a failed
//! step comes back through the shared memory. The child starts in a session of its own, in `/`, with default signal
//! dispositions, an empty signal mask and no descriptor but the listed ones.
//!
//! [`SignalFd`] turns blocked signals into a readable descriptor for an epoll loop.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Stack of the child between `clone` and `execve`; it runs a dozen system calls and no callbacks.
const STACK: usize = 16 * 1024;

/// A program to execute.
#[derive(Debug)]
pub struct Program<'a> {
    /// The file to execute; absolute, since the child runs in `/`. `PATH` is not searched.
    pub path: &'a CStr,
    /// The arguments, the program's name first.
    pub args: &'a [CString],
    /// The whole environment, `NAME=value` each.
    pub env: &'a [CString],
    /// The child's descriptors: the first becomes 0, the second 1 and so on. All others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// A started child. It stays a zombie until its parent waits for it.
#[derive(Debug)]
pub struct Child {
    /// Its process id, valid until it is waited for.
    pub pid: i32,
    /// Its process descriptor; becomes readable when it ends.
    pub pidfd: OwnedFd,
}

struct Plan {
    path: *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    descriptors: *mut RawFd,
    count: c_int,
    failure: AtomicI32,
}

impl Program<'_> {
    /// Starts the program in a new session. Returns when the new program image runs.
    ///
    /// # Errors
    /// The error of the step that failed, in the parent (`clone`) or in the child (placing descriptors, `execve`);
    /// a child that failed is gone already. Needs Linux 5.11 (`CLOSE_RANGE_CLOEXEC`).
    pub fn spawn(&self) -> io::Result<Child> {
        let args = pointers(self.args);
        let env = pointers(self.env);
        let mut descriptors: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let count = c_int::try_from(descriptors.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let plan = Plan {
            path: self.path.as_ptr(),
            args: args.as_ptr(),
            env: env.as_ptr(),
            descriptors: descriptors.as_mut_ptr(),
            count,
            failure: AtomicI32::new(0),
        };
        // Not zeroed: only the pages that the child touches become memory, and a pod's monitor counts its pages.
        let mut stack = Vec::with_capacity(STACK / size_of::<u128>());
        let old_mask = block_all()?;
        let result = start(&plan, stack.spare_capacity_mut());
        restore(&old_mask);
        let child = result?;
        match plan.failure.load(Ordering::Acquire) {
            0 => Ok(child),
            errno => {
                reap(child.pid);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

fn start(plan: &Plan, stack: &mut [MaybeUninit<u128>]) -> io::Result<Child> {
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let argument = std::ptr::from_ref(plan).cast_mut().cast::<c_void>();
    // SAFETY: `top` is the 16-byte aligned end of a live buffer that the child alone uses as its stack; `plan` and all
    // it points to outlive the call because CLONE_VFORK suspends this thread until the child has executed or exited;
    // `child_main` only makes system calls; CLONE_PIDFD stores a descriptor in `pidfd`, which is live.
    let pid = unsafe { libc::clone(child_main, top, flags, argument, std::ptr::from_mut(&mut pidfd)) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Runs in the child, on its own stack, in the parent's memory, with every signal blocked.
extern "C" fn child_main(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Plan` of the suspended parent.
    let plan = unsafe { &*argument.cast::<Plan>() };
    // SAFETY: called once, in the child of `clone`, with the parent's plan.
    let errno = unsafe { become_program(plan) };
    plan.failure.store(errno, Ordering::Release);
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// Returns only on failure, with the error number.
///
/// # Safety
/// Only for the child of `clone` with CLONE_VM but neither CLONE_FILES nor CLONE_SIGHAND nor CLONE_FS: descriptors,
/// signal dispositions and working directory are its own, memory is the parent's. All pointers in `plan` are live.
unsafe fn become_program(plan: &Plan) -> c_int {
    // SAFETY: system calls on the child's own descriptor table, dispositions and directory; the pointers are those of
    // `plan`, live and null-terminated by construction. `errno` is the suspended parent thread's and free to use.
    unsafe {
        let errno = || *libc::__errno_location();
        if libc::setsid() < 0 || libc::chdir(c"/".as_ptr()) < 0 {
            return errno();
        }
        // Ignored dispositions (Rust ignores SIGPIPE) would survive execve.
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        // First above all targets, so that placing one source cannot overwrite another.
        for index in 0..plan.count {
            let source = *plan.descriptors.add(index as usize);
            let moved = libc::fcntl(source, libc::F_DUPFD_CLOEXEC, plan.count);
            if moved < 0 {
                return errno();
            }
            *plan.descriptors.add(index as usize) = moved;
        }
        for index in 0..plan.count {
            if libc::dup2(*plan.descriptors.add(index as usize), index) < 0 {
                return errno();
            }
        }
        let range = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, plan.count, u32::MAX, range) < 0 {
            return errno();
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::execve(plan.path, plan.args, plan.env);
        errno()
    }
}

pub(crate) fn block_all() -> io::Result<libc::sigset_t> {
    // SAFETY: both sets are plain memory that the calls fill; zeroed is a valid sigset_t.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) {
            0 => Ok(old),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

pub(crate) fn restore(mask: &libc::sigset_t) {
    // SAFETY: `mask` was filled by `block_all`; setting a valid mask cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::from_ref(mask), std::ptr::null_mut()) };
}

fn reap(pid: i32) {
    // SAFETY: waits for our own child, which is exiting; no status is stored.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// A copy (close-on-exec) of a descriptor that this process was started with, by its number. The original stays open, but
/// no child of [`Program::spawn`] inherits it.
///
/// # Errors
/// `EBADF` if there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl only reads the table; a number that is not open is its error. The result is new and nobody else's.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) } {
        fd if fd < 0 => Err(io::Error::last_os_error()),
        fd => {
            // SAFETY: as above.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
    }
}

/// Signals as a non-blocking, close-on-exec descriptor (`signalfd(2)`).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` in the calling thread (call it before any other thread starts) and makes the descriptor.
    /// Children started with [`Program::spawn`] do not inherit the mask.
    ///
    /// # Errors
    /// The error of `pthread_sigmask` or `signalfd`.
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is plain memory filled by sigemptyset and sigaddset; signalfd returns a new descriptor that
        // nobody else owns.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                if libc::sigaddset(&raw mut set, *signal) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
                0 => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
            match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                fd if fd < 0 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// The next pending signal's number, `None` when there is none. Several of one kind may have merged into one.
    ///
    /// # Errors
    /// The error of `read`.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
        loop {
            match rustix::io::read(&self.0, &mut record) {
                // `ssi_signo` is the first field, a native u32.
                Ok(_) => return Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shell(script: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<Child> {
        let args = [c"sh".to_owned(), c"-c".to_owned(), CString::new(script).unwrap()];
        Program { path: c"/bin/sh", args: &args, env: &[c"A=b".to_owned()], descriptors }.spawn()
    }

    #[test]
    fn a_child_has_exactly_the_listed_descriptors_and_environment() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        // Descriptor 3 is the pipe as well; the descriptor of the directory listing itself is the only other one.
        let script = "echo $A $(ls /proc/self/fd | wc -l) $(pwd) >&3";
        let child = shell(script, &[null.as_fd(), writer.as_fd(), null.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        reap(child.pid);
        assert_eq!(text, "b 5 /\n");
    }

    #[test]
    fn swapped_descriptors_are_placed_correctly() {
        let (mut one, one_writer) = io::pipe().unwrap();
        let (mut two, two_writer) = io::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let child =
            shell("echo out; echo err >&2", &[null.as_fd(), two_writer.as_fd(), one_writer.as_fd()]).unwrap();
        drop((one_writer, two_writer));
        let (mut out, mut err) = (String::new(), String::new());
        two.read_to_string(&mut out).unwrap();
        one.read_to_string(&mut err).unwrap();
        reap(child.pid);
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_missing_program_is_an_error_and_leaves_no_zombie() {
        let error =
            Program { path: c"/no/such/program", args: &[], env: &[], descriptors: &[] }.spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
