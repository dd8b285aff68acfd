//! Netlink as this crate uses it: one encoder for route and firewall messages, one socket type, no dumps kept in memory.
//!
//! Every request here is answered before `send` returns (the kernel works in the sender's context), so the socket is
//! read without ever blocking: a lost answer is an error, never a hang.

mod error;
pub(crate) mod message;
pub(crate) mod route;
mod socket;

pub use error::NetlinkError;
pub(crate) use message::{Batch, attributes};
pub(crate) use socket::{Answer, Protocol, Socket};
