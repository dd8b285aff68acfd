//! The unpack worker: a process that applies one layer and can do nothing else.
//!
//! Decompressors and archive readers are where hostile bytes have the most to say, and zstd is C. So they run in a
//! process of their own, the engine executed again under another name ([`PROGRAM`]), which locks itself up before it reads
//! the first byte:
//!
//! ```text
//!  engine                                     worker (argv[0] = "ochre-unpack", no environment)
//!  ──────                                     ──────
//!  hashes the blob, feeds it ──── pipe ────▶ 0   inflate ─▶ hash ─▶ tar ─▶ files
//!  reads one line of JSON   ◀──── pipe ───── 1   what was applied, or why not
//!  its own log              ◀─────────────── 2
//!  the layer's directory     ──────────────▶ 3   root directory, working directory and Landlock's only place
//!  the tar-split's file      ──────────────▶ 4
//! ```
//!
//! In the worker: [`sandbox`] (chroot, Landlock, capabilities, seccomp without sockets, exec and kill). No network
//! namespace is made: a process that can make no socket needs none, and tearing one down costs more than a small layer.
//!
//! The engine never trusts the worker with the blob's digest, which it hashes itself. Whoever takes the worker over can
//! spoil the one layer that his own bytes were to become. A worker ends with its engine: the pipe is then at its end, the
//! archive cut short. A worker that takes no bytes for [`STALL`] is killed.

mod answer;
mod program;
mod sandbox;
mod start;

pub use program::main;
pub use start::{Worker, WorkerError};

use std::time::Duration;

/// The name under which the engine's binary is executed as a worker.
pub const PROGRAM: &str = "ochre-unpack";

/// How long a worker may take no bytes, or give no answer after the last one. A disk that is busy for longer is broken.
const STALL: Duration = Duration::from_secs(300);
