use oci_spec::runtime::PosixRlimitType;

use super::*;
use crate::spec::tests::container;

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn command_and_arguments_merge_as_docker_does() {
    for (entrypoint, cmd, command, args_given, expected) in [
        (&["e"][..], &["c"][..], &[][..], &[][..], Some(&["e", "c"][..])),
        (&["e"], &["c"], &["x"], &[], Some(&["x"])),
        (&["e"], &["c"], &["x"], &["y"], Some(&["x", "y"])),
        (&["e"], &["c"], &[], &["y"], Some(&["e", "y"])),
        (&[], &["c", "d"], &[], &[], Some(&["c", "d"])),
        (&[], &["c"], &[], &["y"], Some(&["y"])),
        (&[], &[], &[], &[], None),
        (&[""], &[], &[], &[], None),
    ] {
        let image =
            ImageDefaults { entrypoint: owned(entrypoint), cmd: owned(cmd), ..ImageDefaults::default() };
        let asked = ContainerConfig { command: owned(command), args: owned(args_given), ..container() };
        match expected {
            Some(expected) => assert_eq!(args(&asked, &image).unwrap(), owned(expected)),
            None => assert!(matches!(args(&asked, &image), Err(Error::NoCommand { .. }))),
        }
    }
    let nul = ContainerConfig { command: owned(&["a\0b"]), ..container() };
    assert!(matches!(args(&nul, &ImageDefaults::default()), Err(Error::Text { field: "argument", .. })));
}

#[test]
fn environment_layers_override_each_other_in_place() {
    let image = ImageDefaults {
        env: owned(&["PATH=/image", "A=image", "B=image", "CANARY", "A*", "=x", "E=a=b"]),
        ..ImageDefaults::default()
    };
    let asked = ContainerConfig {
        envs: vec![("B".into(), b"request".to_vec()), ("C".into(), Vec::new())],
        tty: true,
        ..container()
    };
    let environment = Environment::of(&owned(&["A=node", "N=node"]), &image, &asked, "web").unwrap();
    assert_eq!(
        environment.to_oci(),
        ["PATH=/image", "HOSTNAME=web", "TERM=xterm", "A=image", "N=node", "B=request", "E=a=b", "C="]
    );
}

#[test]
fn variables_that_a_spec_cannot_carry_are_refused() {
    for (name, value) in [
        ("", &b"x"[..]),
        ("A=B", b"x"),
        ("A\0", b"x"),
        ("A", b"x\0y"),
        ("A", b"\xff\xfe"),
        ("HOME", b"/root\nx::0:0:::"),
    ] {
        let asked = ContainerConfig { envs: vec![(name.into(), value.to_vec())], ..container() };
        let outcome = Environment::of(&[], &ImageDefaults::default(), &asked, "web");
        assert!(
            matches!(outcome, Err(Error::Text { field: "environment variable", .. })),
            "{name:?}={value:?}"
        );
    }
}

#[test]
fn signals_are_read_as_images_write_them() {
    for (text, number) in [
        ("SIGTERM", Some(15)),
        ("term", Some(15)),
        ("9", Some(9)),
        ("SIGRTMIN", Some(34)),
        ("SIGRTMIN+3", Some(37)),
        ("RTMAX-1", Some(63)),
        ("SIGRTMIN+31", None),
        ("SIGRTMIN-1", None),
        ("SIGRTMIN+x", None),
        ("0", None),
        ("65", None),
        ("-9", None),
        ("SIGNOPE", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(signal(text), number, "{text:?}");
    }
}

#[test]
fn the_requests_stop_signal_wins_and_a_strange_image_gets_sigterm() {
    let image = |signal: &str| ImageDefaults { stop_signal: signal.into(), ..ImageDefaults::default() };
    let mut warnings = Vec::new();
    let asked = ContainerConfig { stop_signal: Some(2), ..container() };
    assert_eq!(stop_signal(&asked, &image("SIGQUIT"), &mut warnings).unwrap(), 2);
    assert_eq!(stop_signal(&container(), &image("SIGQUIT"), &mut warnings).unwrap(), 3);
    assert_eq!(stop_signal(&container(), &image(""), &mut warnings).unwrap(), 15);
    assert!(warnings.is_empty());
    assert_eq!(stop_signal(&container(), &image("SIGWAT"), &mut warnings).unwrap(), 15);
    assert_eq!(warnings, [Warning::StopSignal { signal: "SIGWAT".into() }]);
    let absurd = ContainerConfig { stop_signal: Some(99), ..container() };
    assert!(matches!(stop_signal(&absurd, &image(""), &mut warnings), Err(Error::Number { .. })));
}

#[test]
fn scores_and_limits_are_lowered_to_what_the_daemon_may_set() {
    let held = Held::everything().with_oom_score_adj_floor(0);
    let mut warnings = Vec::new();
    assert_eq!(oom_score_adj(-998, &held, &mut warnings).unwrap(), 0);
    assert_eq!(oom_score_adj(1000, &held, &mut warnings).unwrap(), 1000);
    assert_eq!(warnings, [Warning::OomScoreAdj { wanted: -998, given: 0 }]);
    for value in [-1001, 1001, i64::MAX, i64::MIN] {
        assert!(matches!(oom_score_adj(value, &held, &mut warnings), Err(Error::Number { .. })), "{value}");
    }
    let ulimit = Ulimit { limit: PosixRlimitType::RlimitNofile, soft: 10, hard: 20 };
    let limits = rlimits(&[ulimit], &held, &mut warnings);
    assert_eq!((limits[0].soft(), limits[0].hard()), (10, 20));
}
