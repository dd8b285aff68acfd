use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn limits_are_in_the_files_of_the_kernel_and_can_be_changed() {
    let mut bundle = Bundle::new("sleep 100");
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 67_108_864, "swap": 67_108_864}, "pids": {"limit": 50},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000}
    });
    bundle.create().unwrap();
    assert_eq!(bundle.group_file("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(bundle.group_file("pids", "pids.max", "pids.max"), "50");
    let processor = bundle.group_file("cpu", "cpu.shares", "cpu.weight");
    assert!(processor == "1024" || processor == "100", "{processor}");
    bundle.start();

    for (limit, expected) in [(134_217_728_i64, "134217728"), (33_554_432, "33554432")] {
        let mut update = bundle
            .command(&["update", "--resources", "-", &bundle.id])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let document = json!({"memory": {"limit": limit, "swap": limit}, "pids": {"limit": -1}}).to_string();
        update.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
        assert!(update.wait().unwrap().success());
        assert_eq!(bundle.group_file("memory", "memory.limit_in_bytes", "memory.max"), expected);
    }
    assert_eq!(bundle.group_file("pids", "pids.max", "pids.max"), "max");
}

#[test]
fn a_limit_is_felt() {
    let mut bundle = Bundle::new("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo done");
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 4}});
    let ended = bundle.run_to_end();
    assert!(ended.code != 0 && !ended.output.contains("done"), "{ended:?}");
}

#[test]
fn only_listed_devices_can_be_opened() {
    // 1:1 is physical memory, which any process may name and nobody may open here; 1:5 is zero.
    let script = "echo x > /dev/null && echo null; cat /dev/blocked || echo blocked";
    let mut bundle = Bundle::new(script);
    bundle.config["linux"]["devices"] =
        json!([{"type": "c", "path": "/dev/blocked", "major": 10, "minor": 229}]);
    bundle.config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    assert_eq!(bundle.run_to_end().output, "null\nblocked\n");
}
