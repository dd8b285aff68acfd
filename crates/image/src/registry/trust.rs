//! TLS towards one host: the system's roots, `certs.d`, and no verification where the configuration says so.
//!
//! `certs.d/<host[:port]>/` holds `*.crt` (further roots) and pairs `*.cert` + `*.key` (client certificate), as
//! containers-certs.d(5) describes. The directory of the first place that has one for the host counts.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::RegistryError;

const FILE_MAX: u64 = 4 << 20;

/// How far a registry is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// https with a verified certificate.
    Verified,
    /// https with any certificate, or http.
    Insecure,
}

/// Builds the configuration for `host`. Blocking.
pub(super) fn client_config(
    host: &str,
    trust: Trust,
    places: &[PathBuf],
) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let found = Found::for_host(host, places)?;
    let failed = |reason: String| RegistryError::Certificate { path: found.directory.clone(), reason };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let builder = match trust {
        Trust::Insecure => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
        Trust::Verified => {
            let mut roots = RootCertStore::empty();
            // A system without roots can still use those of certs.d; unreadable ones are as good as absent.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(found.roots.iter().cloned());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| failed(error.to_string()))?)
        }
    };
    match found.client {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))
        }
    }
}

struct Found {
    directory: PathBuf,
    roots: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Found {
    fn for_host(host: &str, places: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut found =
            Self { directory: "the system's certificates".into(), roots: Vec::new(), client: None };
        // The host comes out of a reference or a redirection; it must never be a path.
        if host.is_empty() || host.contains('/') || host.starts_with('.') {
            return Ok(found);
        }
        let Some(directory) =
            places.iter().map(|place| place.join(host)).find(|directory| directory.is_dir())
        else {
            return Ok(found);
        };
        let entries = std::fs::read_dir(&directory).map_err(|error| unusable(&directory, &error))?;
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.roots.extend(certificates(&path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let key = PrivateKeyDer::from_pem_slice(&read(&key)?)
                        .map_err(|error| unusable(&key, &error))?;
                    found.client = Some((certificates(&path)?, key));
                }
                _ => {}
            }
        }
        found.directory = directory;
        Ok(found)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unusable(path, &error))?;
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| unusable(path, &error))?;
    Ok(bytes)
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> RegistryError {
    RegistryError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

/// Accepts every certificate; the handshake's signature is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
