//! `[crio.api]`: the CRI and streaming servers.

use std::path::PathBuf;
use std::time::Duration;

use super::{check, effect, environment, options, reload};
use crate::value::TlsVersion;

options! {
    /// The CRI and streaming servers.
    pub struct ApiConfig as "crio.api" {
        /// Socket of the CRI server.
        listen: PathBuf = PathBuf::from("/var/run/crio/crio.sock"), now restart, check listen;
        /// Address of the streaming server.
        stream_address: String = "127.0.0.1".to_owned(), now restart;
        /// Port of the streaming server; "0" takes a free one.
        stream_port: String = "0".to_owned(), now restart, check port_text;
        /// TLS for the streaming server.
        stream_enable_tls: bool = false, now restart, environment "CONTAINER_ENABLE_TLS";
        /// Certificate of the streaming server.
        stream_tls_cert: PathBuf = PathBuf::new(), now live, check absolute_or_empty, environment "CONTAINER_TLS_CERT";
        /// Key of that certificate.
        stream_tls_key: PathBuf = PathBuf::new(), now live, check absolute_or_empty, environment "CONTAINER_TLS_KEY";
        /// Authorities for client certificates, which are then required.
        stream_tls_ca: PathBuf = PathBuf::new(), now live, check absolute_or_empty, environment "CONTAINER_TLS_CA";
        /// Time after which an idle stream is closed; 0 is four hours.
        stream_idle_timeout: Duration = Duration::ZERO, now restart, environment "STREAM_IDLE_TIMEOUT";
        /// Lowest TLS version of the streaming and metrics servers.
        tls_min_version: TlsVersion = TlsVersion::Tls12, now restart;
        /// Cipher suites for TLS 1.2; empty takes safe ones.
        tls_cipher_suites: Vec<String> = Vec::new(), now restart;
        /// Largest message sent, bytes; 0 or less is the default.
        grpc_max_send_msg_size: i64 = 83886080, now restart;
        /// Largest message received, bytes; 0 or less is the default.
        grpc_max_recv_msg_size: i64 = 83886080, now restart;
    }
}
