//! Connections: TCP, TLS where the scheme says so, pooled per host and trust.
//!
//! HTTP/1.1 only: layers are downloaded over several connections anyway, and one HTTP/2 flow-control window for all of
//! them is slower than three sockets.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) use super::trust::Trust;
use super::trust::client_config;
use super::{Proxies, RegistryError};

/// Most bytes of headers, and of one read of a body.
const HEADERS_MAX: usize = 64 << 10;
/// Most hosts whose connections are kept.
const HOSTS_MAX: usize = 64;
const IDLE: Duration = Duration::from_secs(30);

pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

/// All connections of the image service.
pub(crate) struct Transport {
    certs_dirs: Vec<PathBuf>,
    proxies: Arc<Proxies>,
    connect_timeout: Duration,
    clients: Mutex<HashMap<(String, Trust), HttpClient>>,
}

impl Transport {
    pub(crate) fn new(certs_dirs: Vec<PathBuf>, proxies: Proxies, connect_timeout: Duration) -> Self {
        Self { certs_dirs, proxies: Arc::new(proxies), connect_timeout, clients: Mutex::default() }
    }

    /// Forgets connections and certificates, so that changed files count.
    pub(crate) fn forget(&self) {
        self.clients.lock().clear();
    }

    /// The client for `authority` (`host[:port]`).
    pub(super) async fn client(&self, authority: &str, trust: Trust) -> Result<HttpClient, RegistryError> {
        let key = (authority.to_ascii_lowercase(), trust);
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let (host, places) = (key.0.clone(), self.certs_dirs.clone());
        let built = tokio::task::spawn_blocking(move || client_config(&host, trust, &places)).await;
        let stopped = |_| RegistryError::Url { url: authority.to_owned() };
        let mut tls = built.map_err(stopped)??;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = Connector {
            tls: Arc::new(tls),
            proxies: Arc::clone(&self.proxies),
            timeout: self.connect_timeout,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .http1_max_buf_size(HEADERS_MAX)
            .build(connector);
        let mut clients = self.clients.lock();
        if clients.len() >= HOSTS_MAX {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Opens one connection.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Arc<rustls::ClientConfig>,
    proxies: Arc<Proxies>,
    timeout: Duration,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, proxies, limit) = (Arc::clone(&self.tls), Arc::clone(&self.proxies), self.timeout);
        Box::pin(async move {
            let connected = tokio::time::timeout(limit, connect(&uri, tls, &proxies)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        })
    }
}

async fn connect(uri: &Uri, tls: Arc<rustls::ClientConfig>, proxies: &Proxies) -> io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let proxy = proxies.between(uri)?;
    let mut stream = match &proxy {
        Some(proxy) => proxy.connect().await?,
        None => TcpStream::connect((host, port)).await?,
    };
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(if proxy.is_some() { Stream::Proxied(stream) } else { Stream::Plain(stream) });
    }
    if let Some(proxy) = &proxy {
        proxy.tunnel(&mut stream, host, port).await?;
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(Stream::Tls(Box::new(TlsConnector::from(tls).connect(name, stream).await?)))
}

/// A connection with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    /// Plain http through a proxy, which wants to see whole URLs.
    Proxied(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(matches!(self, Self::Proxied(_)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) | Self::Proxied(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) | Self::Proxied(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) | Self::Proxied(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) | Self::Proxied(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
