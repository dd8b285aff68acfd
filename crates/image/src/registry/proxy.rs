//! Proxies between this node and registries, by the rules that Go programs follow (`golang.org/x/net/http/httpproxy`),
//! so that a node's environment means the same as before: `NO_PROXY` entries are hosts (with their subdomains),
//! `.domain` (subdomains only), addresses, networks (`10.0.0.0/8`), each with or without a port, or `*`. Loopback is
//! never proxied.
//!
//! https goes through a `CONNECT` tunnel, so the proxy sees neither credentials nor content.

use std::io;
use std::net::IpAddr;

use base64::Engine;
use http::Uri;
use ochre_types::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a proxy's answer to `CONNECT`.
const ANSWER_MAX: usize = 16 << 10;

/// The proxies of the engine. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTPS_PROXY`: for https registries.
    pub https: Secret,
    /// `HTTP_PROXY`: for registries over http.
    pub http: Secret,
    /// `NO_PROXY`: what is reached directly.
    pub exceptions: String,
}

/// A proxy that a connection goes through.
pub(super) struct Proxy {
    host: String,
    port: u16,
    authorization: Option<Secret>,
}

impl Proxies {
    /// Takes the values of the named variables, in lower case if that is not set or empty in upper case.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let upper = variable(name).filter(|value| !value.is_empty());
            upper.or_else(|| variable(&name.to_lowercase())).unwrap_or_default()
        };
        Self {
            https: Secret::new(either("HTTPS_PROXY")),
            http: Secret::new(either("HTTP_PROXY")),
            exceptions: either("NO_PROXY"),
        }
    }

    /// The proxy for `target`, if it is to be reached through one.
    pub(super) fn between(&self, target: &Uri) -> io::Result<Option<Proxy>> {
        let secure = target.scheme_str() != Some("http");
        let setting = if secure { &self.https } else { &self.http };
        let host = target.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if setting.is_empty() || self.is_direct(&host, port) {
            return Ok(None);
        }
        Proxy::parse(setting).map(Some)
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.exceptions.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some((network, bits)), Some(address)) = (entry.split_once('/'), address) {
                return is_in_network(address, network, bits);
            }
            let (name, wanted) = match entry.rsplit_once(':') {
                Some((name, wanted)) if !name.contains(':') => (name.to_owned(), wanted.parse().ok()),
                _ => (entry.clone(), None),
            };
            if name.is_empty() || wanted.is_some_and(|wanted: u16| wanted != port) {
                return false;
            }
            let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&name);
            match name.strip_prefix('.') {
                Some(_) => host.ends_with(name),
                None => host == name || (address.is_none() && host.ends_with(&format!(".{name}"))),
            }
        })
    }
}

fn is_in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (address, network.parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

impl Proxy {
    /// `[http://][user:password@]host[:port]`. The text is a secret: it is not repeated in the error.
    fn parse(setting: &Secret) -> io::Result<Self> {
        let refused =
            || io::Error::new(io::ErrorKind::InvalidInput, "the proxy setting is not http://host:port");
        let text = setting.reveal();
        let text = text.strip_prefix("http://").unwrap_or(text);
        if text.contains("://") {
            return Err(refused());
        }
        let authority = text.split('/').next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let uri: Uri = format!("http://{place}/").parse().map_err(|_| refused())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(refused());
        }
        let encode = |user: &str| Secret::new(base64::engine::general_purpose::STANDARD.encode(user));
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), authorization: user.map(encode) })
    }

    /// Connects to the proxy itself.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect((self.host.as_str(), self.port)).await
    }

    /// Asks the proxy for a tunnel to `host:port` (RFC 9110, section 9.3.6).
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", authorization.reveal()));
        }
        let request = Secret::new(request + "\r\n");
        stream.write_all(request.reveal().as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the head belongs to the tunnel.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= ANSWER_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer is too long"));
            }
            answer.push(stream.read_u8().await?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if answer.starts_with(b"HTTP/1.") && status.first() == Some(&b'2') && status.len() == 3 {
            return Ok(());
        }
        let status: String = String::from_utf8_lossy(status).chars().take(3).collect();
        Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("the proxy refused the tunnel: {status:?}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(exceptions: &str, target: &str) -> bool {
        let proxies =
            Proxies { https: Secret::new("proxy:1"), exceptions: exceptions.into(), ..Proxies::default() };
        proxies.between(&target.parse().unwrap()).unwrap().is_none()
    }

    #[test]
    fn exceptions_follow_gos_rules() {
        for (exceptions, target, expected) in [
            ("", "https://quay.io/", false),
            ("*", "https://quay.io/", true),
            ("quay.io", "https://quay.io/", true),
            ("quay.io", "https://cdn.quay.io/", true),
            ("quay.io", "https://notquay.io/", false),
            (".quay.io", "https://quay.io/", false),
            ("*.quay.io", "https://cdn.quay.io/", true),
            ("a.io, quay.io:8443", "https://quay.io/", false),
            ("a.io, quay.io:8443", "https://quay.io:8443/", true),
            ("10.0.0.0/8", "https://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("0.0.0.0/0", "https://11.1.2.3/", true),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("", "https://127.0.0.1:5000/", true),
            ("", "https://localhost/", true),
            ("10.0.0.0/99", "https://10.0.0.1/", false),
        ] {
            assert_eq!(direct(exceptions, target), expected, "{exceptions} {target}");
        }
        assert!(direct("", "http://quay.io/"), "HTTPS_PROXY is for https");
    }

    #[test]
    fn settings_are_read_and_bad_ones_not_repeated() {
        let proxy = Proxy::parse(&Secret::new("http://user:pa@ss@proxy.corp:3128/")).ok().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
        assert!(proxy.authorization.is_some());
        for bad in ["socks5://x:sentinel@proxy", "https://proxy:3128", "", "user@"] {
            let error = Proxy::parse(&Secret::new(bad)).err().unwrap();
            assert!(!error.to_string().contains("sentinel"));
        }
        let found = Proxies::from_variables(|name| (name == "https_proxy").then(|| "proxy:1".to_owned()));
        assert_eq!(found.https.reveal(), "proxy:1");
        assert!(found.http.is_empty());
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_and_a_refusal_reported() {
        for (answer, expected) in
            [("HTTP/1.1 200 OK\r\nX: y\r\n\r\n", true), ("HTTP/1.1 407 No\r\n\r\n", false)]
        {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let proxy = Proxy::parse(&Secret::new(format!("http://user:x@127.0.0.1:{port}"))).ok().unwrap();
            let served = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8_lossy(&head[..length]).into_owned()
            });
            let mut stream = proxy.connect().await.unwrap();
            assert_eq!(proxy.tunnel(&mut stream, "quay.io", 443).await.is_ok(), expected);
            let head = served.await.unwrap();
            assert!(
                head.starts_with("CONNECT quay.io:443 HTTP/1.1\r\n") && head.contains("Basic dXNlcjp4"),
                "{head}"
            );
        }
    }
}
