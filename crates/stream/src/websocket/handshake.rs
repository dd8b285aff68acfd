//! The opening handshake (RFC 6455, section 4.2) and the choice of a subprotocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::Coding;
use crate::port_forward;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// In front of the name of a SPDY protocol whose bytes are carried in binary messages.
const TUNNEL: &str = "SPDY/3.1+";

/// How exec and attach are spoken over WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) coding: Coding,
    /// 1 to 5. Up to 3 the end is told as text; 5 has a signal that closes a channel.
    pub(crate) version: u8,
}

impl Remote {
    fn of(protocol: &str) -> Option<Self> {
        let (version, rest) = match protocol.split_once('.') {
            _ if protocol.is_empty() => return Some(Self { coding: Coding::Binary, version: 1 }),
            Some(("v2", rest)) => (2, rest),
            Some(("v3", rest)) => (3, rest),
            Some(("v4", rest)) => (4, rest),
            Some(("v5", rest)) => (5, rest),
            _ => (1, protocol),
        };
        match rest {
            "channel.k8s.io" => Some(Self { coding: Coding::Binary, version }),
            // The closing signal of the fifth version is no text.
            "base64.channel.k8s.io" if version < 5 => Some(Self { coding: Coding::Base64, version }),
            _ => None,
        }
    }
}

/// How port-forward is spoken over WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Two channels per port.
    Channels(Coding),
    /// A SPDY session in binary messages.
    Tunnel,
}

impl Forward {
    fn of(protocol: &str) -> Option<Self> {
        match protocol {
            "" | "v4.channel.k8s.io" => Some(Self::Channels(Coding::Binary)),
            "v4.base64.channel.k8s.io" => Some(Self::Channels(Coding::Base64)),
            _ => (protocol.strip_prefix(TUNNEL)? == port_forward::spdy::PROTOCOL).then_some(Self::Tunnel),
        }
    }
}

/// Why the handshake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a WebSocket handshake of version 13.
    Malformed,
    /// None of the offered subprotocols is known.
    Protocol,
}

/// The first offered subprotocol that `of` knows, with its name; without an offer the empty one.
fn choose<T>(headers: &HeaderMap, of: impl Fn(&str) -> Option<T>) -> Option<(T, String)> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> =
        offers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    if offered.is_empty() {
        return Some((of("")?, String::new()));
    }
    offered.iter().map(|name| name.trim()).find_map(|name| Some((of(name)?, name.to_owned())))
}

pub(crate) fn remote(headers: &HeaderMap) -> Result<(Remote, String), Refusal> {
    choose(headers, Remote::of).ok_or(Refusal::Protocol)
}

pub(crate) fn forward(headers: &HeaderMap) -> Result<(Forward, String), Refusal> {
    choose(headers, Forward::of).ok_or(Refusal::Protocol)
}

/// The answer to the client's key.
pub(crate) fn accept(headers: &HeaderMap) -> Result<String, Refusal> {
    let version = headers.get(SEC_WEBSOCKET_VERSION).and_then(|value| value.to_str().ok());
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|value| value.to_str().ok());
    match (version, key) {
        (Some("13"), Some(key)) if STANDARD.decode(key.trim()).is_ok_and(|key| key.len() == 16) => {
            // The protocol asks for SHA-1, as a mark of understanding and for nothing secret.
            let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{}{GUID}", key.trim()).as_bytes());
            Ok(STANDARD.encode(sum))
        }
        _ => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(protocols: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for protocol in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.insert(SEC_WEBSOCKET_KEY, "c2hvcnQ=".parse().unwrap());
        assert_eq!(accept(&headers), Err(Refusal::Malformed));
    }

    #[test]
    fn the_first_known_subprotocol_is_taken() {
        let chosen = |protocols: &[&'static str]| {
            remote(&offering(protocols)).map(|(remote, name)| (remote.version, remote.coding, name))
        };
        let is = |version, coding, name: &str| Ok((version, coding, name.to_owned()));
        assert_eq!(chosen(&[]), is(1, Coding::Binary, ""));
        assert_eq!(chosen(&["v5.channel.k8s.io"]), is(5, Coding::Binary, "v5.channel.k8s.io"));
        assert_eq!(
            chosen(&["v9.channel.k8s.io, v4.base64.channel.k8s.io", "channel.k8s.io"]),
            is(4, Coding::Base64, "v4.base64.channel.k8s.io")
        );
        assert_eq!(chosen(&["base64.channel.k8s.io"]), is(1, Coding::Base64, "base64.channel.k8s.io"));
        assert_eq!(chosen(&["v3.channel.k8s.io"]), is(3, Coding::Binary, "v3.channel.k8s.io"));
        assert_eq!(chosen(&["v5.base64.channel.k8s.io"]), Err(Refusal::Protocol));
        assert_eq!(chosen(&["chat"]), Err(Refusal::Protocol));
    }

    #[test]
    fn port_forward_has_channels_and_the_tunnel() {
        let chosen = |protocol: &'static str| forward(&offering(&[protocol])).map(|(forward, _)| forward);
        assert_eq!(chosen("SPDY/3.1+portforward.k8s.io"), Ok(Forward::Tunnel));
        assert_eq!(chosen("v4.channel.k8s.io"), Ok(Forward::Channels(Coding::Binary)));
        assert_eq!(chosen("v4.base64.channel.k8s.io"), Ok(Forward::Channels(Coding::Base64)));
        assert_eq!(chosen("portforward.k8s.io"), Err(Refusal::Protocol));
        assert_eq!(chosen("SPDY/3.1+v4.channel.k8s.io"), Err(Refusal::Protocol));
    }
}
