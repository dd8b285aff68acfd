//! `explain`: every location in order, whose credentials, and no secret.

use ochre_image::NamespacedAuth;

use crate::fixture::Node;

const REGISTRIES: &str = r#"
unqualified-search-registries = ["first.example", "second.example"]
short-name-mode = "disabled"
[[registry]]
prefix = "quay.example/team"
location = "quay.example/moved"
[[registry.mirror]]
location = "mirror.example:5000/copy"
insecure = true
[[registry.mirror]]
location = "digests.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.bad.example"
blocked = true
[aliases]
nick = "quay.example/team/nick"
"#;

fn node() -> Node {
    let node = Node::with(REGISTRIES, |config| {
        let directory = config.temp_dir.with_file_name("auth");
        config.namespaced_auth = Some(NamespacedAuth::open(directory));
    });
    let auths = r#"{"auths": {"mirror.example:5000": {"auth": "am9lOmh1bnRlcjI="}, "quay.example/moved": {"auth": "YW5uOmh1bnRlcjI="}},
        "credHelpers": {"first.example": "vault"}}"#;
    std::fs::write(node.dir.path().join("auth.json"), auths).unwrap();
    node
}

#[tokio::test]
async fn locations_are_listed_in_the_order_of_a_pull_with_the_source_of_credentials() {
    let node = node();
    let explain = |written: &str| node.images.explain(written, None).unwrap().to_string();
    let auth = node.dir.path().join("auth.json");
    let auth = auth.display();
    assert_eq!(
        explain("quay.example/team/app:1"),
        format!(
            "quay.example/team/app:1\n\
             \x20 1. mirror mirror.example:5000/copy/app:1\n\
             \x20    by https unverified or plain http (insecure = true)\n\
             \x20    credentials of {auth} (entry mirror.example:5000)\n\
             \x20 2. registry quay.example/moved/app:1\n\
             \x20    by verified https\n\
             \x20    credentials of {auth} (entry quay.example/moved)\n"
        )
    );
    let digest = format!("quay.example/team/app@sha256:{}", "0".repeat(64));
    assert!(explain(&digest).contains("mirror digests.example/app@sha256"));
    let short = explain("web");
    assert!(
        short.starts_with("web is a short name; it is looked for as:\nfirst.example/web:latest\n"),
        "{short}"
    );
    assert!(short.contains(&format!("credentials of docker-credential-vault, named by {auth}")), "{short}");
    assert!(short.contains("second.example/web:latest\n  1. registry"), "{short}");
    assert!(short.contains("without credentials: none are configured for second.example"), "{short}");
    assert!(explain("nick").contains("mirror mirror.example:5000/copy/nick:latest"));
    assert!(
        explain("a.bad.example/x").contains("refused, nothing is asked: registry *.bad.example is blocked")
    );
    for text in [explain("quay.example/team/app"), short] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(node.images.explain("quay.example/UPPER", None).is_err());
}

#[tokio::test]
async fn the_file_of_a_namespace_goes_before_the_others() {
    let node = node();
    let directory = node.dir.path().join("auth");
    std::fs::create_dir(&directory).unwrap();
    // sha256 of "quay.example/team/app".
    let hash = "4d93e968f1ccd2cd0db2da5a10a51d04aba81a44a3fd42506fc68adb75e237ef";
    let own = directory.join(format!("prod-{hash}.json"));
    std::fs::write(&own, r#"{"auths": {"quay.example": {"auth": "YW5uOmh1bnRlcjI="}}}"#).unwrap();
    let text = node.images.explain("quay.example/team/app:1", Some("prod")).unwrap().to_string();
    assert!(text.contains(&format!("{} (entry quay.example)", own.display())), "{text}");
    assert!(own.exists(), "explaining takes nothing");
}
