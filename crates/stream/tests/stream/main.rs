//! The streaming server through its public API and its wire: real connections, a backend that plays the engine.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod exec;
mod port_forward;
mod server;
mod support;
mod tls;
mod websocket;
