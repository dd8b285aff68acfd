//! System calls the standard library and rustix lack, and the file primitives built on them.
//!
//! The only crate of the workspace with `unsafe` code; every block carries its proof.

pub mod atomic;
pub mod capability;
pub mod clone;
pub mod exec;
pub mod invoke;
pub mod landlock;
pub mod lock;
pub mod mount;
pub mod namespace;
pub mod pidfd;
pub mod rooted;
pub mod seccomp;
pub mod spawn;
pub mod user_namespace;
