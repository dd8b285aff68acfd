//! The streaming server of CRI: exec, attach and port-forward over SPDY/3.1 and WebSocket.
//!
//! The engine announces a session and gives its URL to the kubelet or crictl; the client connects, names the session by
//! its one-time token, upgrades the connection, and its streams are handed to the [`Backend`].
//!
//! ```text
//!   server ─► connection ─► http ─┬─► command ──────┬─ over spdy
//!   tokens    tls                 └─► port_forward ─┴─ over websocket (or spdy in it)
//! ```

mod backend;
mod command;
mod connection;
mod context;
mod error;
mod http;
mod port_forward;
mod request;
mod server;
mod sizes;
pub mod spdy;
mod status;
mod tls;
mod tokens;
mod websocket;

pub use backend::{Backend, BoxFuture, Ended, Failure, PortStream, Session, TerminalSize};
pub use error::Error;
pub use request::{AttachRequest, ExecRequest, PortForwardRequest, Streams};
pub use server::{Server, ServerConfig};
pub use tls::{TlsConfig, TlsVersion};
