//! A netlink socket of the calling thread's network namespace.

use std::io;

use super::NetlinkError;
use super::message::{Batch, Received, attributes, messages, text, u32_at};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_CAPPED`: the refused message is not repeated in the error.
const CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The kernel never makes a dump datagram larger than this (`netlink_dump`).
const BUFFER: usize = 64 * 1024;

/// The netlink families used here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// Sockets of processes.
    SocketDiagnosis,
}

/// One answer of the kernel.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// An object that was asked for.
    Object(Received<'a>),
    /// The request with this sequence number succeeded.
    Done,
    /// It failed.
    Refused(Refusal),
}

/// A refusal as the kernel gave it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) sequence: u32,
    errno: i32,
    explanation: Option<String>,
}

impl Refusal {
    pub(crate) fn into_error(self, action: impl Into<String>) -> NetlinkError {
        NetlinkError::Refused {
            action: action.into(),
            explanation: self.explanation,
            source: io::Error::from_raw_os_error(self.errno),
        }
    }
}

/// An open socket. Belongs to the namespace of the thread that opened it, whoever uses it later.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
            // `NETLINK_SOCK_DIAG` under its older name.
            Protocol::SocketDiagnosis => libc::NETLINK_INET_DIAG,
        };
        let failed = |source| NetlinkError::Socket { action: "open", source };
        let socket = netlink_sys::Socket::new(number as isize).map_err(failed)?;
        // Both only make error messages better and shorter; kernels before 4.12 lack them.
        drop(socket.set_ext_ack(true));
        drop(socket.set_cap_ack(true));
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends a batch and hands every answer to `visit`, in order.
    pub(crate) fn exchange(
        &mut self,
        batch: &Batch,
        mut visit: impl FnMut(Answer<'_>),
    ) -> Result<(), NetlinkError> {
        loop {
            match self.socket.send(batch.bytes(), 0) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(NetlinkError::Socket { action: "send", source }),
            }
        }
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(NetlinkError::Socket { action: "receive", source }),
            }
            messages(&self.buffer).for_each(|message| visit(read(message)));
        }
    }

    /// Sends a batch whose every message asks for an acknowledgement; the first refusal is the error.
    pub(crate) fn run(
        &mut self,
        batch: &Batch,
        describe: impl Fn(u32) -> String,
    ) -> Result<(), NetlinkError> {
        let mut refused = None;
        let mut answered = false;
        self.exchange(batch, |answer| match answer {
            Answer::Refused(refusal) if refused.is_none() => refused = Some(refusal),
            Answer::Done => answered = true,
            Answer::Object(_) | Answer::Refused(_) => {}
        })?;
        match refused {
            Some(refusal) => {
                let action = describe(refusal.sequence);
                Err(refusal.into_error(action))
            }
            None if answered => Ok(()),
            None => Err(NetlinkError::Incomplete { action: describe(1) }),
        }
    }
}

fn read(message: Received<'_>) -> Answer<'_> {
    match message.kind {
        NLMSG_DONE => Answer::Done,
        NLMSG_ERROR => {
            let code = u32_at(message.payload, 0).map_or(-libc::EPROTO, u32::cast_signed);
            if code == 0 {
                return Answer::Done;
            }
            let explanation = explanation(&message);
            Answer::Refused(Refusal { sequence: message.sequence, errno: code.saturating_neg(), explanation })
        }
        _ => Answer::Object(message),
    }
}

/// The extended acknowledgement lies behind the error code and the (possibly capped) copy of the request.
fn explanation(message: &Received<'_>) -> Option<String> {
    let copy = u32_at(message.payload, 4)? as usize;
    let skip = if message.flags & CAPPED != 0 { 4 + 16 } else { 4 + copy.next_multiple_of(4) };
    let found = attributes(message.payload.get(skip..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
    Some(text(found.1)).filter(|words| !words.is_empty())
}
