//! The server: announces sessions, accepts their clients, and ends with all of them.
//!
//! ```text
//!   exec(), attach(), port_forward() ──► token ──► URL for the client
//!
//!   accept loop (one task, owned by Server) ──► JoinSet of connections
//!   shutdown(): no new ones, the sessions told to end, what is left after the deadline aborted
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::backend::Backend;
use crate::connection;
use crate::context::Context;
use crate::error::Error;
use crate::request::{Announced, AttachRequest, ExecRequest, PortForwardRequest};
use crate::tls::{Tls, TlsConfig};
use crate::tokens::Tokens;

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 2048;
/// How long accepting pauses after a failure, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Idle time when none is configured (CRI-O).
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How long sessions may take to end at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// An address, or a name that resolves to one; empty for 127.0.0.1.
    pub address: String,
    /// The port, 0 for any free one.
    pub port: u16,
    /// Serves `https` when given.
    pub tls: Option<TlsConfig>,
    /// Sessions without traffic in either direction end after this time; zero for 4 hours.
    pub idle_timeout: Duration,
}

/// The streaming server. Clones are handles of the same one; it ends with [`Server::shutdown`], or with the last handle.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    scheme: &'static str,
    tokens: Arc<Mutex<Tokens>>,
    stop: watch::Sender<bool>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The connections belong to the accepting task and go with it.
        if let Some(task) = self.accepting.get_mut().take() {
            task.abort();
        }
    }
}

impl Server {
    /// Listens and serves, on the tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// [`Error`] when the address cannot be had or the TLS files cannot be used.
    pub async fn bind(config: ServerConfig, backend: Arc<dyn Backend>) -> Result<Self, Error> {
        let tls = config.tls.map(Tls::load).transpose()?;
        let listener = listen(&config.address, config.port).await?;
        let address = listener.1;
        let (stop, stopping) = watch::channel(false);
        let tokens = Arc::new(Mutex::new(Tokens::default()));
        let idle = if config.idle_timeout.is_zero() { IDLE } else { config.idle_timeout };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let context = Context { backend, tokens: Arc::clone(&tokens), idle, stopping };
        let accepting = tokio::spawn(accept(listener.0, tls, context));
        let accepting = Mutex::new(Some(accepting));
        Ok(Self { shared: Arc::new(Shared { address, scheme, tokens, stop, accepting }) })
    }

    /// Announces an exec and returns the URL that a client fetches it with, once, within a minute.
    ///
    /// # Errors
    ///
    /// [`Error`] when the streams make no sense, too many announced sessions wait, or the server is shut down.
    pub fn exec(&self, request: ExecRequest) -> Result<String, Error> {
        request.streams.check()?;
        self.announce(Announced::Exec(request))
    }

    /// Announces an attach, as [`Server::exec`].
    ///
    /// # Errors
    ///
    /// As [`Server::exec`].
    pub fn attach(&self, request: AttachRequest) -> Result<String, Error> {
        request.streams.check()?;
        self.announce(Announced::Attach(request))
    }

    /// Announces a port-forward, as [`Server::exec`].
    ///
    /// # Errors
    ///
    /// As [`Server::exec`].
    pub fn port_forward(&self, request: PortForwardRequest) -> Result<String, Error> {
        self.announce(Announced::PortForward(request))
    }

    fn announce(&self, announced: Announced) -> Result<String, Error> {
        if *self.shared.stop.borrow() {
            return Err(Error::Closed);
        }
        let method = announced.method();
        let token = self.shared.tokens.lock().insert(announced, tokio::time::Instant::now())?;
        Ok(format!("{}://{}/{method}/{token}", self.shared.scheme, reachable(self.shared.address)))
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Takes no more connections, ends the sessions and returns when all of them are gone, within seconds.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        let accepting = self.shared.accepting.lock().take();
        if let Some(task) = accepting {
            // It ends by itself within its own deadline; an error can only be a panic in it, told by the runtime.
            task.await.ok();
        }
    }
}

/// The address under which a client on this node reaches the listener: "any address" is none to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn listen(address: &str, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let name = if address.is_empty() { "127.0.0.1" } else { address };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let resolved = lookup_host((name, port)).await;
    let resolved = resolved.map_err(|source| Error::Resolve { address: address.to_owned(), source })?;
    let mut failure = Error::NoAddress { address: address.to_owned() };
    for address in resolved {
        let bound = TcpListener::bind(address).await;
        match bound.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
            Ok(listening) => return Ok(listening),
            Err(source) => failure = Error::Bind { address, source },
        }
    }
    Err(failure)
}

/// Accepts connections until the server stops, then waits for them.
async fn accept(listener: TcpListener, tls: Option<Tls>, context: Context) {
    let tls = tls.map(Arc::new);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stopping = context.stopping.clone();
    loop {
        tokio::select! {
            (tcp, place) = next(&listener, &places) => {
                let (tls, context) = (tls.clone(), context.clone());
                connections.spawn(async move {
                    let mut stopping = context.stopping.clone();
                    tokio::select! {
                        () = connection::serve(tcp, tls.as_deref(), &context) => {}
                        // Sessions end by themselves sooner than that; this is for those that never began.
                        () = async {
                            stopping.wait_for(|stopping| *stopping).await.ok();
                            tokio::time::sleep(SHUTDOWN).await;
                        } => {}
                    }
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    timeout(SHUTDOWN, ended).await.ok();
    connections.shutdown().await;
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a place in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return (tcp, place),
            Err(error) => {
                tracing::debug!(%error, "cannot accept a streaming client");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_address_that_can_be_connected_to() {
        for (listening, url) in [
            ("127.0.0.1:10010", "127.0.0.1:10010"),
            ("0.0.0.0:10010", "127.0.0.1:10010"),
            ("[::]:10010", "[::1]:10010"),
            ("10.1.2.3:1", "10.1.2.3:1"),
            ("[fd00::1]:1", "[fd00::1]:1"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), url);
        }
    }
}
