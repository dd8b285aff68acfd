//! A terminal for the container.
//!
//! Both ends come from the container's own devpts by descriptor: the multiplexer is proven to be one, and the slave
//! is asked from the master (`TIOCGPTPEER`), never looked up by name (CVE-2025-52565).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_sys::rooted::Root;
use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::{DEVPTS_MAGIC, attach, copy_of, filesystem_magic, mount_point};
use crate::spec::{ConsoleSize, User};

/// Makes a terminal and sends its master through `socket`. With `bind`, the slave also lies on `/dev/console`.
///
/// # Errors
/// The error of the first step that failed.
pub(crate) fn open(
    root: &Root,
    socket: &OwnedFd,
    size: Option<ConsoleSize>,
    owner: &User,
    bind: bool,
) -> io::Result<OwnedFd> {
    let multiplexer = Path::new("/dev/pts/ptmx");
    let master = root.open_at(multiplexer, OFlags::RDWR | OFlags::NOCTTY, 0)?;
    if filesystem_magic(&master)? != DEVPTS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/pts/ptmx is no terminal multiplexer"));
    }
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some(ConsoleSize { height, width }) = size {
        rustix::termios::tcsetwinsize(
            &master,
            Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 },
        )?;
    }
    rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(owner.uid)), None)?;
    if bind {
        let place = mount_point(root, Path::new("/dev/console"), false).map_err(io::Error::other)?;
        attach(copy_of(&slave, false)?, place)?;
    }
    send(socket, &master)?;
    Ok(slave)
}

/// The protocol of runc: one message with any text and the descriptor.
fn send(socket: &OwnedFd, master: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(b"/dev/ptmx")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Makes the terminal the process's own: new session, controlling terminal, standard streams.
///
/// # Errors
/// The error of the first step that failed.
pub(crate) fn adopt(slave: &OwnedFd) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(slave)?;
    rustix::stdio::dup2_stdin(slave)?;
    rustix::stdio::dup2_stdout(slave)?;
    rustix::stdio::dup2_stderr(slave)?;
    Ok(())
}

/// Connects to the socket that receives the terminal.
///
/// # Errors
/// The error of connecting.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    Ok(std::os::unix::net::UnixStream::connect(path)?.into())
}
