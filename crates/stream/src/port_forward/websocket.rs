//! Port-forward over WebSocket: for the port number `i` of the request, channel `2i` carries its bytes and channel
//! `2i + 1` its error text. The first message of each is the port, in two bytes, lowest first.
//!
//! One connection per port, and no way to close one direction alone: when the pod has closed its direction, the port
//! is done. Clients that want more use the tunnel.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::{Pod, forward};
use crate::context::{Context, FAREWELL};
use crate::request::PortForwardRequest;
use crate::websocket::{self, Coding, Inlet, Outlet, PIPE};

/// Ports of one connection: their channels are told apart by one byte, in base64 by one ASCII character.
pub(crate) const PORTS: usize = 32;

/// Serves one session to its end.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite + Unpin>(
    connection: C,
    request: &PortForwardRequest,
    coding: Coding,
    context: &Context,
) {
    let socket = websocket::socket(connection).await;
    let (outlet, mut inlet, traffic) = websocket::channels(socket, coding);
    let pod = Pod { backend: Arc::clone(&context.backend), sandbox: request.sandbox.as_str().into() };
    let mut inputs = Vec::new();
    let mut forwards: FuturesUnordered<_> = (0u8..)
        .step_by(2)
        .zip(request.ports.iter().take(PORTS))
        .map(|(channel, port)| {
            let (input, from_client) = duplex(PIPE);
            inputs.push(Some(input));
            one(&outlet, &pod, channel, *port, from_client)
        })
        .collect();
    tokio::select! {
        () = async { while forwards.next().await.is_some() {} } => {}
        () = follow(&mut inlet, inputs) => return,
        _ = outlet.keep_alive() => return,
        _ = context.forced_end(|| traffic.quiet_for()) => {}
    }
    let close = async {
        if outlet.close().await.is_ok() {
            inlet.drain().await;
        }
    };
    timeout(FAREWELL, close).await.ok();
}

/// One port, from connect to the end of what the pod sends.
async fn one<C: AsyncRead + AsyncWrite + Unpin>(
    outlet: &Outlet<C>,
    pod: &Pod,
    channel: u8,
    port: u16,
    from_client: DuplexStream,
) {
    for channel in [channel, channel + 1] {
        if outlet.send(channel, &port.to_le_bytes()).await.is_err() {
            return;
        }
    }
    match pod.connect(port).await {
        Ok(connection) => {
            let (to_client, output) = duplex(PIPE);
            let pump = outlet.pump(channel, Some(output));
            tokio::pin!(pump);
            tokio::select! {
                _ = &mut pump => {}
                // The last bytes are in the pipe still.
                _ = forward(connection, from_client, to_client) => {
                    pump.await.ok();
                }
            }
        }
        Err(text) => {
            outlet.send(channel + 1, text.as_bytes()).await.ok();
        }
    }
}

/// Hands on what the client sends, until it has gone.
async fn follow<C: AsyncRead + AsyncWrite + Unpin>(
    inlet: &mut Inlet<C>,
    mut inputs: Vec<Option<DuplexStream>>,
) {
    while let Some((channel, bytes)) = inlet.next().await {
        if channel % 2 != 0 {
            continue;
        }
        if let Some(place) = inputs.get_mut(usize::from(channel / 2))
            && let Some(input) = place
            && input.write_all(&bytes).await.is_err()
        {
            *place = None;
        }
    }
}
