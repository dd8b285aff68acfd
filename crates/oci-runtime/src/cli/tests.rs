use super::*;

fn line(text: &str) -> Result<Invocation, UsageError> {
    parse(text.split_whitespace().map(OsString::from)).map_err(|(_, error)| error)
}

#[test]
fn the_line_of_a_monitor_is_understood() {
    let invocation = line(
        "--root /r --log /l --log-format json --systemd-cgroup --debug create --bundle /b --pid-file /p \
         --console-socket=/c --no-pivot --preserve-fds 2 id-1",
    )
    .unwrap();
    assert_eq!(invocation.global.root, PathBuf::from("/r"));
    assert_eq!(invocation.global.log_format, LogFormat::Json);
    assert_eq!(invocation.global.cgroup_driver, CgroupDriver::Systemd);
    let Verb::Create(options) = invocation.verb else { panic!("not create") };
    assert_eq!(options.bundle, PathBuf::from("/b"));
    assert_eq!(options.console_socket, Some(PathBuf::from("/c")));
    assert!(options.no_pivot);
    assert_eq!(options.preserve_fds, 2);
    assert_eq!(options.id.as_str(), "id-1");
}

#[test]
fn every_verb_has_its_form() {
    let id = || Id::parse("x").unwrap();
    let cases = [
        ("start x", Verb::Start(id())),
        ("state x", Verb::State(id())),
        ("kill x", Verb::Kill { id: id(), signal: 15, all: false }),
        ("kill --all x KILL", Verb::Kill { id: id(), signal: 9, all: true }),
        ("kill -a x 1", Verb::Kill { id: id(), signal: 1, all: true }),
        ("delete --force x", Verb::Delete { id: id(), force: true }),
        ("delete --force=false x", Verb::Delete { id: id(), force: false }),
        ("update --resources - x", Verb::Update { id: id(), resources: "-".into() }),
        ("ps --format json x", Verb::Ps(id())),
        ("pause x", Verb::Pause(id())),
        ("resume x", Verb::Resume(id())),
        ("list --format json", Verb::List),
        ("features", Verb::Features),
        ("--version", Verb::Version),
    ];
    for (text, verb) in cases {
        assert_eq!(line(text).map(|invocation| invocation.verb), Ok(verb), "{text}");
    }
    assert!(
        matches!(line("exec --process /p --detach --pid-file /q x").unwrap().verb, Verb::Exec(options) if options.detach)
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, word) in [
        ("", "no command"),
        ("frobnicate x", "frobnicate"),
        ("--nope create x", "nope"),
        ("create --tty x", "tty"),
        ("create --bundle", "bundle"),
        ("create", "container id"),
        ("start a b", "b"),
        ("start ../x", "../x"),
        ("start ..", ".."),
        ("kill x NOSUCH", "NOSUCH"),
        ("exec x", "--process"),
        ("ps --format table x", "table"),
        ("create --preserve-fds 4294967295 x", "4294967295"),
    ] {
        let message = line(text).unwrap_err().to_string();
        assert!(message.contains(word), "{text}: {message}");
    }
}

#[test]
fn the_log_is_known_even_when_the_verb_is_wrong() {
    let (global, _) = parse(["--log", "/l", "nope"].map(OsString::from)).unwrap_err();
    assert_eq!(global.log, Some(PathBuf::from("/l")));
}
