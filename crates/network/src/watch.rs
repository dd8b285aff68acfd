//! The thread that follows the directories of configurations and plugins (inotify(7)).
//!
//! ```text
//! directories change ──┐                       ┌ publish a new selection
//! every few seconds ───┼─→ read them again ────┤
//! stop ────────────────┘─→ end                 └ ask a 1.1 network for its STATUS
//! ```
//!
//! A directory that does not exist cannot be watched; its nearest existing parent is, until it appears. What kind of
//! event comes does not matter, so a queue that overflowed needs no special care: everything is read again anyway.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::network::{Asked, Shared};

/// Changes come in bursts (a package is being unpacked); they are waited out.
const SETTLE: Duration = Duration::from_millis(50);
/// At most so long, lest a busy directory hides its changes for ever.
const SETTLE_ROUNDS: u32 = 10;
/// How often a 1.1 network that is not ready is asked again, as CRI-O does.
const ASK_REFUSED: Duration = Duration::from_millis(500);
/// How often one that is ready is asked again.
const ASK_READY: Duration = Duration::from_secs(5);

/// The running thread. It ends soon after this is dropped; nothing waits for it, since a plugin may be thinking.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<OwnedFd>,
}

impl Watcher {
    /// Reads the directories once, so that the first status is true, and starts the thread.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, Error> {
        let failed = |error: Errno| Error::Watch(error.into());
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?);
        let watch = Watch::new(&shared).map_err(Error::Watch)?;
        shared.load();
        let end = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("ochre-cni-watch".into())
            .spawn(move || follow(&shared, watch, &end))
            .map_err(Error::Watch)?;
        Ok(Self { stop })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Fails only for a full counter, and then the thread has been told already.
        drop(rustix::io::write(&*self.stop, &1u64.to_ne_bytes()).map_err(io::Error::from));
    }
}

/// An inotify descriptor on all directories.
struct Watch {
    inotify: OwnedFd,
    dirs: Vec<PathBuf>,
}

impl Watch {
    fn new(shared: &Shared) -> io::Result<Self> {
        let mut dirs = shared.config.plugin_dirs.clone();
        dirs.push(shared.config.network_dir.clone());
        let watch = Self { inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, dirs };
        watch.place()?;
        Ok(watch)
    }

    /// Watches every directory or what exists of its path; what is watched already stays so.
    fn place(&self) -> io::Result<()> {
        for dir in &self.dirs {
            let mut candidate: &Path = dir;
            loop {
                match inotify::add_watch(&self.inotify, candidate, events()) {
                    Ok(_) => break,
                    Err(Errno::NOENT | Errno::NOTDIR) => match candidate.parent() {
                        Some(parent) if !parent.as_os_str().is_empty() => candidate = parent,
                        _ => break,
                    },
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn drain(&self) {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.inotify, &mut buffer).is_ok_and(|count| count > 0) {}
    }
}

fn events() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR
}

enum Woken {
    Changed,
    Elapsed,
    Stopped,
}

fn follow(shared: &Shared, watch: Watch, stop: &OwnedFd) {
    let mut asked = shared.reload();
    loop {
        let pause = match asked {
            Asked::Never => None,
            Asked::Ready => Some(ASK_READY),
            Asked::Refused => Some(ASK_REFUSED),
        };
        match wait(&watch, stop, pause) {
            Woken::Stopped => return,
            Woken::Elapsed => asked = shared.reload(),
            Woken::Changed => {
                for _ in 0..SETTLE_ROUNDS {
                    watch.drain();
                    if !matches!(wait(&watch, stop, Some(SETTLE)), Woken::Changed) {
                        break;
                    }
                }
                // A parent that cannot be watched now is tried again with the next change.
                drop(watch.place());
                asked = shared.reload();
            }
        }
    }
}

fn wait(watch: &Watch, stop: &OwnedFd, pause: Option<Duration>) -> Woken {
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(&watch.inotify, PollFlags::IN)];
    match poll(&mut fds, pause.as_ref()) {
        Ok(_) if !fds[0].revents().is_empty() => Woken::Stopped,
        Ok(_) if !fds[1].revents().is_empty() => Woken::Changed,
        Ok(_) | Err(Errno::INTR) => Woken::Elapsed,
        // Neither descriptor can fail while it is held; without them there is nothing to follow.
        Err(_) => Woken::Stopped,
    }
}
