//! Entering and pinning namespaces from threads of their own.
//!
//! A thread that changed its namespaces must never run anything else: the next job on it would work in the wrong
//! network. So every visit gets a fresh thread of the standard library that ends with the visit; a pool's threads
//! are never touched.
//!
//! A namespace lives without processes as long as a bind mount of its `nsfs` file exists:
//!
//! ```text
//! pin:    fresh thread ── unshare ── prepare (sysctls, host name, lo) ── bind /proc/self/task/<tid>/ns/<kind> ── ends
//! visit:  fresh thread ── setns ── work ── ends
//! unpin:  umount ── unlink
//! ```

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

/// Threads of this module only make system calls; the default stack of 2 MiB would be waste.
const STACK: usize = 256 * 1024;

/// Kinds of namespaces a thread may enter or make (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Network devices, addresses, routes, firewall.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name and NIS domain name.
    Uts,
}

impl Kind {
    /// The file name below `/proc/<pid>/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    const fn unshare_flag(self) -> UnshareFlags {
        match self {
            Self::Net => UnshareFlags::NEWNET,
            Self::Ipc => UnshareFlags::NEWIPC,
            Self::Uts => UnshareFlags::NEWUTS,
        }
    }

    /// For `clone3`.
    pub(crate) const fn clone_flag(self) -> libc::c_int {
        match self {
            Self::Net => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
        }
    }

    const fn set_flag(self) -> ThreadNameSpaceType {
        match self {
            Self::Net => ThreadNameSpaceType::NETWORK,
            Self::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
            Self::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        }
    }

    const fn link_type(self) -> LinkNameSpaceType {
        match self {
            Self::Net => LinkNameSpaceType::Network,
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        }
    }
}

/// Runs `work` inside the namespace `namespace` and waits for it. A panic of `work` goes on in the caller.
///
/// `/proc/sys/net` and new sockets belong to the entered namespace; the thread's working directory, root and mounts
/// are the caller's.
///
/// # Errors
/// The error of starting the thread or of `setns`: `EINVAL` for a descriptor that is not a namespace of this kind.
pub fn in_namespace<T: Send>(
    namespace: impl AsFd,
    kind: Kind,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let namespace: BorrowedFd<'_> = namespace.as_fd();
    on_fresh_thread("ochre-visit", move || {
        rustix::thread::move_into_link_name_space(namespace, Some(kind.link_type()))?;
        Ok(work())
    })
}

/// Makes one new namespace per entry of `targets`, runs `prepare` inside all of them and pins each to its file, which
/// is made with mode 0600 when missing (its directory must exist). All or nothing: after an error no target stays
/// mounted and no file made by the call stays.
///
/// # Errors
/// The error of the step that failed: thread, `unshare`, `prepare`, creating the file, `mount`.
pub fn pin(targets: &[(Kind, &Path)], prepare: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    let flags = targets.iter().fold(UnshareFlags::empty(), |flags, (kind, _)| flags | kind.unshare_flag());
    on_fresh_thread("ochre-pin", move || {
        // SAFETY: unshare() of network, IPC and UTS namespaces changes no memory and no descriptor table; it applies
        // to the calling thread alone, which was made for this and ends right after.
        unsafe { rustix::thread::unshare_unsafe(flags) }?;
        prepare()?;
        let own = rustix::thread::gettid().as_raw_nonzero();
        pin_all(targets.iter().map(|(kind, target)| Pin {
            source: format!("/proc/self/task/{own}/ns/{}", kind.name()),
            target,
        }))
    })
}

/// Runs `work` on a fresh thread inside the namespaces `kinds` of the process `process` (Linux 5.8).
pub(crate) fn in_all<T: Send>(
    process: &OwnedFd,
    kinds: &[Kind],
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let flags = kinds.iter().fold(ThreadNameSpaceType::empty(), |flags, kind| flags | kind.set_flag());
    on_fresh_thread("ochre-visit", move || {
        if !flags.is_empty() {
            rustix::thread::move_into_thread_name_spaces(process.as_fd(), flags)?;
        }
        work()
    })
}

