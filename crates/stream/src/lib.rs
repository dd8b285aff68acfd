//! The streaming server of CRI: exec, attach and port-forward over SPDY/3.1 and WebSocket.

mod backend;

pub use backend::{Backend, BoxFuture, Ended, Failure, PortStream, Session, TerminalSize};
