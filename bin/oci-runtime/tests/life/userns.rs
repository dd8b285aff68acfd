use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use serde_json::json;

use crate::bundle::Bundle;

fn with_user_namespace(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for mappings in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][mappings] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
    }
    for path in ["", "tmp", "dev", "etc", "bin", "proc", "sys"] {
        chown(bundle.rootfs().join(path), Some(200_000), Some(200_000)).unwrap();
    }
    bundle
}

#[test]
fn root_inside_is_nobody_outside() {
    let mut bundle = with_user_namespace(
        "id; cat /proc/self/uid_map; touch /tmp/mine; echo x > /dev/null && ls -l /dev/null",
    );
    let ended = bundle.run_to_end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.output.starts_with("uid=0 gid=0"), "{}", ended.output);
    assert!(ended.output.contains("200000"), "{}", ended.output);
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/mine")).unwrap().uid(), 200_000);
}

#[test]
fn execs_enter_the_user_namespace() {
    let mut bundle = with_user_namespace("sleep 100");
    bundle.create().unwrap();
    bundle.start();
    let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
    assert!(status.contains("Uid:\t200000\t200000"), "{status}");
    let (code, output) = bundle.exec("id; cat /proc/self/uid_map");
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("uid=0") && output.contains("200000"), "{output}");
}

#[test]
fn a_user_namespace_can_be_joined_with_a_new_pid_namespace() {
    let mut first = with_user_namespace("sleep 100");
    first.create().unwrap();
    first.start();
    let mut second = with_user_namespace("id; cat /proc/self/uid_map; echo $$");
    let user = second.config["linux"]["namespaces"].as_array_mut().unwrap().last_mut().unwrap();
    user["path"] = json!(format!("/proc/{}/ns/user", first.pid()));
    let ended = second.run_to_end();
    assert!(ended.output.contains("200000") && ended.output.ends_with("\n1\n"), "{ended:?}");
}

#[test]
fn an_id_mapped_volume_shows_the_container_s_ids() {
    let mut bundle = with_user_namespace("ls -ln /volume; touch /volume/made");
    let source = bundle.path().join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().push(
        json!({"destination": "/volume", "type": "bind", "source": source, "options": ["rbind", "idmap"]}),
    );
    let ended = bundle.run_to_end();
    assert!(ended.output.contains(" 0 ") && !ended.output.contains("65534"), "{ended:?}");
    assert_eq!(fs::metadata(source.join("made")).unwrap().uid(), 0);
}