/// Runs `work` in a mount namespace of its own, which ends with it: nothing that is mounted there shows anywhere else,
/// and nothing of it is left after a crash. The working directory is its own as well. What `work` keeps open, such as a
/// detached copy of a mount (`open_tree`), lives on.
///
/// # Errors
/// The error of starting the thread, of `unshare`, or of `work`.
pub fn in_private_mounts<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_fresh_thread("ochre-mounts", move || {
        // SAFETY: unshare() of the mount namespace (and with it of root, working directory and umask) changes no memory
        // and no descriptor table; it applies to the calling thread alone, which was made for this and ends right after.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        work()
    })
}

/// A namespace file and where it is to be found later.
pub(crate) struct Pin<'a> {
    /// A file of `nsfs`.
    pub(crate) source: String,
    /// Where it is pinned.
    pub(crate) target: &'a Path,
}

/// All or none.
pub(crate) fn pin_all<'a>(pins: impl Iterator<Item = Pin<'a>>) -> io::Result<()> {
    let mut made: Vec<Made<'_>> = Vec::new();
    for Pin { source, target } in pins {
        match pin_one(&source, target) {
            Ok(created) => made.push(Made { target, created }),
            Err(error) => {
                made.iter().rev().for_each(Made::undo);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Removes a pin: unmounts the file and unlinks it. What is gone already is fine.
///
/// The namespace itself lives on while processes or descriptors hold it.
///
/// # Errors
/// Any other error of `umount2` or `unlink`.
pub fn unpin(path: &Path) -> io::Result<()> {
    unmount(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Made<'a> {
    target: &'a Path,
    created: bool,
}

impl Made<'_> {
    /// The failure that led here is the one worth reporting; a pin that cannot be undone is seen by the next start.
    fn undo(&self) {
        drop(if self.created { unpin(self.target) } else { unmount(self.target) });
    }
}

/// Returns whether the target file had to be made.
fn pin_one(source: &str, target: &Path) -> io::Result<bool> {
    let mut create = OpenOptions::new();
    create.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let created = match create.open(target) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    if let Err(error) = rustix::mount::mount_bind(source, target) {
        if created {
            drop(std::fs::remove_file(target));
        }
        return Err(error.into());
    }
    Ok(created)
}

/// Takes every mount off `path`; a pin may have been made twice by a start that was killed in between.
fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn on_fresh_thread<T: Send>(name: &str, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    struct Pinned(std::path::PathBuf);

    impl Pinned {
        fn in_scratch(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ochre-namespace-{name}-{}", std::process::id()));
            Self(path)
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            drop(unpin(&self.0));
        }
    }

    fn own(kind: Kind) -> u64 {
        std::fs::metadata(format!("/proc/thread-self/ns/{}", kind.name())).unwrap().ino()
    }

    #[test]
    fn a_pinned_namespace_can_be_visited_and_leaves_no_trace_when_unpinned() {
        let (net, uts) = (Pinned::in_scratch("net"), Pinned::in_scratch("uts"));
        let before = (own(Kind::Net), own(Kind::Uts));
        pin(&[(Kind::Net, &net.0), (Kind::Uts, &uts.0)], || {
            rustix::system::sethostname(b"pinned").map_err(io::Error::from)
        })
        .unwrap();
        assert_eq!((own(Kind::Net), own(Kind::Uts)), before, "the caller stays where it was");

        let inside = in_namespace(File::open(&net.0).unwrap(), Kind::Net, || own(Kind::Net)).unwrap();
        assert_ne!(inside, before.0);
        let name = in_namespace(File::open(&uts.0).unwrap(), Kind::Uts, || {
            rustix::system::uname().nodename().to_owned()
        })
        .unwrap();
        assert_eq!(name.as_c_str(), c"pinned");
        // The kind is checked: a network is no UTS namespace.
        assert!(in_namespace(File::open(&net.0).unwrap(), Kind::Uts, || ()).is_err());

        unpin(&net.0).unwrap();
        unpin(&net.0).unwrap();
        assert!(!net.0.exists());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(net.0.to_str().unwrap()));
    }

    #[test]
    fn a_failure_half_way_undoes_the_first_half() {
        let net = Pinned::in_scratch("half");
        let missing = Path::new("/no/such/directory/ipc");
        pin(&[(Kind::Net, &net.0), (Kind::Ipc, missing)], || Ok(())).unwrap_err();
        assert!(!net.0.exists());
        let refused = pin(&[(Kind::Net, &net.0)], || Err(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(!net.0.exists());
    }
}
