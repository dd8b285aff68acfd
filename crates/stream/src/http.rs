//! The HTTP request that fetches an announced session: its token, and how the connection is to be upgraded.
//!
//! ```text
//!   /exec/<token>  /attach/<token>  /portforward/<token>     GET or POST
//!     Upgrade: websocket   by Sec-WebSocket-Protocol         403 when none is known
//!     Upgrade: SPDY/3.1    by X-Stream-Protocol-Version      403 when none is known, 400 when there is none
//!     nothing of that      400
//! ```

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use crate::command::Command;
use crate::command::spdy::Version;
use crate::context::Context;
use crate::port_forward;
use crate::port_forward::websocket::PORTS;
use crate::request::{Announced, PortForwardRequest};
use crate::websocket::handshake::{self, Forward, Refusal, Remote};

static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
static ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";

pub(crate) type Answer = Response<Full<Bytes>>;

/// What an upgraded connection is for.
#[derive(Debug)]
pub(crate) enum Plan {
    CommandSpdy(Command, Version),
    CommandWebSocket(Command, Remote),
    ForwardSpdy(PortForwardRequest),
    ForwardWebSocket(PortForwardRequest, Forward),
}

/// Finds the session and how to speak. The token is used up by the first request that names it, whatever else is
/// wrong with the request.
pub(crate) fn answer<B>(request: &Request<B>, context: &Context) -> Result<(Answer, Plan), Answer> {
    let announced = announced(request.uri().path(), context).ok_or_else(|| {
        refuse(StatusCode::NOT_FOUND, "no session waits here: unknown, used or expired token")
    })?;
    if !matches!(*request.method(), Method::GET | Method::POST) {
        let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are understood here");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return Err(answer);
    }
    let headers = request.headers();
    let asks = |header, word: &str| {
        headers
            .get_all(header)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|own| own.trim().eq_ignore_ascii_case(word)))
    };
    if !asks(CONNECTION, "upgrade") {
        return Err(refuse(StatusCode::BAD_REQUEST, "unable to upgrade: the request does not ask for it"));
    }
    if asks(UPGRADE, "websocket") {
        websocket(headers, announced)
    } else if asks(UPGRADE, SPDY) {
        spdy(headers, announced)
    } else {
        Err(refuse(StatusCode::BAD_REQUEST, "unable to upgrade: neither SPDY/3.1 nor websocket is asked for"))
    }
}

fn announced(path: &str, context: &Context) -> Option<Announced> {
    let (method, token) = path.strip_prefix('/')?.split_once('/')?;
    let announced = context.tokens.lock().take(token, Instant::now())?;
    (announced.method() == method).then_some(announced)
}

fn spdy(headers: &HeaderMap, announced: Announced) -> Result<(Answer, Plan), Answer> {
    let offered = headers.get_all(&PROTOCOL_VERSION);
    let offered: Vec<&str> = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if offered.is_empty() {
        let text = "unable to upgrade: the header X-Stream-Protocol-Version is missing";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    }
    let (name, plan) = match Command::of(announced) {
        Ok(command) => {
            let known = |offer: &&str| Version::NAMES.into_iter().find(|(name, _)| name == offer);
            let chosen = offered.iter().find_map(known);
            let names = || Version::NAMES.map(|(name, _)| name).to_vec();
            let (name, version) = chosen.ok_or_else(|| unknown(&offered, &names()))?;
            (name, Plan::CommandSpdy(command, version))
        }
        Err(request) => {
            let name = port_forward::spdy::PROTOCOL;
            if !offered.contains(&name) {
                return Err(unknown(&offered, &[name]));
            }
            (name, Plan::ForwardSpdy(request))
        }
    };
    let mut answer = switch(SPDY);
    answer.headers_mut().insert(PROTOCOL_VERSION.clone(), HeaderValue::from_static(name));
    Ok((answer, plan))
}

fn websocket(headers: &HeaderMap, announced: Announced) -> Result<(Answer, Plan), Answer> {
    let refusal = |refusal| match refusal {
        Refusal::Malformed => refuse(StatusCode::BAD_REQUEST, "not a WebSocket handshake of version 13"),
        Refusal::Protocol => refuse(StatusCode::FORBIDDEN, "none of the WebSocket subprotocols is known"),
    };
    let accept = handshake::accept(headers).map_err(refusal)?;
    let (name, plan) = match Command::of(announced) {
        Ok(command) => {
            let (remote, name) = handshake::remote(headers).map_err(refusal)?;
            (name, Plan::CommandWebSocket(command, remote))
        }
        Err(request) => {
            let (forward, name) = handshake::forward(headers).map_err(refusal)?;
            if matches!(forward, Forward::Channels(_)) && !(1..=PORTS).contains(&request.ports.len()) {
                let text = "this subprotocol needs ports in the request: one to thirty-two of them";
                return Err(refuse(StatusCode::BAD_REQUEST, text));
            }
            (name, Plan::ForwardWebSocket(request, forward))
        }
    };
    let mut answer = switch("websocket");
    let known = [(SEC_WEBSOCKET_ACCEPT, accept), (SEC_WEBSOCKET_PROTOCOL, name)];
    for (header, text) in known.into_iter().filter(|(_, text)| !text.is_empty()) {
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().insert(header, value);
        }
    }
    Ok((answer, plan))
}

fn switch(protocol: &'static str) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    answer
}

fn refuse(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::from(text.into() + "\n"));
    *answer.status_mut() = status;
    // One request per connection.
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn unknown(offered: &[&str], known: &[&'static str]) -> Answer {
    let text = format!("unable to upgrade: the client offers {offered:?}, the server knows {known:?}");
    let mut answer = refuse(StatusCode::FORBIDDEN, text);
    for name in known {
        answer.headers_mut().append(ACCEPTED_VERSIONS.clone(), HeaderValue::from_static(name));
    }
    answer
}
