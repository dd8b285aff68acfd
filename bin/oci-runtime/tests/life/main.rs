//! The runtime as an engine drives it: the real program, real containers on a busybox root, as root.
//!
//! Every test has its own state directory, bundle, and control group, all removed when it ends, also by a panic.

// The helpers of the tests are not marked as tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundle;

mod hostile;
mod lifecycle;
mod limits;
mod rights;
mod terminal;
mod userns;
