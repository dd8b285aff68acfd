//! What a hostile or broken registry serves: refused, and nothing stays behind.

use ochre_image::PullRequest;
use ochre_types::ErrorKind;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::registry::{Fault, Registry};

/// Pulls `app:latest`, which must fail with `kind` and with `words` in the message, and leave nothing.
async fn refused(registry: &Registry, kind: ErrorKind, words: &[&str]) {
    let node = Node::new(&[registry]);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
    node.assert_empty();
    assert!(node.images.pulls().is_empty());
}

fn image() -> TestImage {
    TestImage::new(OCI_MANIFEST, &[Layer::random(40_000, 11), Layer::random(50_000, 12)])
}

/// The image with its manifest changed, pushed under the new digest.
fn push_changed(registry: &Registry, image: &TestImage, change: impl FnOnce(&mut Value)) {
    image.push(registry, "old");
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    change(&mut manifest);
    registry.put_manifest("latest", OCI_MANIFEST, manifest.to_string().into_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_other_bytes_is_refused_by_name() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[1].digest, [Fault::Corrupt]);
    refused(&registry, ErrorKind::Internal, &[&image.layers[1].digest, "hash to"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_other_bytes_is_refused_by_name() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&digest(&image.config), [Fault::Corrupt]);
    refused(&registry, ErrorKind::Internal, &[&digest(&image.config), "the content is sha256:"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_asked_for_by_digest_must_have_it() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.put_manifest(&image.digest(), OCI_MANIFEST, TestImage::new(OCI_MANIFEST, &[]).manifest);
    let node = Node::new(&[&registry]);
    let error = node.pull(&format!("{}/app@{}", registry.host(), image.digest())).await.unwrap_err();
    assert!(chain(&error).contains(&image.digest()), "{}", chain(&error));
    node.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_must_be_as_promised() {
    for change in [-1i64, 1] {
        let registry = Registry::start().await;
        let image = image();
        let size = i64::try_from(image.layers[0].blob.len()).unwrap() + change;
        push_changed(&registry, &image, |manifest| manifest["layers"][0]["size"] = json!(size));
        refused(&registry, ErrorKind::Internal, &[&image.layers[0].digest, &size.to_string()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    let registry = Registry::start().await;
    let mut layers = image().layers;
    let promised = digest(b"something else");
    layers[0].diff_id = promised.clone();
    TestImage::new(OCI_MANIFEST, &layers).push(&registry, "latest");
    refused(&registry, ErrorKind::Internal, &[&layers[0].digest, &promised]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_and_diff_ids_must_be_as_many() {
    let registry = Registry::start().await;
    push_changed(&registry, &image(), |manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    refused(&registry, ErrorKind::Internal, &["1 layers", "configuration 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_leaves_the_layer_is_refused() {
    let registry = Registry::start().await;
    let layer = Layer::new(&tar(&[("../../escaped", b"x")]), Packing::Gzip);
    TestImage::new(OCI_MANIFEST, std::slice::from_ref(&layer)).push(&registry, "latest");
    refused(&registry, ErrorKind::InvalidArgument, &[&layer.digest, "escaped"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_documents_are_cut_off() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    registry.fault("/manifests/", [Fault::Endless]);
    refused(&registry, ErrorKind::Exhausted, &["more than 4194304 bytes"]).await;
    registry.fault("/blobs/", [Fault::Endless]);
    refused(&registry, ErrorKind::Exhausted, &["more than"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_layer_is_cut_off_at_its_size() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, [Fault::Endless]);
    refused(&registry, ErrorKind::Internal, &[&image.layers[0].digest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_refused() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    registry.fault("/manifests/", [Fault::ContentType("text/html")]);
    refused(&registry, ErrorKind::Internal, &["text/html"]).await;
    registry.fault("/manifests/", [Fault::ContentType(OCI_INDEX)]);
    refused(&registry, ErrorKind::Internal, &["was served as"]).await;
    registry.fault("/manifests/", [Fault::Replace(b"{\"schemaVersion\":1,\"fsLayers\":[]}".to_vec())]);
    refused(&registry, ErrorKind::InvalidArgument, &["schema 1"]).await;
    registry.fault("/manifests/", [Fault::Replace(b"<html>".to_vec())]);
    refused(&registry, ErrorKind::Internal, &["malformed"]).await;
    push_changed(&registry, &image(), |manifest| {
        manifest["config"]["mediaType"] = json!("");
    });
    refused(&registry, ErrorKind::InvalidArgument, &["artifact"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_layers_are_not_fetched_from_their_urls() {
    let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
    let image = image();
    push_changed(&registry, &image, |manifest| {
        manifest["layers"][0]["mediaType"] =
            json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        manifest["layers"][0]["urls"] = json!([format!("http://{}/layer", elsewhere.host())]);
    });
    refused(&registry, ErrorKind::InvalidArgument, &["foreign layer"]).await;
    assert!(elsewhere.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_layer_leaves_the_good_ones_invisible_and_a_retry_succeeds() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[1].digest, [Fault::Corrupt]);
    let node = Node::new(&[&registry]);
    let name = format!("{}/app", registry.host());
    node.pull(&name).await.unwrap_err();
    node.assert_empty();
    node.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_are_none_and_policies_that_forbid_cause_no_request() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    for reference in ["", "UPPER", "a b", "http://x/y", &format!("{}/app:", registry.host())] {
        assert_eq!(node.pull(reference).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{reference}");
    }
    for (policy, words) in [
        (r#"{"default":[{"type":"reject"}]}"#, "rejects"),
        (r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}"#, "not supported"),
    ] {
        std::fs::write(node.dir.path().join("policy.json"), policy).unwrap();
        let request = PullRequest { reference: format!("{}/app", registry.host()), ..PullRequest::default() };
        let error = node.images.pull(request).await.unwrap_err();
        assert_eq!(error.pull_reason().unwrap().as_str(), "SignatureValidationFailed");
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
    assert!(registry.log().is_empty());
}
