//! The connection: socket, authentication, calls and the signals that come between.
//!
//! ```text
//! connect ──> "\0AUTH EXTERNAL <uid in hex>", "BEGIN" ──> "OK <guid>" ──> messages
//! ```
//!
//! Through a broker (the system bus) the connection also needs `Hello`, a match rule and `Subscribe`, and it must know
//! systemd's unique name: others on the bus can send a signal that looks like systemd's.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::Error;
use crate::wire::{Call, Message, MessageKind, Writer};

const PRIVATE_SOCKET: &str = "/run/systemd/private";
const SYSTEM_SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long an operation, its job included, may take where the caller says nothing else. A busy systemd takes seconds.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many early signals are kept while a reply is awaited.
const MAX_PENDING: usize = 1024;
/// Longest line of the authentication dialogue.
const MAX_LINE: usize = 4096;

/// A connection to systemd.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    inbox: Vec<u8>,
    serial: u32,
    timeout: Duration,
    /// systemd's unique name where a broker is between; signals of anybody else are not believed.
    peer: Option<String>,
    /// `JobRemoved` signals that came before the reply that names the job.
    pending: VecDeque<Message>,
}

impl Bus {
    /// Connects to systemd's private socket, which only root may, or else to the system bus.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Authentication`] and the errors of a connection.
    pub fn system() -> Result<Self, Error> {
        if let Ok(bus) = Self::private(Path::new(PRIVATE_SOCKET)) {
            return Ok(bus);
        }
        Self::brokered(Path::new(SYSTEM_SOCKET))
    }

    /// Connects to systemd itself at `path`, without a broker.
    ///
    /// # Errors
    /// As [`Bus::system`].
    pub fn private(path: &Path) -> Result<Self, Error> {
        Self::open(path)
    }

    /// Connects to systemd through the message broker at `path`.
    ///
    /// # Errors
    /// As [`Bus::system`].
    pub fn brokered(path: &Path) -> Result<Self, Error> {
        let mut bus = Self::open(path)?;
        let deadline = bus.deadline();
        bus.call(&broker_call("Hello", "", Writer::default()), "", deadline)?;
        let mut body = Writer::default();
        body.string("org.freedesktop.systemd1");
        let owner = bus.call(&broker_call("GetNameOwner", "s", body), "", deadline)?;
        bus.peer = Some(owner.arguments("s")?.string()?.to_owned());
        let mut body = Writer::default();
        body.string(
            "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
             member='JobRemoved'",
        );
        bus.call(&broker_call("AddMatch", "s", body), "", deadline)?;
        bus.call(&systemd_call("Subscribe", "", Writer::default()), "", deadline)?;
        Ok(bus)
    }

