//! The streaming server, from its section of the configuration.

use std::path::Path;
use std::sync::Arc;

use ochre_config::{ApiConfig, TlsVersion};
use ochre_stream::{Backend, Server, ServerConfig, TlsConfig};

use crate::error::Error;

/// Binds it; from then on URLs can be given out.
///
/// # Errors
/// An address that cannot be had, or TLS files that cannot be used.
pub(crate) async fn start(config: &ApiConfig, backend: Arc<dyn Backend>) -> Result<Server, Error> {
    let port = config.stream_port.parse().map_err(|_| Error::Option {
        option: "crio.api.stream_port",
        reason: format!("{:?} is not a port", config.stream_port),
    })?;
    let tls = if config.stream_enable_tls { Some(tls(config)?) } else { None };
    let server = Server::bind(
        ServerConfig {
            address: config.stream_address.clone(),
            port,
            tls,
            idle_timeout: config.stream_idle_timeout,
        },
        backend,
    )
    .await?;
    let scheme = if config.stream_enable_tls { "https" } else { "http" };
    tracing::info!("streaming on {scheme}://{}", server.address());
    Ok(server)
}

fn tls(config: &ApiConfig) -> Result<TlsConfig, Error> {
    let given = |option: &'static str, path: &Path| match path.as_os_str().is_empty() {
        true => Err(Error::Option { option, reason: "it must be given with stream_enable_tls".to_owned() }),
        false => Ok(path.to_owned()),
    };
    Ok(TlsConfig {
        certificate: given("crio.api.stream_tls_cert", &config.stream_tls_cert)?,
        key: given("crio.api.stream_tls_key", &config.stream_tls_key)?,
        client_ca: Some(config.stream_tls_ca.clone()).filter(|path| !path.as_os_str().is_empty()),
        minimum: match config.tls_min_version {
            TlsVersion::Tls12 => ochre_stream::TlsVersion::Tls12,
            TlsVersion::Tls13 => ochre_stream::TlsVersion::Tls13,
        },
        cipher_suites: config.tls_cipher_suites.clone(),
    })
}
