//! Pulls against a scripted registry, against a real one, and imports, into a real overlay store (needs root).

#![expect(clippy::unwrap_used, reason = "what a test prepares either works or fails the test")]

mod artifacts;
mod explain;
mod fixture;
mod formats;
mod hostile;
mod images;
mod network;
mod real;
mod registry;
mod signing;
mod tls;
mod trust;