    /// Replaces the 30 s that each operation, its job included, may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let deadline = Instant::now() + DEFAULT_TIMEOUT;
        let socket =
            connect(path, deadline).map_err(|source| Error::Connect { path: path.to_path_buf(), source })?;
        let mut bus = Self {
            socket,
            inbox: Vec::new(),
            serial: 0,
            timeout: DEFAULT_TIMEOUT,
            peer: None,
            pending: VecDeque::new(),
        };
        bus.authenticate(deadline)?;
        Ok(bus)
    }

    fn authenticate(&mut self, deadline: Instant) -> Result<(), Error> {
        let uid = rustix::process::geteuid().as_raw();
        let hex: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        // `BEGIN` goes along with the first line: systemd's own bus code, when it reads `BEGIN` and a message at once,
        // leaves the message lying until more bytes come. Once `OK` is here, `BEGIN` has been read.
        self.send(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes(), "AUTH", deadline)?;
        let line = self.line(deadline)?;
        if !line.starts_with(b"OK ") {
            return Err(Error::Authentication { uid });
        }
        Ok(())
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.inbox.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            if self.inbox.len() > MAX_LINE {
                return Err(Error::Protocol { reason: "an endless line of authentication" });
            }
            self.receive("AUTH", deadline)?;
        }
    }

    /// Makes a call and waits for its reply; `unit` is what an error will name.
    pub(crate) fn call(&mut self, call: &Call, unit: &str, deadline: Instant) -> Result<Message, Error> {
        // Zero is no serial (D-Bus specification, "Message Format").
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let bytes = call.encode(self.serial)?;
        self.pending.clear();
        self.send(&bytes, call.member, deadline)?;
        loop {
            let message = self.message(call.member, deadline)?;
            if message.reply_serial == Some(self.serial) {
                match message.kind {
                    MessageKind::Reply => return Ok(message),
                    MessageKind::Error => return Err(refusal(call.member, unit, &message)),
                    MessageKind::Call | MessageKind::Signal | MessageKind::Unknown => {}
                }
            } else if self.is_job_removed(&message) {
                if self.pending.len() == MAX_PENDING {
                    self.pending.pop_front();
                }
                self.pending.push_back(message);
            }
        }
    }

    /// The next `JobRemoved`, first of those that came before the reply.
    pub(crate) fn job_removed(&mut self, method: &'static str, deadline: Instant) -> Result<Message, Error> {
        if let Some(message) = self.pending.pop_front() {
            return Ok(message);
        }
        loop {
            let message = self.message(method, deadline)?;
            if self.is_job_removed(&message) {
                return Ok(message);
            }
        }
    }

    fn is_job_removed(&self, message: &Message) -> bool {
        message.kind == MessageKind::Signal
            && message.member == "JobRemoved"
            && message.interface == "org.freedesktop.systemd1.Manager"
            && self.peer.as_ref().is_none_or(|peer| *peer == message.sender)
    }

    fn message(&mut self, method: &'static str, deadline: Instant) -> Result<Message, Error> {
        loop {
            if let Some(message) = Message::take(&mut self.inbox)? {
                return Ok(message);
            }
            self.receive(method, deadline)?;
        }
    }

    fn send(&mut self, bytes: &[u8], method: &'static str, deadline: Instant) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, method, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
                Err(error) => return Err(Error::Connection { source: error.into() }),
            }
        }
        Ok(())
    }

    fn receive(&mut self, method: &'static str, deadline: Instant) -> Result<(), Error> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())
                .map(|(_, length)| length)
            {
                Ok(0) | Err(Errno::CONNRESET) => return Err(Error::Closed),
                Ok(length) => {
                    self.inbox.extend_from_slice(&buffer[..length]);
                    // A peer that never stops sending must not outrun the deadline.
                    if Instant::now() > deadline {
                        return Err(Error::NoAnswer { method });
                    }
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, method, deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Connection { source: error.into() }),
            }
        }
    }

    fn wait(&self, events: PollFlags, method: &'static str, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::NoAnswer { method });
        }
        let mut fds = [PollFd::new(&self.socket, events)];
        let left = Timespec::try_from(left).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Connection { source: error.into() }),
        }
    }
}

/// Connects without blocking: a listener with a full backlog answers EAGAIN, and only time helps.
fn connect(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn refusal(method: &'static str, unit: &str, message: &Message) -> Error {
    let unit = unit.to_owned();
    match message.error_name.as_str() {
        "org.freedesktop.systemd1.UnitExists" => Error::UnitExists { unit },
        "org.freedesktop.systemd1.NoSuchUnit" => Error::NoSuchUnit { unit },
        name => {
            Error::Refused { method, unit, name: shortened(name), message: shortened(message.error_text()) }
        }
    }
}

/// What another program wrote, short enough for a log line.
fn shortened(text: &str) -> String {
    text.chars().take(512).collect()
}

fn broker_call(member: &'static str, signature: &'static str, body: Writer) -> Call {
    Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
        signature,
        body,
    }
}

pub(crate) fn systemd_call(member: &'static str, signature: &'static str, body: Writer) -> Call {
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
        body,
    }
}
