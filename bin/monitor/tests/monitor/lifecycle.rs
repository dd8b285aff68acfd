//! Create, start, output, exit, delete; and all of it without a daemon.

use std::time::Duration;

use ochre_monitor_api::client::{Error, Monitor};
use ochre_monitor_api::{ContainerState, exit_record};
use ochre_types::{ContainerId, ErrorKind, Timestamp};
use serde_json::json;

use crate::pod::{LONG, Pod, eventually, record, records};

#[tokio::test]
async fn a_container_runs_writes_its_log_and_its_exit_is_durable() {
    let mut pod = Pod::new().await;
    let spec = pod.spec("echo out; echo err >&2; printf partial; exit 7");
    let id = spec.create.id.clone();
    let before = Timestamp::now();
    let created = pod.create(&spec).await.unwrap();
    assert_eq!(pod.log(&id), [], "the log exists before the container runs");
    assert!(std::path::Path::new(&format!("/proc/{}", created.pid)).exists());
    pod.monitor.start(&id).await.unwrap();
    let exit = pod.exit(&id).await;
    assert_eq!((exit.code, exit.oom_killed), (7, false));
    assert!(exit.finished_at > before && exit.finished_at <= Timestamp::now());
    assert_eq!(exit_record::read(pod.dir.path(), &id).unwrap(), Some((created.pid, exit)));
    assert_eq!(std::fs::read_to_string(pod.path("exits").join(id.as_str())).unwrap(), "7");
    let mut log = pod.log(&id);
    log.sort();
    assert_eq!(
        log,
        [record("stderr", "F", "err"), record("stdout", "F", "out"), record("stdout", "P", "partial")]
    );

    let snapshot = pod.reconnect().await;
    assert_eq!(snapshot.containers.len(), 1);
    assert_eq!(snapshot.containers[0].state, ContainerState::Exited { pid: created.pid, exit });
    assert!(snapshot.containers[0].started_at > before);
    assert!(matches!(pod.monitor.start(&id).await, Err(Error::WrongState { .. })));
    pod.monitor.delete(&id).await.unwrap();
    assert_eq!(exit_record::read(pod.dir.path(), &id).unwrap(), None);
    assert!(pod.reconnect().await.containers.is_empty());
    let leftovers = std::fs::read_dir(pod.dir.path()).unwrap().flatten();
    assert!(!leftovers.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("op.")));
    assert_eq!(pod.monitor.delete(&id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn containers_write_and_exit_without_a_daemon() {
    let mut pod = Pod::new().await;
    let fifo = "while [ ! -e /proc/1/root/go ]; do sleep 0.05; done; echo later; exit 3";
    let (spec, _) = pod.run(&format!("echo now; {fifo}")).await;
    let id = &spec.create.id;
    pod.log_contains(id, "now").await;
    // The daemon goes away with everything it holds.
    let socket = pod.path("monitor.sock");
    let other = Monitor::connect(&socket).await.unwrap();
    drop(std::mem::replace(&mut pod.monitor, other.0));
    pod.events = other.2;
    let snapshot = pod.reconnect().await;
    assert!(matches!(snapshot.containers[0].state, ContainerState::Running { .. }));
    let ContainerState::Running { pid } = snapshot.containers[0].state else { panic!() };
    let gone = disconnected(&mut pod).await;
    std::fs::write(pod.path("root/go"), "").unwrap();
    eventually("the exit record", || exit_record::read(gone.as_path(), id).unwrap().is_some()).await;
    let snapshot = pod.reconnect().await;
    let ContainerState::Exited { pid: was, exit } = snapshot.containers[0].state else { panic!() };
    assert_eq!((was, exit.code), (pid, 3));
    assert_eq!(pod.log(id).last().unwrap().2, "later");
}

/// Closes the pod's connection by replacing its handles with those of a monitor that ends at once.
async fn disconnected(pod: &mut Pod) -> std::path::PathBuf {
    let other = Pod::new().await;
    let (monitor, _, events) = Monitor::connect(&other.path("monitor.sock")).await.unwrap();
    (pod.monitor, pod.events) = (monitor, events);
    drop(other);
    pod.dir.path().to_owned()
}

#[tokio::test]
async fn two_containers_of_a_pod_do_not_mix() {
    let mut pod = Pod::new().await;
    let (one, _) = pod.run("for i in 1 2 3 4 5; do echo one; done; exit 1").await;
    let (two, _) = pod.run("for i in 1 2 3 4 5; do echo two; done; sleep 0.3; exit 2").await;
    assert_eq!(pod.exit(&two.create.id).await.code, 2);
    let snapshot = pod.reconnect().await;
    for (container, code) in snapshot.containers.iter().zip([1, 2]) {
        assert!(matches!(container.state, ContainerState::Exited { exit, .. } if exit.code == code));
    }
    assert!(pod.log(&one.create.id).iter().all(|entry| entry.2 == "one"));
    assert_eq!(pod.log(&two.create.id).len(), 5);
}

#[tokio::test]
async fn signals_reach_init_or_everybody() {
    let mut pod = Pod::new().await;
    let (spec, created) = pod.run("trap 'echo caught; exit 9' TERM; sleep 1001 & echo ready; wait").await;
    let id = &spec.create.id;
    pod.log_contains(id, "ready").await;
    assert!(matches!(pod.monitor.signal(id, 999, false).await, Err(Error::Invalid { .. })));
    pod.monitor.signal(id, 15, false).await.unwrap();
    assert_eq!(pod.exit(id).await.code, 9);
    assert_eq!(pod.monitor.signal(id, 15, false).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);

    let (spec, _) = pod.run("sleep 1002 & echo ready; wait").await;
    let id = &spec.create.id;
    pod.log_contains(id, "ready").await;
    pod.monitor.signal(id, 9, true).await.unwrap();
    assert_eq!(pod.exit(id).await.code, 137);
    drop(created);
}

#[tokio::test]
async fn deleting_a_running_container_reports_its_exit_first() {
    let mut pod = Pod::new().await;
    let (spec, created) = pod.run("sleep 1003").await;
    let id = &spec.create.id;
    assert!(matches!(pod.monitor.shutdown().await, Err(Error::ContainersAlive { .. })));
    pod.monitor.delete(id).await.unwrap();
    assert_eq!(pod.exit(id).await.code, 137);
    assert!(!std::path::Path::new(&format!("/proc/{}", created.pid)).exists());
    let pid = pod.monitor.pid();
    pod.monitor.shutdown().await.unwrap();
    eventually("the monitor is gone and reaped", || !std::path::Path::new(&format!("/proc/{pid}")).exists())
        .await;
}

#[tokio::test]
async fn limits_can_be_updated() {
    let mut pod = Pod::new().await;
    let (spec, created) = pod.run("sleep 1004").await;
    let limit = json!({"memory": {"limit": 64 << 20}});
    pod.monitor.update(&spec.create.id, limit.to_string().into_bytes()).await.unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", created.pid)).unwrap();
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path);
    let file = match v1 {
        Some(path) => format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
        None => format!("/sys/fs/cgroup{}/memory.max", groups.trim().trim_start_matches("0::")),
    };
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), (64 << 20).to_string());
    let refused = pod.monitor.update(&spec.create.id, b"rubbish".to_vec()).await.unwrap_err();
    assert!(matches!(&refused, Error::RuntimeFailed { message, .. } if !message.is_empty()), "{refused}");
}

