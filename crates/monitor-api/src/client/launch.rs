//! Starting a monitor: its directory, its listening socket (made here, so that it can be connected to before the monitor
//! has even begun to run), and the program in a session of its own with nothing else of the daemon's.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::spawn::{Child, Program};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::Error;

/// Connections that may wait while the monitor starts or is busy.
const BACKLOG: i32 = 16;

/// How to start a monitor.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// The `ochre-monitor` program; absolute.
    pub binary: PathBuf,
    /// The monitor's own directory; absolute. Made with mode 0700 if it is missing (its parent must exist).
    pub dir: PathBuf,
    /// The monitor's `oom_score_adj`; `None` leaves the daemon's. A value that this machine does not let the daemon set
    /// (no `CAP_SYS_RESOURCE`) is left out silently: the daemon finds out once at its start and warns then.
    pub oom_score_adj: Option<i32>,
}

/// A path to the socket that fits into a socket address however long the directory's is.
fn short_path(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), crate::SOCKET)
}

pub(super) async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    let failed = |source: io::Error| Error::Connect { path: socket.into(), source };
    let dir = socket.parent().filter(|_| socket.file_name().is_some_and(|name| name == crate::SOCKET));
    let dir = dir.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let dir = open_dir(dir).map_err(failed)?;
    UnixStream::connect(short_path(&dir)).await.map_err(failed)
}

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

pub(super) async fn launch(options: LaunchOptions) -> Result<(), Error> {
    let binary = options.binary.clone();
    let started = tokio::task::spawn_blocking(move || start(&options)).await;
    let failed = |source: io::Error| Error::Launch { binary: binary.clone(), source };
    let child = started.map_err(|error| failed(io::Error::other(error)))??;
    tokio::spawn(reap(child.pidfd));
    Ok(())
}

/// Waits for the end of a monitor that this daemon has started, so that it does not stay a zombie.
async fn reap(pidfd: OwnedFd) {
    // Where signals cannot be received it stays a zombie until the daemon ends; it works all the same.
    let Ok(mut children) = signal(SignalKind::child()) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Anything but "still alive" ends this: it was reaped here or by somebody else.
    while let Ok(None) = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        if children.recv().await.is_none() {
            return;
        }
    }
}

fn start(options: &LaunchOptions) -> Result<Child, Error> {
    let LaunchOptions { binary, dir, oom_score_adj } = options;
    let at_dir = |source: io::Error| Error::Directory { path: dir.clone(), source };
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at_dir(error)),
        _ => {}
    }
    let dir_fd = open_dir(dir).map_err(at_dir)?;
    let listener =
        listen(&dir_fd).map_err(at_dir)?.ok_or_else(|| Error::AlreadyRunning { dir: dir.clone() })?;
    let log_flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let log = rustix::fs::openat(&dir_fd, crate::LOG, log_flags, Mode::from_raw_mode(0o600));
    let log = log.map_err(|error| at_dir(error.into()))?;
    let failed = |source: io::Error| Error::Launch { binary: binary.clone(), source };
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(|error| failed(error.into()))?;
    let text = |text: &Path| CString::new(text.as_os_str().as_bytes()).map_err(|error| failed(error.into()));
    let path = text(binary)?;
    let args = [c"ochre-monitor".to_owned(), c"--dir".to_owned(), text(dir)?];
    let descriptors = [null.as_fd(), null.as_fd(), log.as_fd(), listener.as_fd()];
    let child =
        Program { path: &path, args: &args, env: &[], descriptors: &descriptors }.spawn().map_err(failed)?;
    if let Some(score) = oom_score_adj {
        match std::fs::write(format!("/proc/{}/oom_score_adj", child.pid), score.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            // It has ended already; connecting will tell.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(failed)?,
        }
    }
    Ok(child)
}

/// The listening socket; `None` if somebody listens there.
fn listen(dir: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let address = SocketAddrUnix::new(short_path(dir))?;
    let new =
        || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    match rustix::net::connect(new()?, &address) {
        Ok(()) => return Ok(None),
        Err(rustix::io::Errno::NOENT) => {}
        // The socket of a monitor that is gone.
        Err(rustix::io::Errno::CONNREFUSED) => rustix::fs::unlinkat(dir, crate::SOCKET, AtFlags::empty())?,
        Err(error) => return Err(error.into()),
    }
    let socket = new()?;
    // Decides the mode of the file that bind makes.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Some(socket))
}
