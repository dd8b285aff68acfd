use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

fn field(status: &str, name: &str) -> String {
    let line =
        status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {status}"));
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// CHOWN, KILL, NET_BIND_SERVICE.
const GIVEN: &str = "0000000000000421";
const NONE: &str = "0000000000000000";

/// Without a shell, which ignores and catches signals itself.
fn status_of_the_program() -> Bundle {
    let mut bundle = Bundle::new("");
    bundle.config["process"]["args"] = json!(["cat", "/proc/self/status"]);
    bundle
}

#[test]
fn the_five_capability_sets_are_exactly_those_asked_for() {
    let mut bundle = status_of_the_program();
    let root = bundle.run_to_end().output;
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(&root, set));
    assert_eq!(sets, [NONE, GIVEN, GIVEN, GIVEN, NONE]);
    assert_eq!(field(&root, "NoNewPrivs"), "1");
    assert_eq!(field(&root, "SigIgn"), NONE);
    assert_eq!(field(&root, "SigBlk"), NONE);

    let mut bundle = status_of_the_program();
    bundle.config["process"]["user"] =
        json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o077});
    let user = bundle.run_to_end().output;
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(&user, set));
    assert_eq!(sets, [NONE, NONE, NONE, GIVEN, NONE]);
    assert_eq!(field(&user, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&user, "Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(field(&user, "Groups"), "5 6");
    assert_eq!(field(&user, "Umask"), "0077");

    let mut bundle = status_of_the_program();
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    for set in ["inheritable", "ambient"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_NET_BIND_SERVICE"]);
    }
    let ambient = bundle.run_to_end().output;
    let bind = "0000000000000400";
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(&ambient, set));
    assert_eq!(sets, [bind, bind, bind, GIVEN, bind]);
}

#[test]
fn an_exec_has_its_own_sets_and_no_others() {
    let mut bundle = Bundle::new("sleep 100");
    bundle.create().unwrap();
    bundle.start();
    let (_, status) = bundle.exec_process(&json!({
        "args": ["cat", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": true,
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    }));
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field(&status, set));
    let kill = "0000000000000020";
    assert_eq!(sets, [NONE, kill, kill, kill, NONE]);
}

#[test]
fn capabilities_and_limits_beyond_the_runtime_are_clamped_with_a_warning() {
    let mut bundle = Bundle::new("cat /proc/self/status; ulimit -n");
    let all = json!(["CAP_SYS_RESOURCE", "CAP_CHOWN", "CAP_NOT_INVENTED"]);
    bundle.config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    bundle.config["process"]["rlimits"] =
        json!([{"type": "RLIMIT_NOFILE", "soft": 1_000_000, "hard": 1_000_000}]);
    bundle.config["process"]["oomScoreAdj"] = json!(-900);
    let ended = bundle.run_to_end();
    assert_eq!(ended.code, 0);
    let held = fs::read_to_string("/proc/self/status").unwrap();
    let has_resource = u64::from_str_radix(&field(&held, "CapBnd"), 16).unwrap() & (1 << 24) != 0;
    let expected = if has_resource { "0000000001000001" } else { "0000000000000001" };
    assert_eq!(field(&ended.output, "CapBnd"), expected);
    assert!(bundle.log().contains("CAP_NOT_INVENTED"), "{}", bundle.log());
    if !has_resource {
        let log = bundle.log();
        assert!(log.contains("CAP_SYS_RESOURCE") && log.contains("oom_score_adj -900"), "{log}");
    }
}

#[test]
fn seccomp_denies_with_and_without_no_new_privs() {
    for no_new_privileges in [true, false] {
        let mut bundle =
            Bundle::new("mkdir /tmp/x || echo denied; touch /tmp/y && echo made; cat /proc/self/status");
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        let output = bundle.run_to_end().output;
        assert!(output.starts_with("denied\nmade\n"), "{output}");
        assert_eq!(field(&output, "Seccomp"), "2");
        assert!(!bundle.rootfs().join("tmp/x").exists());
    }
}

#[test]
fn seccomp_holds_for_execs_too() {
    let mut bundle = Bundle::new("sleep 100");
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]});
    bundle.create().unwrap();
    bundle.start();
    let (code, output) = bundle.exec("mkdir /tmp/x");
    assert!(code != 0 && output.contains("not permitted"), "{code} {output}");
}

#[test]
fn masked_and_read_only_paths_and_the_root_are_so() {
    let mut bundle = Bundle::new(
        "cat /proc/keys; ls /sys/firmware; echo 1 > /proc/sys/kernel/shm_rmid_forced || echo kept; touch /x || echo readonly; \
         mount -o remount,rw / || echo held",
    );
    bundle.config["root"]["readonly"] = json!(true);
    assert_eq!(bundle.run_to_end().output, "kept\nreadonly\nheld\n");
}

#[test]
fn sysctls_are_set_in_the_container_only() {
    let before = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    let mut bundle = Bundle::new("cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward");
    bundle.config["linux"]["sysctl"] = json!({"kernel.shmmni": "77", "net.ipv4.ip_forward": "1"});
    assert_eq!(bundle.run_to_end().output, "77\n1\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), before);
}