#[tokio::test]
async fn an_oom_kill_is_told() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("head -c 200000000 /dev/zero | tail; exit $?");
    spec.config["linux"]["resources"] = json!({"memory": {"limit": 16 << 20}});
    pod.run_spec(&spec).await;
    let exit = pod.exit(&spec.create.id).await;
    assert!(exit.oom_killed);
    assert_eq!(exit.code, 137);
}

#[tokio::test]
async fn a_live_oom_kill_of_a_child_is_an_event() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("head -c 200000000 /dev/zero | tail; echo survived; sleep 1005");
    spec.config["linux"]["resources"] = json!({"memory": {"limit": 16 << 20}});
    pod.run_spec(&spec).await;
    let id = spec.create.id.clone();
    let event = tokio::time::timeout(LONG, pod.events.next()).await.unwrap();
    assert_eq!(event, Some(ochre_monitor_api::client::Event::Oom { id: id.clone() }));
    pod.log_contains(&id, "survived").await;
}

#[tokio::test]
async fn a_rotated_log_is_reopened_and_nothing_is_lost() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done").await;
    let id = &spec.create.id;
    let log = pod.path("logs").join(id.short());
    let mut rotated = Vec::new();
    for number in 0..5 {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let old = pod.path(&format!("logs/rotated.{number}"));
        std::fs::rename(&log, &old).unwrap();
        rotated.push(old);
        pod.monitor.reopen_log(id).await.unwrap();
        assert!(log.exists());
    }
    pod.exit(id).await;
    rotated.push(log);
    let lines: Vec<String> = rotated.iter().flat_map(|path| records(path)).map(|entry| entry.2).collect();
    let expected: Vec<String> = (0..3000).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected);
    assert_eq!(
        pod.monitor.reopen_log(&ContainerId::generate()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
