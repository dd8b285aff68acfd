use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn names_are_completed_as_docker_does() {
    for (text, expected) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("team/app", "docker.io/team/app:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox:x", "docker.io/library/busybox:x"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
        ("[::1]:5000/a/b", "[::1]:5000/a/b:latest"),
        ("Host/app", "Host/app:latest"),
        ("quay.io/a__b/c-d--e.f", "quay.io/a__b/c-d--e.f:latest"),
    ] {
        assert_eq!(Reference::parse(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn a_digest_wins_and_the_recorded_name_drops_the_tag() {
    let reference = Reference::parse(&format!("quay.io/a/b:v1@sha256:{HEX}")).unwrap();
    assert_eq!(reference.tag(), Some("v1"));
    assert_eq!(reference.selector(), format!("sha256:{HEX}"));
    assert_eq!(reference.recorded_name(), format!("quay.io/a/b@sha256:{HEX}"));
    let untagged = Reference::parse(&format!("busybox@sha256:{HEX}")).unwrap();
    assert_eq!(untagged.to_string(), format!("docker.io/library/busybox@sha256:{HEX}"));
}

#[test]
fn short_names_are_told_from_qualified_ones() {
    assert!(matches!(Parsed::parse("a/b/c:t").unwrap(), Parsed::Short(_)));
    assert!(matches!(Parsed::parse("a.b/c").unwrap(), Parsed::Qualified(_)));
    assert!(matches!(Parsed::parse("localhost/c").unwrap(), Parsed::Qualified(_)));
}

#[test]
fn what_breaks_the_grammar_is_refused() {
    let long_tag = format!("a:{}", "t".repeat(129));
    let long_path = format!("a.b/{}", "p".repeat(256));
    let huge = "a".repeat(TEXT_MAX + 1);
    for text in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a/B",
        "a:",
        "a:-x",
        "a:b:c",
        "a@",
        "a@sha256:abc",
        "a@b@c",
        " a",
        "a b",
        "a/../b",
        "../a",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a_-b",
        "http://a.b/c",
        "a.b:0/c",
        "a.b:99999/c",
        "a.b:+1/c",
        "-a.b/c",
        "a..b/c",
        "[::1/c",
        "[::zz]/c",
        "[::1]x/c",
        "user@host.io/c",
        "é",
        "a\0",
        HEX,
        &long_tag,
        &long_path,
        &huge,
    ] {
        assert!(Parsed::parse(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered_and_what_is_accepted_survives_a_round_trip(text in "\\PC{0,80}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }

    #[test]
    fn generated_references_keep_their_parts(
        domain in "[a-z][a-z0-9]{0,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,6}([._]|__|-{1,3})[a-z0-9]{1,6}(/[a-z0-9]{1,9}){0,3}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    ) {
        let reference = Reference::parse(&format!("{domain}/{path}:{tag}")).unwrap();
        if domain != "docker.io" {
            prop_assert_eq!(reference.path(), path.as_str());
        }
        prop_assert_eq!(reference.domain(), domain.as_str());
        prop_assert_eq!(reference.tag(), Some(tag.as_str()));
    }

    #[test]
    fn near_misses_never_panic(text in "[a-z0-9./:@_\\[\\]A-Z-]{0,60}") {
        drop(Parsed::parse(&text));
    }
}
