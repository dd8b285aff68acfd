//! The network of a node, as the engine uses it: in network namespaces of the tests' own, with real and fake plugins.
//! Needs root.

#![expect(clippy::unwrap_used, reason = "steps of a test outside the test functions")]

mod bridge;
mod dual_stack;
mod first_packet;
mod host_ports;
mod outside;
mod plugins;
mod real_plugins;
mod scene;
mod watching;
