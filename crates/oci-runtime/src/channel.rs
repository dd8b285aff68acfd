//! What the runtime and the process it makes say to each other.
//!
//! ```text
//! runtime                                   child
//!    │ ── Continue ─────────────────────────► │   its id maps are written, it is in its groups
//!    │ ◄───────────────── Warning* ────────── │
//!    │ ◄───────────────── RunHooks ────────── │   only with hooks for the runtime's namespaces
//!    │ ── Continue ─────────────────────────► │
//!    │ ◄─────────── Moved { pid } ─────────── │   only when the user namespace is joined: a new process went on
//!    │ ◄───────────────── Ready ───────────── │   everything is made, its program waits for `start`
//! ```
//!
//! `Failed` may come at any time instead; a closed socket means that the child died. Messages are packets of a
//! socket pair that nobody else holds.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Longer messages are cut.
const MAX_TEXT: usize = 8 << 10;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Go on.
    Continue,
    /// Something could only be had in a weaker form.
    Warning(String),
    /// Run the hooks that belong before the root is entered.
    RunHooks,
    /// The container's first process is another one, by its id in the runtime's PID namespace.
    Moved(i32),
    /// Done.
    Ready,
    /// It cannot be made.
    Failed(String),
}

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Makes both ends.
    ///
    /// # Errors
    /// The error of `socketpair`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The error of `send`; `EPIPE` when the other end is gone.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        let (tag, text) = match message {
            Message::Continue => (b'c', String::new()),
            Message::Warning(text) => (b'w', text.clone()),
            Message::RunHooks => (b'h', String::new()),
            Message::Moved(pid) => (b'm', pid.to_string()),
            Message::Ready => (b'r', String::new()),
            Message::Failed(text) => (b'f', text.clone()),
        };
        let mut packet = vec![tag];
        packet.extend(text.bytes().take(MAX_TEXT));
        rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives a message.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end is gone, `InvalidData` for anything but a message.
    pub fn receive(&self) -> io::Result<Message> {
        let mut buffer = vec![0; MAX_TEXT + 1];
        let length = loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        let (tag, text) = buffer[..length].split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(match tag {
            b'c' => Message::Continue,
            b'w' => Message::Warning(text),
            b'h' => Message::RunHooks,
            b'm' => Message::Moved(text.parse().map_err(|_| io::ErrorKind::InvalidData)?),
            b'r' => Message::Ready,
            b'f' => Message::Failed(text),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    /// Waits for [`Message::Continue`].
    ///
    /// # Errors
    /// As [`Channel::receive`]; `InvalidData` for any other message.
    pub fn wait_continue(&self) -> io::Result<()> {
        match self.receive()? {
            Message::Continue => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_the_end_is_noticed() {
        let (a, b) = Channel::pair().unwrap();
        let messages = [
            Message::Continue,
            Message::Warning("w".into()),
            Message::Moved(7),
            Message::Ready,
            Message::Failed(String::new()),
        ];
        for message in &messages {
            a.send(message).unwrap();
        }
        a.send(&Message::Failed("x".repeat(100_000))).unwrap();
        drop(a);
        for message in messages {
            assert_eq!(b.receive().unwrap(), message);
        }
        assert_eq!(b.receive().unwrap(), Message::Failed("x".repeat(MAX_TEXT)));
        assert_eq!(b.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
