//! https: who is believed, and by which certificates. The certificates are made for these tests and for 127.0.0.1.

use std::sync::Arc;

use ochre_types::ErrorKind;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::fixture::*;
use crate::registry::{Fault, Registry};

const AUTHORITY: &[u8] = include_bytes!("certs/ca.crt");
const SERVER: &[u8] = include_bytes!("certs/server.crt");
const SERVER_KEY: &[u8] = include_bytes!("certs/server.key");
const CLIENT: &[u8] = include_bytes!("certs/client.crt");
const CLIENT_KEY: &[u8] = include_bytes!("certs/client.key");

fn server(wants_client: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(AUTHORITY).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(SERVER).unwrap()];
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap()).unwrap()
}

fn image() -> TestImage {
    TestImage::new(OCI_MANIFEST, &[Layer::random(50_000, 81)])
}

/// Puts files into the registry's directory below `certs.d`.
fn certs(node: &Node, registry: &Registry, files: &[(&str, &[u8])]) {
    let directory = node.dir.path().join("certs.d").join(registry.host());
    std::fs::create_dir_all(&directory).unwrap();
    files.iter().for_each(|(name, content)| std::fs::write(directory.join(name), content).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_until_certs_d_or_the_configuration_says_otherwise() {
    let registry = Registry::start_tls(server(false)).await;
    image().push(&registry, "latest");
    let name = format!("{}/app", registry.host());
    let stranger = Node::with("", |_| ());
    let error = stranger.pull(&name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    assert!(registry.log().is_empty());
    certs(&stranger, &registry, &[("ca.crt", AUTHORITY)]);
    stranger.images.reload_registries().unwrap();
    stranger.pull(&name).await.unwrap();
    Node::new(&[&registry]).pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_where_certs_d_has_one_and_nowhere_else() {
    let (registry, elsewhere) =
        (Registry::start_tls(server(true)).await, Registry::start_tls(server(true)).await);
    let image = image();
    image.push(&registry, "latest");
    image.push(&elsewhere, "latest");
    let name = format!("{}/app", registry.host());
    let node = Node::with("", |_| ());
    certs(&node, &registry, &[("ca.crt", AUTHORITY)]);
    certs(&node, &elsewhere, &[("ca.crt", AUTHORITY)]);
    node.pull(&name).await.unwrap_err();
    certs(&node, &registry, &[("client.cert", CLIENT), ("client.key", CLIENT_KEY)]);
    node.images.reload_registries().unwrap();
    let layer = &image.layers[0].digest;
    let there = format!("https://{}/v2/app/blobs/{layer}", elsewhere.host());
    registry.fault(layer, vec![Fault::Status(307, vec![("location", there)]); 3]);
    node.pull(&name).await.unwrap_err();
    assert!(elsewhere.log().is_empty(), "the client certificate went to another host");
    node.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn https_never_leads_to_http() {
    let (registry, plain) = (Registry::start_tls(server(false)).await, Registry::start().await);
    let image = image();
    image.push(&registry, "latest");
    image.push(&plain, "latest");
    let there = format!("http://{}/v2/app/manifests/latest", plain.host());
    registry.fault("/manifests/", [Fault::Status(302, vec![("location", there)])]);
    let node = Node::with("", |_| ());
    certs(&node, &registry, &[("ca.crt", AUTHORITY)]);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert!(chain(&error).contains("from https to http"), "{}", chain(&error));
    assert!(plain.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_file_is_named() {
    let registry = Registry::start_tls(server(false)).await;
    let node = Node::with("", |_| ());
    certs(&node, &registry, &[("client.cert", CLIENT), ("client.key", b"no key")]);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert!(chain(&error).contains("client.key"), "{}", chain(&error));
}
