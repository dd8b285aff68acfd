//! TLS: versions, client certificates, and files that change under the server.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ochre_stream::{Error, ServerConfig, TlsConfig, TlsVersion};
use ochre_types::ErrorKind;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::*;

const V4: &str = "v4.channel.k8s.io";

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A CA as `name.ca.pem` and a certificate of it for 127.0.0.1 as `name.pem`, with its key as `name.key`.
fn issue(directory: &Path, name: &str) {
    std::fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        directory,
        &format!("req -x509 {curve} -keyout {name}.ca.key -out {name}.ca.pem -subj /CN={name}-ca -days 2"),
    );
    openssl(directory, &format!("req {curve} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    openssl(
        directory,
        &format!(
            "x509 -req -in {name}.csr -CA {name}.ca.pem -CAkey {name}.ca.key -CAcreateserial -out {name}.pem -days 2 -extfile san"
        ),
    );
}

/// Puts an issued pair to where the server looks for it.
fn install(directory: &Path, name: &str) {
    for (from, to) in [("pem", "tls.crt"), ("key", "tls.key")] {
        std::fs::copy(directory.join(format!("{name}.{from}")), directory.join(to)).unwrap();
    }
}

fn tls(directory: &Path) -> TlsConfig {
    TlsConfig {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
        client_ca: None,
        minimum: TlsVersion::Tls12,
        cipher_suites: Vec::new(),
    }
}

fn with(tls: TlsConfig) -> ServerConfig {
    ServerConfig { tls: Some(tls), ..config() }
}

/// A client that trusts one CA, and shows a certificate when it has one.
async fn dial(
    url: &str,
    directory: &Path,
    trusted: &str,
    shown: Option<&str>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let pem = |name: String| CertificateDer::from_pem_file(directory.join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pem(format!("{trusted}.ca.pem"))).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let client = match shown {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![pem(format!("{name}.pem"))], key).unwrap()
        }
    };
    let name = "127.0.0.1".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, connect(url).await).await?;
    // With TLS 1.3 the client believes to be connected before the server has looked at its certificate.
    stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").await?;
    stream.read_u8().await?;
    Ok(stream)
}

static ALL: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn sessions_go_through_tls_of_both_versions() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    issue(path, "one");
    install(path, "one");
    let (server, _engine) = start_with(with(tls(path))).await;
    let url = server.exec(command(&["cat"], IN_OUT)).unwrap();
    assert!(url.starts_with("https://127.0.0.1:"));
    for version in ALL {
        dial(&url, path, "one", None, &[version]).await.unwrap();
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path.join("one.ca.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&ALL)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), connect(&url).await).await.unwrap();
    let answer = request(&mut stream, "POST", &url, &upgrade(V4)).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let client = Client::over(stream);
    let (error, mut stdin) = (client.open("error").await, client.open("stdin").await.writer);
    let stdout = client.open("stdout").await.reader;
    let writing = async {
        produce(&mut stdin, 3_000_000).await.unwrap();
        drop(stdin);
    };
    assert_eq!(tokio::join!(sum_of(stdout), writing).0, sum_of_produced(3_000_000).await);
    assert_eq!(text(Some(error.reader)).await, SUCCESS);
}

#[tokio::test]
async fn the_lowest_version_and_the_cipher_suites_are_kept() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    issue(path, "one");
    install(path, "one");
    let old = [&rustls::version::TLS12];
    let (server, _engine) = start_with(with(TlsConfig { minimum: TlsVersion::Tls13, ..tls(path) })).await;
    let url = server.exec(command(&["cat"], OUT)).unwrap();
    assert!(dial(&url, path, "one", None, &old).await.is_err());
    dial(&url, path, "one", None, &ALL).await.unwrap();

    let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned();
    let (server, _engine) =
        start_with(with(TlsConfig { cipher_suites: vec![suite.clone()], ..tls(path) })).await;
    let url = server.exec(command(&["cat"], OUT)).unwrap();
    let stream = dial(&url, path, "one", None, &old).await.unwrap();
    let chosen = stream.get_ref().1.negotiated_cipher_suite().unwrap();
    assert_eq!(format!("{:?}", chosen.suite()), suite);
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_ca_when_there_is_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["one", "friend", "stranger"] {
        issue(path, name);
    }
    install(path, "one");
    let (server, _engine) =
        start_with(with(TlsConfig { client_ca: Some(path.join("friend.ca.pem")), ..tls(path) })).await;
    let url = server.exec(command(&["cat"], OUT)).unwrap();
    for version in ALL {
        assert!(dial(&url, path, "one", None, &[version]).await.is_err());
        assert!(dial(&url, path, "one", Some("stranger"), &[version]).await.is_err());
        dial(&url, path, "one", Some("friend"), &[version]).await.unwrap();
    }
}

#[tokio::test]
async fn changed_files_are_used_without_a_restart_and_broken_ones_are_not() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["one", "two"] {
        issue(path, name);
    }
    install(path, "one");
    let (server, _engine) = start_with(with(tls(path))).await;
    let url = server.exec(command(&["cat"], OUT)).unwrap();
    let pause = || tokio::time::sleep(Duration::from_millis(1100));
    dial(&url, path, "one", None, &ALL).await.unwrap();

    std::fs::copy(path.join("two.pem"), path.join("tls.crt")).unwrap();
    pause().await;
    dial(&url, path, "one", None, &ALL).await.expect("a certificate without its key is not used");
    std::fs::write(path.join("tls.key"), "broken").unwrap();
    pause().await;
    dial(&url, path, "one", None, &ALL).await.expect("nor is a key that is none");
    std::fs::remove_file(path.join("tls.key")).unwrap();
    pause().await;
    dial(&url, path, "one", None, &ALL).await.expect("nor one that is missing");
    install(path, "two");
    pause().await;
    dial(&url, path, "two", None, &ALL).await.expect("the whole pair is");
    assert!(dial(&url, path, "one", None, &ALL).await.is_err());
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["one", "two"] {
        issue(path, name);
    }
    install(path, "one");
    let good = tls(path);
    let missing = path.join("missing");
    for (name, config, kind) in [
        ("missing key", TlsConfig { key: missing.clone(), ..good.clone() }, ErrorKind::FailedPrecondition),
        (
            "key as certificate",
            TlsConfig { certificate: good.key.clone(), ..good.clone() },
            ErrorKind::InvalidArgument,
        ),
        ("other key", TlsConfig { key: path.join("two.key"), ..good.clone() }, ErrorKind::InvalidArgument),
        (
            "suite",
            TlsConfig { cipher_suites: vec!["RC4".to_owned()], ..good.clone() },
            ErrorKind::InvalidArgument,
        ),
        ("ca", TlsConfig { client_ca: Some(good.key.clone()), ..good.clone() }, ErrorKind::InvalidArgument),
    ] {
        let engine = Arc::new(Engine::default());
        let error: Error = ochre_stream::Server::bind(with(config), engine).await.err().expect(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_dropped() {
    let directory = TempDir::new().unwrap();
    issue(directory.path(), "one");
    install(directory.path(), "one");
    let (server, _engine) = start_with(with(tls(directory.path()))).await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(14), silent.read_to_end(&mut rest)).await.expect("dropped").ok();
}
