use super::*;
use crate::reference::Parsed;

fn load(files: &[(&str, &str)]) -> Result<Registries, RegistriesError> {
    let dir = tempfile::tempdir().unwrap();
    let drop_ins = dir.path().join("registries.conf.d");
    std::fs::create_dir(&drop_ins).unwrap();
    for (name, text) in files {
        let place = if *name == "main" { dir.path().join("registries.conf") } else { drop_ins.join(name) };
        std::fs::write(place, text).unwrap();
    }
    Registries::load(&RegistriesPaths { file: dir.path().join("registries.conf"), directory: drop_ins })
}

fn sources(registries: &Registries, reference: &str) -> Vec<String> {
    let reference = Reference::parse(reference).unwrap();
    let sources = registries.sources(&reference).unwrap();
    sources
        .iter()
        .map(|source| {
            let mark = if source.insecure { "!" } else { "" };
            let mirror = if source.mirror { "~" } else { "" };
            format!("{mirror}{mark}{}", source.reference)
        })
        .collect()
}

fn short(text: &str) -> ShortName {
    match Parsed::parse(text).unwrap() {
        Parsed::Short(name) => name,
        Parsed::Qualified(_) => panic!("{text} is qualified"),
    }
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn without_files_every_registry_is_used_as_named() {
    let none = load(&[]).unwrap();
    assert_eq!(sources(&none, "quay.io/a/b:c"), ["quay.io/a/b:c"]);
    assert!(matches!(none.candidates(&short("a"), None), Err(RegistriesError::NoSearchRegistries { .. })));
}

#[test]
fn the_longest_prefix_decides_and_rewrites() {
    let registries = load(&[(
        "main",
        r#"
        [[registry]]
        location = "example.com"
        insecure = true
        [[registry]]
        prefix = "example.com/team"
        location = "127.0.0.1:5000/moved"
        [[registry.mirror]]
        location = "mirror.example:5000/cache"
        insecure = true
        [[registry]]
        prefix = "example.com/team/secret"
        blocked = true
        "#,
    )])
    .unwrap();
    assert_eq!(sources(&registries, "example.com/app:1"), ["!example.com/app:1"]);
    assert_eq!(
        sources(&registries, "example.com/team/app:1"),
        ["~!mirror.example:5000/cache/app:1", "127.0.0.1:5000/moved/app:1"]
    );
    assert_eq!(sources(&registries, "example.com/teamwork:1"), ["!example.com/teamwork:1"]);
    assert_eq!(sources(&registries, "example.com.evil.org/team:1"), ["example.com.evil.org/team:1"]);
    let blocked = registries.sources(&Reference::parse("example.com/team/secret/x").unwrap());
    assert!(
        matches!(blocked, Err(RegistriesError::Blocked { prefix, .. }) if prefix == "example.com/team/secret")
    );
}

#[test]
fn wildcards_match_subdomains_only() {
    let registries = load(&[(
        "main",
        r#"
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        [[registry]]
        prefix = "*.corp.example.com"
        location = "mirror.corp/all"
        "#,
    )])
    .unwrap();
    assert_eq!(sources(&registries, "a.example.com/x:1"), ["!a.example.com/x:1"]);
    assert_eq!(sources(&registries, "a.b.example.com:5000/x:1"), ["!a.b.example.com:5000/x:1"]);
    assert_eq!(sources(&registries, "example.com/x:1"), ["example.com/x:1"]);
    assert_eq!(sources(&registries, "quay.io/a.example.com/x:1"), ["quay.io/a.example.com/x:1"]);
    assert_eq!(sources(&registries, "x.corp.example.com/y:1"), ["mirror.corp/all/y:1"]);
}

#[test]
fn mirrors_serve_tags_or_digests_as_configured() {
    let registries = load(&[(
        "main",
        r#"
        [[registry]]
        location = "a.io"
        [[registry.mirror]]
        location = "tags.io"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "digests.io"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "b.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "digests.io"
        "#,
    )])
    .unwrap();
    let digest = |name: &str| format!("{name}@sha256:{HEX}");
    assert_eq!(sources(&registries, "a.io/x:1"), ["~tags.io/x:1", "a.io/x:1"]);
    assert_eq!(
        sources(&registries, &digest("a.io/x")),
        [format!("~{}", digest("digests.io/x")), digest("a.io/x")]
    );
    assert_eq!(sources(&registries, "b.io/x:1"), ["b.io/x:1"]);
    assert_eq!(sources(&registries, &digest("b.io/x")).len(), 2);
}

#[test]
fn later_files_replace_tables_and_add_aliases() {
    let registries = load(&[
        (
            "main",
            "unqualified-search-registries = [\"one.io\", \"two.io\"]\n[aliases]\nbase = \"quay.io/base/image\"\n\
             gone = \"quay.io/gone\"\n[[registry]]\nlocation = \"a.io\"\ninsecure = true\n",
        ),
        ("10-a.conf", "short-name-mode = \"disabled\"\n[[registry]]\nlocation = \"a.io\"\n"),
        ("20-b.conf", "[aliases]\ngone = \"\"\n"),
        ("30-c.txt", "not toml at all ["),
    ])
    .unwrap();
    assert_eq!(sources(&registries, "a.io/x:1"), ["a.io/x:1"]);
    let named = |name: &str, mode| {
        registries
            .candidates(&short(name), mode)
            .map(|all| all.iter().map(Reference::to_string).collect::<Vec<_>>())
    };
    assert_eq!(named("base:2", None).unwrap(), ["quay.io/base/image:2"]);
    assert_eq!(named("gone", None).unwrap(), ["one.io/gone:latest", "two.io/gone:latest"]);
    assert!(matches!(
        named("gone", Some(ShortNameMode::Enforcing)),
        Err(RegistriesError::Ambiguous { candidates, .. }) if candidates.contains("two.io/gone:latest")
    ));
}

#[test]
fn mistakes_name_the_file_and_the_remedy() {
    for (text, expected) in [
        ("[registries.search]\nregistries = [\"a.io\"]\n", "version 1"),
        ("[[registry]]\ninsecure = true\n", "prefix"),
        ("[[registry]]\nlocation = \"https://a.io\"\n", "location"),
        ("[[registry]]\nprefix = \"a.io\"\nlocation = \"*.b.io\"\n", "wildcard"),
        (
            "[[registry]]\nlocation=\"a.io\"\n[[registry.mirror]]\nlocation=\"b.io\"\npull-from-mirror=\"never\"\n",
            "tag-only",
        ),
        ("short-name-mode = \"sometimes\"\n", "enforcing"),
        ("[aliases]\nx = \"y\"\n", "alias"),
        ("unqualified-search-registries = [\"no host\"]\n", "host"),
        ("[[registry]\n", "registries.conf"),
    ] {
        let error = load(&[("main", text)]).unwrap_err();
        assert!(error.to_string().contains("registries.conf"), "{error}");
        assert!(error.to_string().contains(expected), "{error} lacks {expected}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
