//! The CRI socket.
//!
//! ```text
//!   bind ── stale socket? ──▶ removed      live socket? ──▶ refused
//!     └──▶ accept ──▶ one task per connection (HTTP/1 and HTTP/2 by their first bytes) ──▶ router
//!   shutdown ──▶ no new connections, running requests get a while, end
//! ```

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ochre_cri::Service;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::router::{MessageLimits, Router};
use crate::shutdown::Shutdown;

/// Connections at a time; the kubelet holds a handful, people with clients a few more.
const MAX_CONNECTIONS: usize = 1024;
/// How long running requests may take once the daemon is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// Rest after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket path that nobody answers at.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
}

/// A bound socket; the file goes with it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes sure that no other engine answers at `path`; before anything of the engine is opened.
    ///
    /// # Errors
    /// `SocketInUse` when somebody answers there, otherwise the error of the call.
    pub async fn claim(path: &Path) -> Result<Claim, Error> {
        let failed = |source| Error::Socket { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(Error::SocketInUse { path: path.to_owned() });
                }
            }
            Ok(_) => {
                return Err(failed(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it exists and is no socket",
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Claim { path: path.to_owned() })
    }
}

impl Claim {
    /// Binds the socket (0600) once the engine can answer, replacing one that nobody serves any more.
    ///
    /// # Errors
    /// The error of the call.
    pub fn bind(self) -> Result<Listener, Error> {
        let path = self.path;
        let failed = |source| Error::Socket { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        // Bound under a name of our own and moved into place with its final mode: nobody meets it more open than that.
        let private = path.with_extension(format!("{}.tmp", std::process::id()));
        let listener = UnixListener::bind(&private).map_err(failed)?;
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&private, &path))
            .map_err(failed)?;
        Ok(Listener { listener, path })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The next start removes a socket that stayed.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Serves until the shutdown.
pub async fn serve(listener: Listener, service: Service, receive: usize, send: usize, shutdown: Shutdown) {
    let router = Router::new(service.clone(), MessageLimits { receive, send });
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            accepted = accept(&listener.listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()))
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    let streams = tokio::spawn({
        let service = service.clone();
        async move { service.end_streams().await }
    });
    // Idle connections need no farewell: a client that does not answer it must not hold the daemon up.
    let quiet = async {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = router.idle() => {}
        }
    };
    if tokio::time::timeout(DRAIN, quiet).await.is_err() {
        tracing::warn!(
            "requests still run after {} s; their operations are finished at the next start",
            DRAIN.as_secs()
        );
    }
    // It ends within a deadline of its own.
    drop(streams.await);
    service.close().await;
}

/// One connection with its place; `None` after a failure that the next accept may not have.
async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!("accepting a connection: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
