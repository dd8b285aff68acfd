//! TLS of the server, read again when its files change.
//!
//! The files are looked at when a client connects, at most once a second: what changed there is used for that client
//! already. Certificate and key are often replaced one after the other, and a half-written pair must not stop the
//! server: files that cannot be used leave the old ones in use, and are logged once.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::error::Error;

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Longest file read.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Files and rules of TLS.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// When given, clients must show a certificate of one of these CAs (PEM).
    pub client_ca: Option<PathBuf>,
    /// The lowest version that is spoken.
    pub minimum: TlsVersion,
    /// Cipher suites of TLS 1.2 by the names that Go gives them; empty for all that are known. Those of TLS 1.3 are
    /// not chosen (as in Go).
    pub cipher_suites: Vec<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

static SINCE_12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
static SINCE_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

impl TlsVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => &SINCE_12,
            Self::Tls13 => &SINCE_13,
        }
    }
}

/// TLS in use.
pub(crate) struct Tls {
    config: TlsConfig,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    seen: Vec<Seen>,
    looked: Instant,
}

/// What a changed file differs in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Option<(u64, u64, u64, i64, i64)>);

impl Tls {
    pub(crate) fn load(config: TlsConfig) -> Result<Self, Error> {
        // Looked at before they are read: a change in between is found the next time.
        let seen = seen(&config);
        let acceptor = acceptor(&config)?;
        Ok(Self { config, state: Mutex::new(State { acceptor, seen, looked: Instant::now() }) })
    }

    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.current().await;
        acceptor.accept(tcp).await
    }

    async fn current(&self) -> TlsAcceptor {
        {
            let mut state = self.state.lock();
            if state.looked.elapsed() < LOOK {
                return state.acceptor.clone();
            }
            state.looked = Instant::now();
        }
        let config = self.config.clone();
        let old = self.state.lock().seen.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let seen = seen(&config);
            (seen != old).then(|| (acceptor(&config), seen))
        });
        let changed = looked.await.ok().flatten();
        let mut state = self.state.lock();
        if let Some((acceptor, seen)) = changed {
            state.seen = seen;
            match acceptor {
                Ok(acceptor) => {
                    tracing::info!(certificate = ?self.config.certificate, "TLS files of the streaming server read again");
                    state.acceptor = acceptor;
                }
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "changed TLS files of the streaming server are not used");
                }
            }
        }
        state.acceptor.clone()
    }
}

fn seen(config: &TlsConfig) -> Vec<Seen> {
    let files = [Some(&config.certificate), Some(&config.key), config.client_ca.as_ref()];
    let seen = |path: &PathBuf| {
        let status = std::fs::metadata(path).ok();
        Seen(status.map(|s| (s.dev(), s.ino(), s.size(), s.mtime(), s.mtime_nsec())))
    };
    files.into_iter().flatten().map(seen).collect()
}

fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites(&config.cipher_suites)?,
        ..ring::default_provider()
    });
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(config.minimum.versions())
        .map_err(Error::Tls)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(Error::Tls)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(Error::ClientCa)?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(&read(&config.key)?)
        .map_err(|_| Error::TlsPem { path: config.key.clone(), what: "private key" })?;
    // Fails also when the key is not that of the certificate.
    let mut server = builder.with_single_cert(certificates(&config.certificate)?, key).map_err(Error::Tls)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = || Error::TlsPem { path: path.to_owned(), what: "certificate" };
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(pem)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::TlsFile { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, FILE_LIMIT), &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The suites with these names and all of TLS 1.3.
fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, Error> {
    let all = ring::default_provider().cipher_suites;
    let name_of = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let wanted = |name: &str| {
        // Go has two names for these.
        let name = match name {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
                format!("{name}_SHA256")
            }
            _ => name.replacen("TLS_AES", "TLS13_AES", 1).replacen("TLS_CHACHA20", "TLS13_CHACHA20", 1),
        };
        all.iter().find(|suite| name_of(suite) == name).copied()
    };
    let mut chosen: Vec<_> = all.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
    if names.is_empty() {
        return Ok(all);
    }
    for name in names {
        let suite = wanted(name).ok_or_else(|| Error::CipherSuite { name: name.clone() })?;
        if !chosen.contains(&suite) {
            chosen.push(suite);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_suites_go_by_the_names_of_go() {
        let names = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            suites(&list).map(|suites| suites.iter().filter(|suite| suite.tls13().is_none()).count())
        };
        assert_eq!(names(&[]).unwrap(), 6);
        assert_eq!(names(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).unwrap(), 1);
        assert_eq!(names(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_AES_128_GCM_SHA256"]).unwrap(), 1);
        assert_eq!(names(&["TLS_AES_128_GCM_SHA256"]).unwrap(), 0);
        assert!(matches!(
            names(&["TLS_RSA_WITH_RC4_128_SHA"]),
            Err(Error::CipherSuite { name }) if name == "TLS_RSA_WITH_RC4_128_SHA"
        ));
    }
}
