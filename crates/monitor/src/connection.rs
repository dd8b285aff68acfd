//! One connection of a daemon. What it sends is judged frame by frame; what it does not read is bounded, and a daemon
//! that is too slow loses its connection: it comes back and gets a snapshot.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use ochre_monitor_api::wire::{Inbox, Outgoing, Received};
use ochre_monitor_api::{Frame, Notice};
use rustix::event::epoll::EventFlags;
use rustix::net::SocketFlags;

use crate::poll::{Poll, Source};

/// Bytes that may wait for one daemon.
const BACKLOG: usize = 256 * 1024;

pub(crate) struct Connection {
    pub(crate) serial: u32,
    socket: OwnedFd,
    inbox: Inbox,
    outbox: VecDeque<Outgoing>,
    greeted: bool,
    /// The first message waits for room in the socket.
    blocked: bool,
}

/// Who waits for the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) connection: u32,
    pub(crate) request: u32,
}

/// The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Connection {
    /// Accepts the next connection; `None` when nobody waits. Peers other than root and our own user are turned away.
    pub(crate) fn accept(listener: &OwnedFd, serial: u32, poll: &Poll) -> io::Result<Option<Self>> {
        let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let peer = rustix::net::sockopt::socket_peercred(&socket)?;
        if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        poll.add(&socket, Source::Connection(serial), EventFlags::IN)?;
        Ok(Some(Self {
            serial,
            socket,
            inbox: Inbox::default(),
            outbox: VecDeque::new(),
            greeted: false,
            blocked: false,
        }))
    }

    /// Reads what has arrived; `None` when there is nothing whole.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Result<Option<Frame>, Gone> {
        loop {
            if let Some(frame) = self.inbox.next_frame().map_err(|_| Gone)? {
                return Ok(Some(frame));
            }
            match self.inbox.receive(&self.socket, scratch) {
                Ok(Received::Bytes) => {}
                Ok(Received::WouldBlock) => return Ok(None),
                Ok(Received::Closed) | Err(_) => return Err(Gone),
            }
        }
    }

    /// From now on notices are sent, too.
    pub(crate) fn greet(&mut self) {
        self.greeted = true;
    }

    pub(crate) fn notify(&mut self, notice: &Notice, poll: &Poll) -> Result<(), Gone> {
        if self.greeted { self.send(notice.encode(), poll) } else { Ok(()) }
    }

    pub(crate) fn send(&mut self, message: Outgoing, poll: &Poll) -> Result<(), Gone> {
        let waiting: usize = self.outbox.iter().map(Outgoing::remaining).sum();
        if waiting + message.remaining() > BACKLOG || !message.fits() {
            return Err(Gone);
        }
        self.outbox.push_back(message);
        if self.blocked { Ok(()) } else { self.flush(poll) }
    }

    /// Sends what waits, and asks to be woken when the socket has room if something is left.
    pub(crate) fn flush(&mut self, poll: &Poll) -> Result<(), Gone> {
        while let Some(first) = self.outbox.front_mut() {
            match first.send(&self.socket) {
                Ok(true) => drop(self.outbox.pop_front()),
                Ok(false) => return self.block(poll, true),
                Err(_) => return Err(Gone),
            }
        }
        self.outbox = VecDeque::new();
        self.block(poll, false)
    }

    fn block(&mut self, poll: &Poll, blocked: bool) -> Result<(), Gone> {
        if self.blocked != blocked {
            let interest = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            poll.modify(&self.socket, Source::Connection(self.serial), interest).map_err(|_| Gone)?;
            self.blocked = blocked;
        }
        Ok(())
    }
}
