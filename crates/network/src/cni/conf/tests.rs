use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<NetworkList, ConfigFault> {
    NetworkList::from_value(serde_json::from_slice(text.as_ref()).map_err(ConfigFault::NotJson)?)
}

fn fault(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn good_configurations_are_understood() {
    let list = parse(
        br#"{"cniVersion":"1.0.0","name":"net","disableCheck":"true","plugins":[
            {"type":"bridge","ipam":{"type":"host-local"}},
            {"type":"portmap","capabilities":{"portMappings":true,"bandwidth":false}}]}"#,
    )
    .unwrap();
    assert_eq!((list.name.as_str(), list.version.as_str(), list.plugins.len()), ("net", "1.0.0", 2));
    assert!(list.disable_check && !list.disable_gc);
    assert!(list.has_capability("portMappings") && !list.has_capability("bandwidth"));

    let single = parse(br#"{"cniVersion":"0.3.1","name":"one","type":"ptp"}"#).unwrap();
    assert_eq!(single.plugins[0].kind, "ptp");
    // What is stored with an attachment is a list again.
    assert_eq!(NetworkList::from_value(single.value.clone()).unwrap(), single);

    let newest = br#"{"cniVersion":"0.4.0","cniVersions":["1.0.0","1.1.0","9.0.0"],"name":"n","plugins":[{"type":"x"}]}"#;
    assert_eq!(parse(newest).unwrap().version, Version::STATUS);
}

#[test]
fn bad_configurations_are_refused_with_their_reason() {
    let cases = [
        ("", "is not JSON"),
        ("[]", "an object"),
        (r#"{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}"#, "network name \"\""),
        (r#"{"cniVersion":"1.0.0","name":"../x","plugins":[{"type":"x"}]}"#, "network name \"../x\""),
        (r#"{"cniVersion":"1.0.0","name":"a b","plugins":[{"type":"x"}]}"#, "network name"),
        (r#"{"cniVersion":"1.0.0","name":7,"plugins":[{"type":"x"}]}"#, "\"name\" must be a string"),
        (r#"{"name":"n","plugins":[{"type":"x"}]}"#, "cniVersion \"\""),
        (r#"{"cniVersion":"2.0.0","name":"n","plugins":[{"type":"x"}]}"#, "cniVersion \"2.0.0\""),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "names no plugin"),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":{}}"#, "must be a list"),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":["x"]}"#, "list of objects"),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, "plugin type \"\""),
        (
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../../bin/sh"}]}"#,
            "plugin type \"../../bin/sh\"",
        ),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":".."}]}"#, "plugin type"),
        (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a\u0000b"}]}"#, "plugin type"),
        (
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"x","ipam":{"type":"/x"}}]}"#,
            "plugin type \"/x\"",
        ),
        (
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"x","capabilities":[]}]}"#,
            "\"capabilities\"",
        ),
        (
            r#"{"cniVersion":"1.0.0","name":"n","disableCheck":1,"plugins":[{"type":"x"}]}"#,
            "\"disableCheck\"",
        ),
    ];
    for (text, reason) in cases {
        assert!(fault(text).contains(reason), "{text}: {}", fault(text));
    }
}

#[test]
fn a_directory_is_read_in_order_and_broken_files_do_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("20-b.conf", r#"{"cniVersion":"1.0.0","name":"b","type":"x"}"#);
    write("10-a.conflist", "{");
    write("30-c.json", r#"{"cniVersion":"1.0.0","name":"c","type":"x"}"#);
    write("05-ignored.txt", "{");
    std::fs::create_dir(dir.path().join("01-dir.conf")).unwrap();
    std::fs::write(dir.path().join("00-huge.conf"), vec![b' '; (LIMIT + 1) as usize]).unwrap();
    let loaded = load_dir(dir.path()).unwrap();
    let names: Vec<_> =
        loaded.iter().map(|one| one.list.as_ref().ok().map(|list| list.name.as_str())).collect();
    assert_eq!(names, [None, None, Some("b"), Some("c")]);
    assert!(load_dir(&dir.path().join("missing")).unwrap().is_empty());
}

#[test]
fn a_folder_extends_a_list_unless_forbidden() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("net")).unwrap();
    std::fs::write(dir.path().join("net/10-more.conf"), r#"{"type":"tuning"}"#).unwrap();
    let file = dir.path().join("net.conflist");
    for (extra, expected) in [("", 2), (r#""loadOnlyInlinedPlugins":true,"#, 1)] {
        let text = format!(r#"{{"cniVersion":"1.1.0","name":"net",{extra}"plugins":[{{"type":"bridge"}}]}}"#);
        std::fs::write(&file, text).unwrap();
        assert_eq!(load(&file).unwrap().plugins.len(), expected, "{extra}");
    }
}

proptest::proptest! {
    #[test]
    fn damaged_configurations_are_refused_or_read_but_never_a_panic(at in 0usize..120, byte in 0u8..=255) {
        let mut text = br#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","ipam":{"type":"a"},"capabilities":{"x":true}}]}"#.to_vec();
        if let Some(target) = text.get_mut(at) {
            *target = byte;
        }
        if let Ok(list) = parse(&text) {
            proptest::prop_assert!(list.plugins.iter().all(|plugin| !plugin.kind.contains('/')));
        }
    }
}
