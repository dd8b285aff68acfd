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
    let found = |text: &str| user(files.lookup(&reference(text), &[]).unwrap());
    assert_eq!(found("quay.io/other/app"), pair("host", "1"));
    assert_eq!(found("quay.io/team/app"), pair("team", "2"));
    assert_eq!(found("quay.io/teams/app"), pair("host", "1"));
    assert_eq!(found("busybox"), pair("hub", "3"));
    assert_eq!(found("tok.io/a"), pair("identity", "T"));
    assert_eq!(found("none.io/a"), None);
    for (text, program) in
        [("ecr.io/a", "docker-credential-ecr-login"), ("stored.io/a", "docker-credential-desktop")]
    {
        let source = files.find(&reference(text), &[]).unwrap();
        let expected = CredentialSource::Program { program: program.into(), named_by: Some(path.clone()) };
        assert_eq!(source, Some(expected));
    }
    let source = files.find(&reference("quay.io/team/app"), &[]).unwrap();
    assert_eq!(source, Some(CredentialSource::File { path: path.clone(), key: "quay.io/team".into() }));
    // Programs of registries.conf, before or after the files.
    let helpers = ["vault".to_owned(), "containers-auth.json".to_owned()];
    let source = files.find(&reference("quay.io/team/app"), &helpers).unwrap();
    let expected = CredentialSource::Program { program: "docker-credential-vault".into(), named_by: None };
    assert_eq!(source, Some(expected));
    assert_eq!(AuthFiles::only(dir.path().join("none")).lookup(&reference("quay.io/a"), &[]).unwrap(), None);
}

#[test]
fn a_broken_file_is_named_by_place_and_its_text_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, "{\"auths\": {\"a\": {\"auth\": \"c2VjcmV0\"}},\n hunter2 }").unwrap();
    let error = AuthFiles::only(path).lookup(&reference("quay.io/a"), &[]).unwrap_err();
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

#[test]
fn a_credential_program_answers_for_its_registry() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("docker-credential-test");
    let script = r#"#!/bin/sh
read server
case "$1 $server" in
    "get user.io") echo '{"ServerURL": "user.io", "Username": "joe", "Secret": "hunter2"}';;
    "get token.io") echo '{"Username": "<token>", "Secret": "refresh"}';;
    "get unknown.io") echo "credentials not found in native keychain"; exit 1;;
    "get rubbish.io") echo "hunter2";;
    *) echo "no vault hunter3"; exit 1;;
esac
"#;
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ask = |server: &str| program::run(&program, "test", server);
    assert_eq!(user(ask("user.io").unwrap()), pair("joe", "hunter2"));
    assert_eq!(user(ask("token.io").unwrap()), pair("identity", "refresh"));
    assert_eq!(ask("unknown.io").unwrap(), None);
    let error = ask("rubbish.io").unwrap_err().to_string();
    assert!(error.contains("not JSON") && !error.contains("hunter2"), "{error}");
    assert!(ask("other.io").unwrap_err().to_string().contains("no vault"));
    // A name is a name and no path.
    assert!(program::ask("../evil", "user.io").unwrap_err().to_string().contains("not a program's name"));
}
