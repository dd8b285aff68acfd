//! What can go wrong before a session exists. What goes wrong in a session is told to its client.

use std::io;
use std::path::PathBuf;

use ochre_types::ErrorKind;

/// A failure of the streaming server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A session without any stream.
    #[error("one of stdin, stdout and stderr must be asked for")]
    NoStreams,
    /// A terminal has one output only.
    #[error("a terminal has no stderr of its own: tty and stderr cannot both be asked for")]
    TerminalWithStderr,
    /// As many sessions were announced and not fetched as the server remembers.
    #[error("{count} announced sessions wait for their clients, no more are taken")]
    TooManyPending {
        /// How many wait.
        count: usize,
    },
    /// The server has been shut down.
    #[error("the streaming server has been shut down")]
    Closed,
    /// The kernel gave no random bytes.
    #[error("no random bytes for a token: {0}")]
    Random(getrandom::Error),
    /// The configured address cannot be resolved.
    #[error("cannot resolve the address {address:?} of the streaming server")]
    Resolve {
        /// As configured.
        address: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// The configured address has no addresses.
    #[error("the address {address:?} of the streaming server resolves to nothing")]
    NoAddress {
        /// As configured.
        address: String,
    },
    /// The port cannot be had.
    #[error("cannot listen on {address} for streaming")]
    Bind {
        /// The resolved address.
        address: std::net::SocketAddr,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {path:?} for the streaming server")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file holds something else.
    #[error("{path:?} holds no {what} in PEM")]
    TlsPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate, the key or the CA cannot be used, or do not belong together.
    #[error("the TLS files of the streaming server cannot be used")]
    Tls(#[source] rustls::Error),
    /// The CA for client certificates cannot be used.
    #[error("the CA for client certificates cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
    /// A cipher suite that this server does not have.
    #[error("cipher suite {name:?} is not supported (the suites with forward secrecy and AEAD are)")]
    CipherSuite {
        /// As configured.
        name: String,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoStreams | Self::TerminalWithStderr | Self::CipherSuite { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::TlsPem { .. } | Self::Tls(_) | Self::ClientCa(_) => ErrorKind::InvalidArgument,
            Self::TooManyPending { .. } => ErrorKind::Exhausted,
            Self::Closed => ErrorKind::Unavailable,
            Self::Random(_) => ErrorKind::Internal,
            Self::Resolve { .. } | Self::NoAddress { .. } | Self::Bind { .. } | Self::TlsFile { .. } => {
                ErrorKind::FailedPrecondition
            }
        }
    }
}
