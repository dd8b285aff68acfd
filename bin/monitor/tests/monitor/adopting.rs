//! `kill -9` of the monitor: containers live on, and the next monitor takes them over.

use std::time::Duration;

use ochre_monitor_api::client::Event;
use ochre_monitor_api::{Adopt, ContainerState, Descriptors, exit_record};
use ochre_types::Timestamp;

use crate::pod::{LONG, Pod, eventually, kill};

/// The kernel's time of a process's start.
fn start_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_container_survives_its_monitor_and_its_exit_code_is_exact() {
    let mut pod = Pod::new().await;
    let script = "i=0; while [ ! -e /go ]; do echo line $i; i=$((i+1)); sleep 0.01; done; echo last; exit 42";
    let (spec, created) = pod.run(script).await;
    let id = spec.create.id.clone();
    pod.log_contains(&id, "line 3").await;
    let start_time = start_time(created.pid);
    assert!(pod.replace_monitor().await.containers.is_empty());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let adopt =
        Adopt { container: spec.create.clone(), pid: created.pid, start_time, started_at: Timestamp::now() };
    pod.monitor.adopt(adopt.clone(), created.spare).await.unwrap();
    assert!(pod.monitor.adopt(adopt, Descriptors::default()).await.is_err());
    let snapshot = pod.reconnect().await;
    assert_eq!(snapshot.containers[0].state, ContainerState::Running { pid: created.pid });
    std::fs::write(pod.path("root/go"), "").unwrap();
    let exit = pod.exit(&id).await;
    assert_eq!(exit.code, 42);
    assert_eq!(exit_record::read(pod.dir.path(), &id).unwrap(), Some((created.pid, exit)));
    let lines: Vec<String> = pod.log(&id).into_iter().map(|entry| entry.2).collect();
    assert_eq!(lines.last().unwrap(), "last");
    for (number, line) in lines[..lines.len() - 1].iter().enumerate() {
        assert_eq!(*line, format!("line {number}"), "no line is lost over the monitor's death");
    }
    pod.monitor.delete(&id).await.unwrap();
}

/// Without the kernel's exit records (before Linux 6.15) nobody can know.
fn expected(code: i32) -> i32 {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    if version >= (6, 15) { code } else { 255 }
}

#[tokio::test]
async fn a_container_that_died_without_a_monitor_is_reported_dead() {
    let mut pod = Pod::new().await;
    let (with_pidfd, one) = pod.run("sleep 1030").await;
    let (without, two) = pod.run("sleep 1030").await;
    let (recycled, three) = pod.run("sleep 1030").await;
    let time = start_time(three.pid);
    pod.replace_monitor().await;
    kill(one.pid);
    kill(two.pid);
    for pid in [one.pid, two.pid] {
        eventually("dead", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    }
    let kept = Descriptors { pidfd: one.spare.pidfd, ..Descriptors::default() };
    for (spec, pid, start_time, spare, code) in [
        (&with_pidfd, one.pid, 1, kept, expected(137)),
        (&without, two.pid, 1, Descriptors::default(), 255),
        (&recycled, three.pid, time + 1, Descriptors::default(), 255),
    ] {
        let adopt = Adopt { container: spec.create.clone(), pid, start_time, started_at: Timestamp::now() };
        pod.monitor.adopt(adopt, spare).await.unwrap();
        assert_eq!(pod.exit(&spec.create.id).await.code, code);
    }
    assert!(
        std::path::Path::new(&format!("/proc/{}", three.pid)).exists(),
        "a foreign process is not touched"
    );
}

#[tokio::test]
async fn a_recorded_exit_is_told_again_unchanged() {
    let mut pod = Pod::new().await;
    let (spec, created) = pod.run("exit 12").await;
    let id = &spec.create.id;
    let exit = pod.exit(id).await;
    pod.replace_monitor().await;
    let adopt = Adopt {
        container: spec.create.clone(),
        pid: created.pid,
        start_time: 0,
        started_at: Timestamp::now(),
    };
    pod.monitor.adopt(adopt, Descriptors::default()).await.unwrap();
    let event = tokio::time::timeout(LONG, pod.events.next()).await.unwrap();
    assert_eq!(event, Some(Event::Exited { id: id.clone(), exit }));
}
