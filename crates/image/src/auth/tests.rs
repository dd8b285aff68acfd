use std::path::Path;

use super::*;

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn user(credentials: Option<Credentials>) -> Option<(String, String)> {
    match credentials? {
        Credentials::Basic { username, password } => Some((username, password.reveal().to_owned())),
        Credentials::Identity(token) => Some(("identity".into(), token.reveal().to_owned())),
        Credentials::Bearer(token) => Some(("bearer".into(), token.reveal().to_owned())),
    }
}

fn pair(user: &str, password: &str) -> Option<(String, String)> {
    Some((user.into(), password.into()))
}

#[test]
fn a_request_gives_tokens_before_passwords() {
    let auth = Secret::new(encoded("joe:pass:word\0\0"));
    let mut config = AuthConfig { auth, ..AuthConfig::default() };
    assert_eq!(user(config.credentials().unwrap()), pair("joe", "pass:word"));
    config.username = "ann".into();
    config.password = Secret::new("x");
    assert_eq!(user(config.credentials().unwrap()), pair("ann", "x"));
    config.identity_token = Secret::new("i");
    assert_eq!(user(config.credentials().unwrap()), pair("identity", "i"));
    config.registry_token = Secret::new("r");
    assert_eq!(user(config.credentials().unwrap()), pair("bearer", "r"));
    assert_eq!(AuthConfig::default().credentials().unwrap(), None);
}

#[test]
fn credentials_for_another_server_are_not_used() {
    let mut config = AuthConfig { username: "joe".into(), ..AuthConfig::default() };
    for (address, text, used) in [
        ("", "quay.io/a", true),
        ("quay.io", "quay.io/a", true),
        ("https://quay.io/v2/", "quay.io/a", true),
        ("https://index.docker.io/v1/", "busybox", true),
        ("https://evil.org", "quay.io/a", false),
        ("quay.io.evil.org", "quay.io/a", false),
    ] {
        config.server_address = address.into();
        assert_eq!(config.credentials_for(&reference(text)).unwrap().is_some(), used, "{address}");
    }
}

#[test]
fn a_broken_auth_field_is_refused_without_being_shown() {
    for auth in ["%%%".to_owned(), encoded("nocolon"), encoded(":nouser"), "A".repeat(AUTH_MAX + 1)] {
        let config = AuthConfig { auth: Secret::new(auth.as_str()), ..AuthConfig::default() };
        let error = config.credentials().unwrap_err();
        assert!(!error.to_string().contains(&auth), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn the_longest_entry_of_a_file_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    let text = format!(
        r#"{{ "auths": {{
            "quay.io": {{ "auth": "{}" }},
            "quay.io/team": {{ "auth": "{}" }},
            "https://index.docker.io/v1/": {{ "auth": "{}" }},
            "tok.io": {{ "identitytoken": "T" }},
            "stored.io": {{}}
        }}, "credHelpers": {{ "ecr.io": "ecr-login" }}, "credsStore": "desktop" }}"#,
        encoded("host:1"),
        encoded("team:2"),
        encoded("hub:3")
    );
    std::fs::write(&path, text).unwrap();
    let files = AuthFiles::only(path.clone());
    let found = |text: &str| user(files.lookup(&reference(text)).unwrap());
    assert_eq!(found("quay.io/other/app"), pair("host", "1"));
    assert_eq!(found("quay.io/team/app"), pair("team", "2"));
    assert_eq!(found("quay.io/teams/app"), pair("host", "1"));
    assert_eq!(found("busybox"), pair("hub", "3"));
    assert_eq!(found("tok.io/a"), pair("identity", "T"));
    assert_eq!(found("none.io/a"), None);
    for (text, program) in [("ecr.io/a", "ecr-login"), ("stored.io/a", "desktop")] {
        let error = files.lookup(&reference(text)).unwrap_err();
        assert!(error.to_string().contains(&format!("docker-credential-{program}")), "{error}");
    }
    assert_eq!(AuthFiles::only(dir.path().join("none")).lookup(&reference("quay.io/a")).unwrap(), None);
}

#[test]
fn a_broken_file_is_named_by_place_and_its_text_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, "{\"auths\": {\"a\": {\"auth\": \"c2VjcmV0\"}},\n hunter2 }").unwrap();
    let error = AuthFiles::only(path).lookup(&reference("quay.io/a")).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn files_are_searched_in_the_standard_order() {
    let files = AuthFiles::standard(Some(Path::new("/run/user/1")), None, Some(Path::new("/root")));
    let expected = [
        "/run/user/1/containers/auth.json",
        "/run/containers/0/auth.json",
        "/root/.config/containers/auth.json",
        "/root/.docker/config.json",
    ];
    assert_eq!(files, AuthFiles::from_paths(expected.map(Into::into).to_vec()));
}
