//! Composition of the daemon: configuration in, running server out.
//!
//! `build.rs` makes every part from its section of the configuration, `serve.rs` answers the socket, `shutdown.rs` says
//! when to end. Containers do not need the daemon: it can stop and come back at any time.

mod build;
mod error;
pub mod logging;
mod router;
mod security;
mod serve;
mod shutdown;
mod streaming;

pub use build::{Programs, build, open_images, open_store};
pub use error::Error;
pub use ochre_image::{ExportCompression, ExportFormat, ExportRequest, UNPACK_WORKER, unpack_worker};
pub use serve::{Claim, Listener, serve};
pub use shutdown::Shutdown;
