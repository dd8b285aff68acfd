//! One connection from accept to close. Everything it starts lives in its future: when that is dropped, the process
//! of an exec is ended and every forwarded connection is closed.
//!
//! ```text
//!   accept ─► TLS handshake ─► one HTTP request ─► 101 ─► session ─► closed
//!             10 s             10 s                └► anything else: answered and closed
//! ```

use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command;
use crate::context::Context;
use crate::http::{Answer, Plan, answer};
use crate::port_forward;
use crate::tls::Tls;
use crate::websocket::handshake::Forward;
use crate::websocket::socket;
use crate::websocket::tunnel::Tunnel;

/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of the request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long answering anything but 101 may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a connection without any traffic is probed by the kernel.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Most bytes of the head of the request.
const HEAD_BYTES: usize = 16 * 1024;
/// Most headers of the request.
const HEADERS: usize = 64;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(tcp: TcpStream, tls: Option<&Tls>, context: &Context) {
    // Neither is worth refusing a client for. Small messages, typed keys among them, must not wait for more; and a
    // client whose machine vanished is noticed within two minutes.
    tcp.set_nodelay(true).ok();
    sockopt::set_socket_keepalive(&tcp, true).ok();
    sockopt::set_tcp_keepidle(&tcp, KEEPALIVE * 4).ok();
    sockopt::set_tcp_keepintvl(&tcp, KEEPALIVE).ok();
    sockopt::set_tcp_keepcnt(&tcp, 4).ok();
    match tls {
        None => request(tcp, context).await,
        Some(tls) => {
            let handshake = tls.accept(tcp);
            match timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => request(stream, context).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake of a streaming client failed"),
                Err(_) => tracing::debug!("TLS handshake of a streaming client took too long"),
            }
        }
    }
}

/// Answers the one request of a connection and serves the session it fetches.
async fn request(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, context: &Context) {
    let upgraded: Mutex<Option<(OnUpgrade, Plan)>> = Mutex::new(None);
    let service = service_fn(|mut request: Request<Incoming>| {
        let answer = match answer(&request, context) {
            Ok((answer, plan)) => {
                *upgraded.lock() = Some((hyper::upgrade::on(&mut request), plan));
                answer
            }
            Err(answer) => answer,
        };
        std::future::ready(Ok::<Answer, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // Clients that are refused may have no more to say and read nothing.
    match timeout(HEAD + ANSWER, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%error, "request of a streaming client failed"),
        Err(_) => return tracing::debug!("request of a streaming client took too long"),
    }
    let Some((upgrade, plan)) = upgraded.lock().take() else { return };
    match upgrade.await {
        Ok(connection) => session(TokioIo::new(connection), plan, context).await,
        Err(error) => tracing::debug!(%error, "upgrade of a streaming client failed"),
    }
}

async fn session<C: AsyncRead + AsyncWrite + Unpin>(connection: C, plan: Plan, context: &Context) {
    let result = match plan {
        Plan::CommandSpdy(command, version) => {
            command::spdy::serve(connection, &command, version, context).await
        }
        Plan::ForwardSpdy(request) => port_forward::spdy::serve(connection, &request, context).await,
        Plan::ForwardWebSocket(request, Forward::Tunnel) => {
            let tunnel = Tunnel::new(socket(connection).await);
            port_forward::spdy::serve(tunnel, &request, context).await
        }
        Plan::CommandWebSocket(command, remote) => {
            command::websocket::serve(connection, &command, remote, context).await;
            Ok(())
        }
        Plan::ForwardWebSocket(request, Forward::Channels(coding)) => {
            port_forward::websocket::serve(connection, &request, coding, context).await;
            Ok(())
        }
    };
    // How clients end is their business; that one breaks the protocol may still be looked for.
    if let Err(error) = result {
        tracing::debug!(%error, source = ?std::error::Error::source(&error), "streaming session broke");
    }
}
