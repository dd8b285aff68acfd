use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, wait_for, wait_until};

#[test]
fn a_life_from_create_to_delete_leaves_nothing() {
    let mut bundle = Bundle::new("echo out; exit 7");
    bundle.create().unwrap();
    assert_eq!(bundle.status(), "created");
    assert!(!bundle.groups().is_empty());
    assert!(bundle.run(&["create", "--bundle", "/nonexistent", &bundle.id]).status.code() == Some(1));
    bundle.start();
    let ended = bundle.wait();
    assert_eq!((ended.code, ended.output.as_str()), (7, "out\n"));
    assert_eq!(bundle.status(), "stopped");
    bundle.ok(&["delete", &bundle.id]);
    assert!(bundle.groups().is_empty(), "{:?}", bundle.groups());
    assert!(!bundle.mounts_left());
    assert_eq!(fs::read_dir(bundle.path().join("state")).unwrap().count(), 0);
    let gone = bundle.run(&["state", &bundle.id]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("does not exist"));
    assert!(bundle.log().contains(r#""level":"error""#), "{}", bundle.log());
}

#[test]
fn a_container_has_namespaces_of_its_own_and_joins_those_given() {
    let mut bundle = Bundle::new(
        "hostname; for n in pid net ipc uts mnt cgroup; do ls -l /proc/self/ns/$n; done; echo $$",
    );
    let own =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned();
    bundle.config["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/net");
    let output = bundle.run_to_end().output;
    assert!(output.starts_with("inside\n") && output.ends_with("\n1\n"), "{output}");
    for name in ["pid", "ipc", "uts", "mnt", "cgroup"] {
        assert!(!output.contains(&own(name)), "{name} is shared");
    }
    assert!(output.contains(&own("net")), "net is not joined");
}

#[test]
fn a_pid_namespace_can_be_joined() {
    let mut first = Bundle::new("sleep 100");
    first.create().unwrap();
    first.start();
    let mut second = Bundle::new("ls -d /proc/[0-9]*");
    second.config["linux"]["namespaces"][0]["path"] = json!(format!("/proc/{}/ns/pid", first.pid()));
    let output = second.run_to_end().output;
    assert!(output.contains("/proc/1\n") && output.lines().count() >= 2, "{output}");
}

#[test]
fn execs_share_the_container_and_report_their_status() {
    let mut bundle = Bundle::new("sleep 100");
    bundle.create().unwrap();
    bundle.start();
    assert_eq!(bundle.exec("exit 9").0, 9);
    assert_eq!(bundle.exec("kill -9 $$").0, 137);
    let (code, output) =
        bundle.exec("hostname; cat /proc/1/cmdline; cat /proc/self/cgroup; ls /proc/self/fd");
    assert_eq!(code, 0, "{output}");
    assert!(output.starts_with("inside\nsleep"), "{output}");
    assert!(!output.contains("ochre-life"), "the cgroup namespace is not joined: {output}");
    // The fourth is the listing's own.
    assert!(output.ends_with("0\n1\n2\n3\n"), "{output}");
    let (code, output) = bundle.exec_process(&json!({"args": ["no-such"], "cwd": "/", "env": ["PATH=/bin"]}));
    assert_eq!(code, 1);
    assert!(output.contains("executable file not found"), "{output}");

    let process = bundle.path().join("detached.json");
    fs::write(&process, r#"{"args":["sleep","100"],"cwd":"/","env":["PATH=/bin"]}"#).unwrap();
    let pid_file = bundle.path().join("exec.pid");
    let (process, pid_name) = (process.to_str().unwrap(), pid_file.to_str().unwrap());
    let arguments = ["exec", "--detach", "--pid-file", pid_name, "--process", process, &bundle.id];
    // Not through a pipe, which the process would hold open.
    assert!(bundle.command(&arguments).status().unwrap().success());
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let listed: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert!(listed.contains(&pid) && listed.contains(&bundle.pid()), "{listed:?}");
    bundle.ok(&["kill", "--all", &bundle.id, "KILL"]);
    assert_eq!(wait_for(pid), 137);
    assert_eq!(bundle.wait().code, 137);
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn signals_reach_the_first_process_and_pausing_stops_time() {
    let mut bundle = Bundle::new("trap 'exit 42' USR1; echo ready; while true; do sleep 0.05; done");
    bundle.create().unwrap();
    bundle.start();
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    // The trap may not be set yet.
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
        let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&set, 16).unwrap() & (1 << 9) != 0
    };
    wait_until("the trap", caught);
    bundle.ok(&["kill", &bundle.id, "SIGUSR1"]);
    assert_eq!(bundle.wait().code, 42);
    assert_eq!(bundle.run(&["kill", &bundle.id, "TERM"]).status.code(), Some(1));
}

#[test]
fn force_removes_running_paused_and_unknown_containers() {
    let mut bundle = Bundle::new("sleep 100");
    assert!(!bundle.run(&["delete", &bundle.id]).status.success());
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.create().unwrap();
    bundle.start();
    assert!(
        !bundle.run(&["delete", &bundle.id]).status.success(),
        "a running container was removed without force"
    );
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert_eq!(bundle.wait().code, 137);
    assert!(bundle.groups().is_empty());
}

#[test]
fn a_failed_create_says_which_step_and_leaves_nothing() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 7] = [
        ("not found in $PATH", |c| c["process"]["args"] = json!(["no-such-program"])),
        ("/bin/sh/x", |c| c["process"]["args"] = json!(["/bin/sh/x"])),
        ("/no/such/source", |c| {
            c["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/m", "type": "bind", "source": "/no/such/source"}));
        }),
        ("SCMP_ACT_NOTIFY", |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOTIFY"})),
        ("core_pattern", |c| c["linux"]["sysctl"] = json!({"kernel.core_pattern": "x"})),
        ("mounting /m", |c| {
            c["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/m", "type": "no-such-filesystem"}));
        }),
        ("AppArmor", |c| c["process"]["apparmorProfile"] = json!("no-such-profile")),
    ];
    for (word, change) in cases {
        let mut bundle = Bundle::new("true");
        change(&mut bundle.config);
        let error = bundle.create().unwrap_err();
        assert!(word == "AppArmor" || error.contains(word), "{word}: {error}");
        assert!(bundle.groups().is_empty(), "{word}: {:?}", bundle.groups());
        assert!(!bundle.mounts_left());
        assert_eq!(fs::read_dir(bundle.path().join("state")).map_or(0, Iterator::count), 0, "{word}");
    }
}

#[test]
fn hooks_run_in_their_phases() {
    let mut bundle = Bundle::new("echo program; cat /started");
    let mark = bundle.path().join("marks");
    let hook = |text: &str| {
        json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; echo {text} >> {}", mark.display())],
            "env": ["PATH=/bin:/usr/bin"]}])
    };
    bundle.config["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo begun > /started"], "env": ["PATH=/bin"]}],
        "poststart": hook("poststart"), "poststop": hook("poststop")
    });
    let ended = bundle.run_to_end();
    assert_eq!(ended.output, "program\nbegun\n");
    let marks = fs::read_to_string(&mark).unwrap();
    assert_eq!(marks, "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
}

#[test]
fn descriptors_of_the_caller_do_not_reach_the_program() {
    let mut bundle = Bundle::new("ls /proc/self/fd");
    let secret = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(bundle.run_to_end().output, "0\n1\n2\n3\n");
    drop(secret);
    let mut bundle = Bundle::new("true");
    assert!(bundle.create_with(&["--preserve-fds", "900"]).unwrap_err().contains("not open"));
}

#[test]
fn versions_and_features_are_told() {
    let bundle = Bundle::new("true");
    assert!(bundle.ok(&["--version"]).contains("spec: 1."));
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
}
