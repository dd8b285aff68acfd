//! The real monitor program: driven over its socket, with runtimes that misbehave on script and with real `runc` on a
//! busybox root file system. Needs root, `runc` and `busybox` (static); every test cleans up its processes, cgroups and
//! directories, also when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod adopting;
mod execs;
mod faults;
mod lifecycle;
mod pod;
mod streams;
