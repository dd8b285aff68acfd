//! SPDY/3.1, as far as the streaming protocols of Kubernetes use it, for both ends of a connection.
//!
//! ```text
//!   Reader, Writer ──┐                        ┌── Decoder ◄── bytes of the peer
//!   (stream.rs)      ├── Table (table.rs) ────┤   (frame.rs, headers.rs)
//!   Session, Incoming┘   all state, no I/O    └── Encoder ──► bytes to the peer
//!   (session.rs)                                  Driver (driver.rs) moves them
//! ```
//!
//! The table is the whole state of a session and does no I/O; a lock guards it, held for single steps only. The
//! driver is the one future that reads and writes the connection, and whoever owns the session polls it.
//!
//! **Flow control.** The Go peers (moby/spdystream: the kubelet, crictl, kubectl) send no WINDOW_UPDATE and ignore
//! those they get, so the windows of the specification would stop every transfer after 64 KiB. As they do, this
//! session neither counts windows nor lets a queue grow: a stream whose reader is slow fills a small buffer, and then
//! the whole connection is not read until there is room again; a writer waits while its stream or the session has
//! too much unsent.
//!
//! Every count and length from the wire is checked against a constant before anything is allocated
//! (CVE-2026-35469).

mod driver;
mod entry;
mod frame;
mod headers;
mod output;
mod session;
mod stream;
mod table;

pub use driver::{Driver, SessionError};
pub use frame::{Decoder, Encoder, Frame, FrameError};
pub use headers::{Headers, HeadersError};
pub use session::{Incoming, Role, Session, session};
pub use stream::{Reader, Stream, StreamError, Writer};
