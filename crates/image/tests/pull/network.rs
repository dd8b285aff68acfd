//! Networks and registries that fail, redirect, refuse and want credentials.

use std::time::{Duration, Instant};

use base64::Engine;
use ochre_image::{AuthConfig, Error, ImageServiceConfig, PullReason, PullRequest};
use ochre_types::{ErrorKind, ImageId, Secret};

use crate::fixture::*;
use crate::registry::{Fault, Registry, Wants};

fn image() -> TestImage {
    TestImage::new(OCI_MANIFEST, &[Layer::random(300_000, 21), Layer::random(100_000, 22)])
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

async fn pull_as(node: &Node, reference: &str, user: &str, password: &str) -> Result<ImageId, Error> {
    let auth = AuthConfig { username: user.into(), password: Secret::new(password), ..AuthConfig::default() };
    node.images.pull(PullRequest { reference: reference.into(), auth: Some(auth), namespace: None }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_registries_are_asked_again() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    registry.fault(
        "/manifests/",
        [Fault::Status(429, vec![("retry-after", "0".into())]), Fault::Status(503, vec![])],
    );
    registry.fault("/blobs/", [Fault::Status(500, vec![]), Fault::Status(502, vec![])]);
    let node = Node::new(&[&registry]);
    node.pull(&format!("{}/app", registry.host())).await.unwrap();
    assert_eq!(registry.requests("/manifests/"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failures_are_enough_and_a_long_retry_after_is_not_waited_for() {
    for (fault, requests) in
        [(Fault::Status(503, vec![]), 3), (Fault::Status(429, vec![("retry-after", "3600".into())]), 1)]
    {
        let registry = Registry::start().await;
        image().push(&registry, "latest");
        registry.fault("/manifests/", vec![fault; 10]);
        let node = Node::new(&[&registry]);
        let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
        assert_eq!(error.pull_reason(), Some(PullReason::RegistryUnavailable));
        assert_eq!(registry.requests("/manifests/"), requests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_blob_is_continued_where_it_broke() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    let blob = &image.layers[0].digest;
    registry.fault(blob, [Fault::Truncate(100_000), Fault::Truncate(50_000), Fault::Truncate(0)]);
    let node = Node::new(&[&registry]);
    let id = node.pull(&format!("{}/app", registry.host())).await.unwrap();
    assert!(node.file(&id, "file-21").is_some());
    let ranges: Vec<_> =
        registry.log().into_iter().filter(|seen| seen.path.contains(blob)).map(|seen| seen.range).collect();
    let from = |number: u32| Some(format!("bytes={number}-"));
    assert_eq!(ranges, [None, from(100_000), from(150_000), from(150_000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_always_breaks_fails_and_leaves_nothing() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, vec![Fault::Truncate(0); 20]);
    let node = Node::new(&[&registry]);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert_eq!(error.pull_reason(), Some(PullReason::RegistryUnavailable), "{}", chain(&error));
    node.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_blob_is_given_up_or_continued() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, [Fault::Stall(10_000)]);
    let node = Node::with(&insecure(&registry), short_patience);
    node.pull(&format!("{}/app", registry.host())).await.unwrap();
    let registry = Registry::start().await;
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, vec![Fault::Stall(0); 10]);
    let node = Node::with(&insecure(&registry), short_patience);
    let started = Instant::now();
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(chain(&error).contains("no data for 0.2 seconds"), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_secs(5));
    node.assert_empty();
}

fn insecure(registry: &Registry) -> String {
    format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host())
}

fn short_patience(config: &mut ImageServiceConfig) {
    config.progress_timeout = Duration::from_millis(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_registries_and_unknown_images_are_told_apart() {
    let registry = Registry::start().await;
    let node = Node::with("[[registry]]\nlocation = \"127.0.0.1:1\"\ninsecure = true\n", |_| ());
    let error = node.pull("127.0.0.1:1/app").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.pull_reason()),
        (ErrorKind::Unavailable, Some(PullReason::RegistryUnavailable))
    );
    assert!(chain(&error).contains("127.0.0.1:1"), "{}", chain(&error));
    let node = Node::new(&[&registry]);
    let error = node.pull(&format!("{}/app:none", registry.host())).await.unwrap_err();
    assert_eq!((error.kind(), error.pull_reason()), (ErrorKind::NotFound, None));
    assert!(chain(&error).contains("MANIFEST_UNKNOWN"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_needs_the_word_insecure() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    let node = Node::with("", |_| ());
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(registry.log().is_empty(), "{:?}", registry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_and_token_authentication_work_and_wrong_passwords_are_denied() {
    for (wants, sent) in [(Wants::Basic as fn(String) -> Wants, "/manifests/"), (Wants::Token, "/token")] {
        let registry = Registry::start().await;
        image().push(&registry, "latest");
        registry.want(wants(basic("joe", "pass:word")));
        let node = Node::new(&[&registry]);
        let name = format!("{}/app", registry.host());
        for result in [node.pull(&name).await, pull_as(&node, &name, "joe", "sentinel").await] {
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.pull_reason()), (ErrorKind::Denied, None), "{}", chain(&error));
            assert!(!format!("{error:?}{}", chain(&error)).contains("sentinel"));
        }
        pull_as(&node, &name, "joe", "pass:word").await.unwrap();
        assert!(registry.log().iter().any(|seen| {
            seen.path.contains(sent) && seen.authorization.as_deref() == Some(&basic("joe", "pass:word"))
        }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_all_layers_and_asks_for_our_scope() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    registry.want(Wants::Token(basic("joe", "x")));
    let node = Node::new(&[&registry]);
    pull_as(&node, &format!("{}/team/app", registry.host()), "joe", "x").await.unwrap();
    let tokens: Vec<_> = registry.log().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].path.contains("scope=repository%3Ateam%2Fapp%3Apull"), "{}", tokens[0].path);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_files_too() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    registry.want(Wants::Basic(basic("file", "secret")));
    let node = Node::new(&[&registry]);
    let auth = base64::engine::general_purpose::STANDARD.encode("file:secret");
    let text = format!(r#"{{"auths":{{"{}/app":{{"auth":"{auth}"}}}}}}"#, registry.host());
    std::fs::write(node.dir.path().join("auth.json"), text).unwrap();
    node.pull(&format!("{}/app", registry.host())).await.unwrap();
    assert_eq!(node.pull(&format!("{}/other", registry.host())).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_gets_the_request_and_no_credentials() {
    let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
    let image = image();
    image.push(&registry, "latest");
    image.push(&elsewhere, "latest");
    registry.want(Wants::Basic(basic("joe", "x")));
    let layer = &image.layers[0].digest;
    let there = format!("http://{}/v2/cdn/blobs/{layer}?signature=1", elsewhere.host());
    elsewhere.put_blob(&format!("{layer}?signature=1"), image.layers[0].blob.clone());
    registry.fault(layer, [Fault::Status(307, vec![("location", there)])]);
    let node = Node::new(&[&registry]);
    pull_as(&node, &format!("{}/app", registry.host()), "joe", "x").await.unwrap();
    let seen = elsewhere.log();
    // An attempt over TLS never gets to be a request.
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].authorization, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirections_in_a_circle_end() {
    let registry = Registry::start().await;
    image().push(&registry, "latest");
    let again = Fault::Status(302, vec![("location", "/v2/app/manifests/latest".into())]);
    registry.fault("/manifests/", vec![again; 30]);
    let node = Node::new(&[&registry]);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert!(chain(&error).contains("more than 10"), "{}", chain(&error));
    assert_eq!(registry.requests("/manifests/"), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_come_first_and_the_name_stays() {
    let (mirror, broken) = (Registry::start().await, Registry::start().await);
    let image = image();
    image.push(&mirror, "v1");
    let text = format!(
        "[[registry]]\nprefix = \"*.example.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\ninsecure = true\n\
         [[registry]]\nprefix = \"bad.example.invalid\"\nblocked = true\n",
        broken.host(),
        mirror.host()
    );
    let node = Node::with(&text, |_| ());
    let id = pull_as(&node, "r.example.invalid/team/app:v1", "joe", "x").await.unwrap();
    assert_eq!(node.store.image(&id).unwrap().unwrap().names, ["r.example.invalid/team/app:v1"]);
    assert_eq!((broken.requests("/manifests/"), mirror.requests("/v2/cache/")), (1, 4));
    assert!(mirror.log().iter().all(|seen| seen.authorization.is_none()), "credentials of another registry");
    let error = node.pull("bad.example.invalid/app").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(chain(&error).contains("blocked"), "{}", chain(&error));
    let error = node.pull("r.example.invalid/team/app:none").await.unwrap_err();
    assert!(
        chain(&error).contains(&format!("({}/cache/", mirror.host()).replace("/cache/", "/cache")),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_equal_pulls_fetch_each_blob_once() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault("/manifests/", [Fault::Slow(Duration::from_millis(100))]);
    let node = Node::new(&[&registry]);
    let name = format!("{}/app", registry.host());
    let pulls = (0..10).map(|_| node.pull(&name));
    let results = futures_util::future::join_all(pulls).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap().as_str() == image.id()));
    assert_eq!(registry.requests("/manifests/"), 1);
    assert_eq!(registry.requests("/blobs/"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_images_share_the_layers_they_have_in_common() {
    let registry = Registry::start().await;
    let base = Layer::random(400_000, 31);
    let names: Vec<_> = (0..6)
        .map(|number| {
            let top = Layer::random(10_000, 40 + number);
            TestImage::new(OCI_MANIFEST, &[base.clone(), top]).push(&registry, &format!("v{number}"));
            format!("{}/app:v{number}", registry.host())
        })
        .collect();
    registry.fault(&base.digest, [Fault::Slow(Duration::from_millis(300))]);
    let node = Node::new(&[&registry]);
    let results = futures_util::future::join_all(names.iter().map(|name| node.pull(name))).await;
    for (number, result) in results.into_iter().enumerate() {
        let id = result.unwrap();
        assert!(
            node.file(&id, "file-31").is_some() && node.file(&id, &format!("file-{}", 40 + number)).is_some()
        );
    }
    assert_eq!(registry.requests(&base.digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_whose_partner_fails_goes_on_alone() {
    let (registry, poor) = (Registry::start().await, Registry::start().await);
    let base = Layer::random(200_000, 51);
    let image = TestImage::new(OCI_MANIFEST, std::slice::from_ref(&base));
    image.push(&registry, "latest");
    image.push(&poor, "latest");
    poor.fault(&base.digest, vec![Fault::Stall(1000); 10]);
    let node = Node::new(&[&registry, &poor]);
    let (first, second) = (format!("{}/app", poor.host()), format!("{}/app", registry.host()));
    let (failed, good) = tokio::join!(node.pull(&first), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        node.pull(&second).await
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(good.unwrap().as_str(), image.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_does_not_end_the_pull() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, [Fault::Slow(Duration::from_millis(300))]);
    let node = Node::new(&[&registry]);
    let name = format!("{}/app", registry.host());
    assert!(tokio::time::timeout(Duration::from_millis(100), node.pull(&name)).await.is_err());
    let running = node.images.pulls();
    assert_eq!(
        (running.len(), running[0].reference.as_str(), running[0].layers_total),
        (1, name.as_str(), 2)
    );
    while !node.images.pulls().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.images.status(&name).await.unwrap().unwrap().id.as_str(), image.id());
    assert_eq!(registry.requests("/manifests/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_every_64_kib_gets_there_all_the_same() {
    let registry = Registry::start().await;
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(600_000, 23)]);
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, vec![Fault::Truncate(65_536); 9]);
    let node = Node::new(&[&registry]);
    node.pull(&format!("{}/app", registry.host())).await.unwrap();
    assert_eq!(registry.requests(&image.layers[0].digest), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_behind_a_proxy_is_reached_through_it() {
    let proxy = Registry::start().await;
    let image = image();
    image.push(&proxy, "v1");
    let text = "[[registry]]\nlocation = \"r.example.invalid\"\ninsecure = true\n";
    let node =
        Node::with(text, |config| config.proxies.http = Secret::new(format!("http://{}", proxy.host())));
    node.pull("r.example.invalid/app:v1").await.unwrap();
    let seen = proxy.log();
    assert!(seen.iter().all(|seen| seen.path.starts_with("http://r.example.invalid/v2/app/")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stalls_after_every_few_bytes_is_given_up() {
    let registry = Registry::start().await;
    let image = image();
    image.push(&registry, "latest");
    registry.fault(&image.layers[0].digest, vec![Fault::Stall(1000); 50]);
    let node = Node::with(&insecure(&registry), short_patience);
    let error = node.pull(&format!("{}/app", registry.host())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(registry.requests(&image.layers[0].digest), 3);
}
