//! The streaming server through its public API and its wire: real connections, a backend that plays the engine.

mod exec;
mod port_forward;
mod server;
mod support;
mod tls;
mod websocket;
