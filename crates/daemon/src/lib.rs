//! Composition of the daemon: configuration to running server
