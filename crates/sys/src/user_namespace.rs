//! New user namespaces, and namespaces that they own, from a threaded process.
//!
//! A thread cannot enter or make a user namespace (its process has one user namespace), and a network namespace belongs
//! to the user namespace it was made in. So all of them are born together in one `clone3`, with a child that does nothing
//! but wait: the kernel makes the user namespace first and lets the others belong to it. From outside, the caller writes
//! the mappings, works inside the others and pins what it wants to keep.
//!
//! ```text
//! caller   clone3 ──► uid_map, gid_map ──► visit: sysctls, host name ──► bind /proc/<child>/ns/<kind> ──► drop
//! child    └─ closes every descriptor but the pipe ── reads from it ── ends with the first answer or the caller's end
//! ```
//!
//! The child is a private copy of a threaded process: it makes system calls and nothing else. It shares no memory with
//! the caller, so that nobody inside the new user namespace can reach the caller through it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::namespace::{self, Kind, Pin};

/// A range of ids: `count` ids from `inside` on are those from `outside` on in the parent namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A user namespace and the namespaces that belong to it, alive as long as this value or a pin of them.
#[derive(Debug)]
pub struct UserNamespace {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its end is the child's end.
    _alive: OwnedFd,
}

impl UserNamespace {
    /// Makes a user namespace with these mappings, and one namespace of each of `kinds` in it.
    ///
    /// # Errors
    /// The error of `clone3` (`ENOSPC` beyond `user.max_user_namespaces`, `EPERM` where they are forbidden) or of writing
    /// the mappings (`EINVAL` for ranges that overlap or have no ids).
    pub fn new(uids: &[IdRange], gids: &[IdRange], kinds: &[Kind]) -> io::Result<Self> {
        let flags = kinds.iter().fold(libc::CLONE_NEWUSER, |flags, kind| flags | kind.clone_flag());
        let made = start(flags)?;
        let pid = made.pid.as_raw_nonzero();
        std::fs::write(format!("/proc/{pid}/uid_map"), text(uids))?;
        std::fs::write(format!("/proc/{pid}/gid_map"), text(gids))?;
        Ok(made)
    }

    /// The user namespace itself, for instance as the mapping of a mount.
    ///
    /// # Errors
    /// The error of opening it.
    pub fn open(&self) -> io::Result<OwnedFd> {
        std::fs::File::open(self.path("user")).map(OwnedFd::from)
    }

    /// Runs `work` inside the namespaces `kinds` that were made with it, with the caller's identity and rights.
    ///
    /// # Errors
    /// The error of starting the thread, of `setns`, or of `work`.
    pub fn visit<T: Send>(
        &self,
        kinds: &[Kind],
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        namespace::in_all(&self.pidfd, kinds, work)
    }

    /// Pins the user namespace to `user` and the others to their targets, as [`namespace::pin`] does: all or none.
    ///
    /// # Errors
    /// The error of the step that failed.
    pub fn pin(&self, user: &Path, targets: &[(Kind, &Path)]) -> io::Result<()> {
        let pins = std::iter::once((self.path("user"), user))
            .chain(targets.iter().map(|(kind, target)| (self.path(kind.name()), *target)));
        namespace::pin_all(pins.map(|(source, target)| Pin { source, target }))
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid.as_raw_nonzero())
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        // It waits for nothing but this and has nothing to lose; an error means that it is gone.
        let _gone = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let wait = || rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED);
        while matches!(wait(), Err(rustix::io::Errno::INTR)) {}
    }
}

fn text(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect()
}

fn start(flags: libc::c_int) -> io::Result<UserNamespace> {
    let (wait, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is a plain structure of integers, for which all zeroes means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (flags | libc::CLONE_PIDFD) as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    let wait_number = wait.as_raw_fd();
    let mask = crate::spawn::block_all()?;
    // SAFETY: `args` and the descriptor slot live across the call, and the size is that of the structure. Without CLONE_VM
    // the child has a private copy of this memory. Other threads may have held locks in it, so the child only makes system
    // calls, which take none, until it exits; every signal is blocked, so no handler of the caller can run in it.
    let pid = unsafe {
        let pid =
            libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<libc::clone_args>());
        if pid == 0 {
            linger(wait_number);
        }
        pid
    };
    let failure = io::Error::last_os_error();
    crate::spawn::restore(&mask);
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
        return Err(failure);
    };
    // SAFETY: a successful clone3 with CLONE_PIDFD stored a new descriptor that nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(UserNamespace { pid, pidfd, _alive: alive })
}

/// The child's whole life: it keeps nothing of the caller's open, lest it keep a lock or a socket alive, and ends with
/// the caller.
///
/// # Safety
/// Only for the child of `clone3` without `CLONE_FILES`: descriptors are its own copies.
unsafe fn linger(wait: libc::c_int) -> ! {
    // SAFETY: system calls on the child's own descriptor table and one byte of its own stack; none of these functions
    // takes a lock or touches the heap.
    unsafe {
        libc::dup2(wait, 0);
        libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0);
        let mut byte = 0_u8;
        libc::read(0, std::ptr::from_mut(&mut byte).cast(), 1);
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A directory of one test's own; what was pinned in it goes with it.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ochre-userns-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
                drop(namespace::unpin(&entry.path()));
            }
            drop(std::fs::remove_dir(&self.0));
        }
    }

    const MAP: [IdRange; 1] = [IdRange { inside: 0, outside: 100_000, count: 65_536 }];

    fn read(name: &str, made: &UserNamespace) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", made.pid.as_raw_nonzero())).unwrap()
    }

    #[test]
    fn namespaces_belong_to_the_user_namespace_and_can_be_worked_in_and_pinned() {
        let directory = Scratch::new("owned");
        let (user, net) = (directory.0.join("user"), directory.0.join("net"));
        let made = UserNamespace::new(&MAP, &MAP, &[Kind::Net, Kind::Uts]).unwrap();
        assert_eq!(read("uid_map", &made).split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        let inside = made.visit(&[Kind::Net, Kind::Uts], || {
            rustix::system::sethostname(b"inside")?;
            Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
        });
        assert_ne!(inside.unwrap(), own);
        made.pin(&user, &[(Kind::Net, &net)]).unwrap();
        let pid = made.pid.as_raw_nonzero();
        drop(made);
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the child is gone and waited for");
        let owner = std::fs::File::open(&net).map(|net| ns_owner(&net)).unwrap();
        assert_eq!(owner.metadata().unwrap().ino(), std::fs::metadata(&user).unwrap().ino());
    }

    /// `NS_GET_USERNS` (ioctl_ns(2)).
    fn ns_owner(namespace: &std::fs::File) -> std::fs::File {
        // SAFETY: the call takes no argument and returns a new descriptor that nobody else owns.
        unsafe {
            let fd = libc::ioctl(namespace.as_raw_fd(), 0xb701);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            std::fs::File::from_raw_fd(fd)
        }
    }

    #[test]
    fn refused_mappings_leave_no_process() {
        let twice = [MAP[0], MAP[0]];
        let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let before = children();
        UserNamespace::new(&twice, &MAP, &[]).unwrap_err();
        assert_eq!(children(), before);
    }

    #[test]
    fn a_target_that_cannot_be_made_leaves_no_pin() {
        let directory = Scratch::new("half");
        let user = directory.0.join("user");
        let made = UserNamespace::new(&MAP, &MAP, &[Kind::Ipc]).unwrap();
        made.pin(&user, &[(Kind::Ipc, Path::new("/no/such/directory/ipc"))]).unwrap_err();
        assert!(!user.exists());
    }
}
