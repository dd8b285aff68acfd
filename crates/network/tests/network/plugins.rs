//! Fake plugins that behave and misbehave.

use std::time::{Duration, Instant};

use ochre_network::{CniError, Error, Network, PortProtocol, Verb};
use ochre_types::ErrorKind;

use crate::scene::{Scene, eventually, words};

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x","mac":"aa:bb:cc:dd:ee:ff"}],"ips":[{"address":"10.7.0.2/24","interface":0}]}"#;

/// Writes what it was asked and told to `$dir/log`, then answers ADD.
fn recorder(extra: &str) -> String {
    format!(
        r#"input=$(cat)
echo "$CNI_COMMAND ${{0##*/}} $input" >> $dir/log
env | sort > $dir/env.$CNI_COMMAND
{extra}
[ $CNI_COMMAND = ADD ] && echo '{RESULT}'
exit 0"#
    )
}

fn list(version: &str, plugins: &str) -> String {
    format!(r#"{{"cniVersion":"{version}","name":"net","plugins":[{plugins}]}}"#)
}

fn one_plugin(script: &str) -> (Scene, Network) {
    let scene = Scene::new();
    scene.plugin("fake", script);
    scene.configure("10.conflist", &list("1.0.0", r#"{"type":"fake"}"#));
    let network = scene.open();
    (scene, network)
}

fn cni_error(error: &Error) -> &CniError {
    match error {
        Error::Cni { source, .. } => source,
        other => panic!("{}", words(other)),
    }
}

#[test]
fn a_chain_gets_what_the_specification_says() {
    let scene = Scene::new();
    scene.plugin("first", &recorder(""));
    scene.plugin("second", &recorder(""));
    let plugins =
        r#"{"type":"first","keep":[1]},{"type":"second","capabilities":{"portMappings":true,"dns":true}}"#;
    scene.configure("10.conflist", &list("1.0.0", plugins));
    let network = scene.open();
    let pod = scene.pod();
    let request = pod.with_ports(&[(PortProtocol::Tcp, 8080, 80, None)]);
    let attached = scene.attach(&network, &request).unwrap();
    assert_eq!((attached.network.as_str(), attached.ips[0].to_string().as_str()), ("net", "10.7.0.2"));
    assert_eq!(attached.mac.as_deref(), Some("aa:bb:cc:dd:ee:ff"));
    scene.node(|| network.check(&pod.id, &pod.netns, &attached)).unwrap();
    let cached = scene.list("cache/results");
    assert_eq!(cached, [format!("net-{}-eth0", pod.id)]);
    scene.detach(&network, &pod).unwrap();

    let log = scene.read("log");
    let lines: Vec<(&str, serde_json::Value)> = log
        .lines()
        .map(|line| {
            let at = line.find('{').unwrap();
            (line[..at].trim(), serde_json::from_str(&line[at..]).unwrap())
        })
        .collect();
    let order: Vec<_> = lines.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(order, ["ADD first", "ADD second", "CHECK first", "CHECK second", "DEL second", "DEL first"]);
    let result: serde_json::Value = serde_json::from_str(RESULT).unwrap();
    assert_eq!(lines[0].1, serde_json::json!({"type":"first","keep":[1],"name":"net","cniVersion":"1.0.0"}));
    let ports = serde_json::json!({"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]});
    let second = serde_json::json!({"type":"second","name":"net","cniVersion":"1.0.0",
        "runtimeConfig":ports,"prevResult":result});
    for (verb, input) in [&lines[1], &lines[3], &lines[4]] {
        assert_eq!(*input, second, "{verb}");
    }
    assert_eq!(lines[5].1["prevResult"], result);

    let env = scene.read("env.ADD");
    let netns = pod.netns.display();
    let bin = scene.dir.path().join("bin");
    for expected in [
        "CNI_COMMAND=ADD".to_owned(),
        format!("CNI_CONTAINERID={}", pod.id),
        format!("CNI_NETNS={netns}"),
        "CNI_IFNAME=eth0".into(),
        format!("CNI_PATH={}", bin.display()),
        format!(
            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=1234",
            pod.id
        ),
    ] {
        assert!(env.lines().any(|line| line == expected), "{expected} not in {env}");
    }
    // Nothing of the daemon's environment (PWD and its like are the shell's own).
    assert!(!env.contains("HOME=") && !env.contains("CARGO"), "{env}");
    assert!(scene.list("cache/results").is_empty() && scene.list("state/attachments").is_empty());
    assert!(scene.list("state/host-ports").is_empty(), "the plugin has the ports");
}

#[test]
fn a_failing_plugin_is_reported_in_full_and_undone() {
    let fail = r#"echo 'about to fail' >&2; [ $CNI_COMMAND = ADD ] && { echo '{"cniVersion":"1.0.0","code":111,"msg":"no such vlan","details":"vlan 7 of eth9"}'; exit 1; }"#;
    let (scene, network) = one_plugin(&recorder(fail));
    let pod = scene.pod();
    let error = scene.attach(&network, &pod.request()).unwrap_err();
    match cni_error(&error) {
        CniError::PluginFailed { plugin, verb: Verb::Add, code: 111, message, details, stderr } => {
            assert_eq!(
                (plugin.as_str(), message.as_str(), details.as_str()),
                ("fake", "no such vlan", "vlan 7 of eth9")
            );
            assert_eq!(stderr, "about to fail\n");
        }
        other => panic!("{other}"),
    }
    let text = words(&error);
    for part in
        [pod.id.short(), "\"net\"", "\"fake\"", "no such vlan", "vlan 7 of eth9", "111", "about to fail"]
    {
        assert!(text.contains(part), "{part} not in {text}");
    }
    let verbs: Vec<_> = scene.read("log").lines().map(|line| line[..3].to_owned()).collect();
    assert_eq!(verbs, ["ADD", "DEL"]);
    assert!(scene.list("state/attachments").is_empty());
}

#[test]
fn rubbish_is_shown_and_never_believed() {
    let cases = [
        ("echo hello", "hello"),
        ("true", "\"\""),
        ("echo '[]'", "[]"),
        (r#"echo '{"cniVersion":"7.0.0"}'"#, "7.0.0"),
        (r#"echo '{"ips":[{"address":"x"}]}'"#, "address"),
        ("echo oops; exit 3", "exit status: 3"),
        ("kill -9 $$", "signal: 9"),
        (r"printf '\377\376\000'", "\\0"),
    ];
    for (script, shown) in cases {
        let (scene, network) = one_plugin(&format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}"));
        let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
        assert!(matches!(cni_error(&error), CniError::PluginRubbish { .. }), "{script}: {}", words(&error));
        assert!(words(&error).contains(shown), "{script}: {}", words(&error));
    }
    let (scene, network) = one_plugin("echo '{}'");
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    assert!(matches!(cni_error(&error), CniError::NoAddress));
}

#[test]
fn a_hanging_plugin_is_killed_with_its_children() {
    let scene = Scene::new();
    scene.plugin(
        "fake",
        "[ $CNI_COMMAND = DEL ] && exit 0\necho waiting >&2\nsleep 1000 & echo $! > $dir/child; wait",
    );
    scene.configure("10.conflist", &list("1.0.0", r#"{"type":"fake"}"#));
    let mut config = scene.config();
    config.timeouts.add = Duration::from_millis(300);
    let network = Network::open(config).unwrap();
    let started = Instant::now();
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(words(&error).contains("300ms") && words(&error).contains("waiting"), "{}", words(&error));
    assert_dead(&scene);
}

#[test]
fn children_left_behind_are_not_waited_for_and_killed() {
    let (scene, network) = one_plugin(&format!(
        "if [ $CNI_COMMAND = ADD ]; then sleep 1000 & echo $! > $dir/child; echo '{RESULT}'; fi"
    ));
    let started = Instant::now();
    scene.attach(&network, &scene.pod().request()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_dead(&scene);
}

fn assert_dead(scene: &Scene) {
    let child = scene.read("child").trim().to_owned();
    assert!(!child.is_empty());
    eventually("the child is dead", || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

#[test]
fn floods_are_cut_off() {
    let (scene, network) = one_plugin(
        "[ $CNI_COMMAND = DEL ] && exit 0\nwhile :; do echo 0123456789012345678901234567890123456789; done",
    );
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    assert!(matches!(cni_error(&error), CniError::PluginFlood { .. }), "{}", words(&error));

    let noisy = r#"[ $CNI_COMMAND = DEL ] && exit 0
i=0; while [ $i -lt 9000 ]; do echo "line $i 0123456789" >&2; i=$((i+1)); done
echo '{"code":7,"msg":"done"}'; exit 1"#;
    let (scene, network) = one_plugin(noisy);
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    let CniError::PluginFailed { stderr, .. } = cni_error(&error) else { panic!("{}", words(&error)) };
    assert!(
        stderr.len() <= 64 << 10 && stderr.ends_with("line 8999 0123456789\n") && !stderr.contains("line 0 ")
    );
}

#[test]
fn a_missing_plugin_makes_the_network_not_ready_and_is_named() {
    let scene = Scene::new();
    scene.configure("10.conflist", &list("1.0.0", r#"{"type":"absent"}"#));
    let network = scene.open();
    let reason = network.status().unwrap_err().reason;
    let bin = scene.dir.path().join("bin").display().to_string();
    assert!(reason.contains("\"absent\"") && reason.contains(&bin), "{reason}");
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(words(&error).contains("absent"));
    assert_eq!(network.describe()["ready"], false);
}

#[test]
fn a_failed_detach_cleans_up_the_rest_and_is_retried_by_garbage_collection() {
    let scene = Scene::new();
    let fail = r#"[ $CNI_COMMAND = DEL ] && [ -e $dir/broken ] && { echo '{"code":5,"msg":"store is down"}'; exit 1; }"#;
    scene.plugin("first", &recorder(""));
    scene.plugin("second", &recorder(fail));
    scene.configure("10.conflist", &list("0.4.0", r#"{"type":"first"},{"type":"second"}"#));
    let network = scene.open();
    let pod = scene.pod();
    scene.attach(&network, &pod.request()).unwrap();
    std::fs::write(scene.dir.path().join("broken"), "").unwrap();
    ochre_sys::namespace::unpin(&pod.netns).unwrap();
    let error = scene.detach(&network, &pod).unwrap_err();
    assert!(words(&error).contains("store is down"));
    assert!(scene.read("log").lines().last().unwrap().starts_with("DEL first"), "the failure stops nothing");
    assert!(scene.read("env.DEL").contains("CNI_NETNS=\n"), "the namespace is gone");

    // The configuration and the cache may be gone too.
    std::fs::remove_file(scene.dir.path().join("net.d/10.conflist")).unwrap();
    std::fs::remove_dir_all(scene.dir.path().join("cache")).unwrap();
    std::fs::remove_file(scene.dir.path().join("broken")).unwrap();
    drop(network);
    let network = scene.open();
    scene.node(|| network.collect_garbage(&[])).unwrap();
    assert!(scene.list("state/attachments").is_empty());
    assert!(scene.read("log").lines().last().unwrap().starts_with("DEL first"));
}

#[test]
fn another_programs_cache_entry_is_enough_to_detach() {
    let (scene, network) = one_plugin(&recorder(""));
    let pod = scene.pod();
    scene.attach(&network, &pod.request()).unwrap();
    std::fs::remove_dir_all(scene.dir.path().join("state/attachments")).unwrap();
    drop(network);
    let network = scene.open();
    scene.detach(&network, &pod).unwrap();
    let log = scene.read("log");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("DEL fake") && last.contains("prevResult"), "{last}");
    assert!(scene.list("cache/results").is_empty());
}

#[test]
fn version_1_1_is_asked_for_its_status_and_told_of_garbage() {
    let scene = Scene::new();
    let script = r#"[ $CNI_COMMAND = STATUS ] && [ -e $dir/down ] && { echo '{"code":50,"msg":"no pool yet"}'; exit 1; }"#;
    scene.plugin("fake", &recorder(script));
    std::fs::write(scene.dir.path().join("down"), "").unwrap();
    scene.configure("10.conflist", &list("1.1.0", r#"{"type":"fake"}"#));
    let network = scene.open();
    eventually("the refusal is known", || {
        network.status().is_err_and(|not_ready| not_ready.reason.contains("no pool yet"))
    });
    std::fs::remove_file(scene.dir.path().join("down")).unwrap();
    eventually("the network is ready", || network.status().is_ok());
    let pod = scene.pod();
    scene.node(|| network.collect_garbage(std::slice::from_ref(&pod.id))).unwrap();
    let log = scene.read("log");
    let gc = log.lines().find(|line| line.starts_with("GC")).unwrap();
    let valid = format!(r#""cni.dev/valid-attachments":[{{"containerID":"{}","ifname":"eth0"}}]"#, pod.id);
    assert!(gc.contains(&valid), "{gc}");
}

#[test]
fn hostile_names_do_not_reach_a_plugin() {
    let (scene, network) = one_plugin(&recorder(""));
    let mut request = scene.pod().request();
    request.name = "web;K8S_POD_NAMESPACE=kube-system".into();
    let error = scene.attach(&network, &request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!scene.read("log").contains("ADD"));
}
