//! One HTTP/2 connection to a unix socket, as tonic's clients want it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket cannot be connected to.
    #[error("cannot connect to {path}: {source}; is the engine running, and is this its socket?")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever answers does not speak HTTP/2.
    #[error("{path} does not speak gRPC: {source}")]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: hyper::Error,
    },
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
}

impl Channel {
    /// Connects; the connection's task ends with the last clone.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ConnectError::Socket { path: path.to_owned(), source })?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Protocol { path: path.to_owned(), source })?;
        // Its error reaches every request that was under way.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender })
    }
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // tonic leaves scheme and authority to the transport; a unix socket has no host of its own.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = Uri::builder().scheme("http").authority("localhost").path_and_query(path).build() {
            *request.uri_mut() = uri;
        }
        Box::pin(self.sender.send_request(request))
    }
}
