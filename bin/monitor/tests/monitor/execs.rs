//! Execs: streams, codes, timeouts that leave nothing, terminals.

use std::io::Read;
use std::time::{Duration, Instant};

use ochre_monitor_api::client::{Error, Monitor};
use ochre_types::ErrorKind;

use crate::pod::{LONG, Pod, eventually, exec, processes_with, stdout_pipe};

#[tokio::test]
async fn an_exec_has_its_own_streams_and_code() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1010").await;
    let (mut output, stdio) = stdout_pipe();
    let running = pod.monitor.exec(exec(&spec.create.id, "echo hello; exit 5", None), stdio).await.unwrap();
    assert!(running.pid > 1 && running.console.is_none());
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.timed_out), (5, false));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    assert_eq!(pod.log(&spec.create.id), []);
}

#[tokio::test]
async fn a_failing_exec_names_the_reason() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1011").await;
    let mut request = exec(&spec.create.id, "", None);
    request.process_json = crate::pod::process(&["/no/such/program"]).to_string().into_bytes();
    let error = pod.monitor.exec(request, stdout_pipe().1).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let mut request = exec(&spec.create.id, "", None);
    request.process_json = b"rubbish".to_vec();
    assert!(matches!(pod.monitor.exec(request, stdout_pipe().1).await, Err(Error::RuntimeFailed { .. })));
}

#[tokio::test]
async fn a_timeout_kills_everything_the_exec_started() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1012 & sleep 1012").await;
    let script = "sleep 77123 & (sleep 77123 &) ; sh -c 'sh -c \"sleep 77123 & sleep 77123\"' & setsid sleep 77123 & (setsid sh -c 'setsid sleep 77123 &' &) ; sleep 77123";
    let started = Instant::now();
    let timeout = Duration::from_millis(1500);
    let running =
        pod.monitor.exec(exec(&spec.create.id, script, Some(timeout)), stdout_pipe().1).await.unwrap();
    eventually("all children run", || processes_with("sleep 77123").len() >= 7).await;
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert!(exit.timed_out);
    assert!(started.elapsed() >= timeout);
    eventually("nothing of the exec is left", || processes_with("77123").is_empty()).await;
    assert_eq!(processes_with("sleep 1012").len(), 2, "the container's own processes live");
}

#[tokio::test]
async fn an_exec_ends_with_its_leader_although_the_pipe_is_held() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1013").await;
    let (_output, stdio) = stdout_pipe();
    let running = pod.monitor.exec(exec(&spec.create.id, "sleep 1014 & exit 4", None), stdio).await.unwrap();
    let exit = tokio::time::timeout(Duration::from_secs(5), running.wait()).await.unwrap().unwrap();
    assert_eq!(exit.code, 4);
}

#[tokio::test]
async fn an_exec_can_be_killed() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1015").await;
    let request = exec(&spec.create.id, "sleep 77124 & sleep 77124", None);
    let exec_id = request.exec_id.clone();
    let running = pod.monitor.exec(request.clone(), stdout_pipe().1).await.unwrap();
    let again = pod.monitor.exec(request, stdout_pipe().1).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    pod.monitor.kill_exec(&spec.create.id, &exec_id).await.unwrap();
    let exit = tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.timed_out), (137, false));
    eventually("nothing of the exec is left", || processes_with("77124").is_empty()).await;
}

#[tokio::test]
async fn an_exec_nobody_waits_for_any_more_is_killed() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1016").await;
    for wait in [0, 1, 5, 10, 20, 40, 1000] {
        let request = pod.monitor.exec(exec(&spec.create.id, "sleep 77125", None), stdout_pipe().1);
        // Before it has started, or after.
        drop(tokio::time::timeout(Duration::from_millis(wait), request).await);
    }
    eventually("nothing of the execs is left", || processes_with("77125").is_empty()).await;
    assert_eq!(processes_with("sleep 1016").len(), 1, "the container lives");
    assert_eq!(pod.reconnect().await.containers.len(), 1, "the connection and the monitor work");
}

#[tokio::test]
async fn the_execs_of_a_daemon_that_is_gone_end() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1018").await;
    let script = "(setsid sleep 77126 &) ; (setsid sleep 77126 &) ; sleep 77126";
    let kept = pod.monitor.exec(exec(&spec.create.id, "sleep 77127", None), stdout_pipe().1).await.unwrap();
    let (socket, request) = (pod.path("monitor.sock"), exec(&spec.create.id, script, None));
    let daemon = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (monitor, _, _events) = Monitor::connect(&socket).await.unwrap();
            let running = monitor.exec(request, stdout_pipe().1).await.unwrap();
            eventually("all children run", || processes_with("sleep 77126").len() >= 3).await;
            // As when the daemon is killed: no destructor runs.
            std::mem::forget((monitor, running));
        });
        // The socket closes.
        drop(runtime);
    });
    tokio::task::spawn_blocking(|| daemon.join().unwrap()).await.unwrap();
    eventually("nothing of the exec is left", || processes_with("77126").is_empty()).await;
    assert_eq!(processes_with("sleep 77127").len(), 1, "the exec of a daemon that lives");
    drop(kept);
}

#[tokio::test]
async fn a_hung_up_terminal_ends_what_was_started_from_it() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1019").await;
    let script = "trap '' HUP; (setsid sleep 77128 &) ; sleep 77128 & sleep 77128; sleep 77128";
    for (script, count) in [(script, 3), ("(setsid sleep 77128 &) ; sleep 77128; sleep 77128", 2)] {
        let mut request = exec(&spec.create.id, script, None);
        let mut process: serde_json::Value = serde_json::from_slice(&request.process_json).unwrap();
        process["terminal"] = true.into();
        (request.process_json, request.terminal) = (process.to_string().into_bytes(), true);
        let mut running = pod.monitor.exec(request, Default::default()).await.unwrap();
        let console = running.console.take().unwrap();
        eventually("all children run", || processes_with("sleep 77128").len() > count).await;
        drop((console, running));
        eventually("nothing of the exec is left", || processes_with("77128").is_empty()).await;
    }
}

#[tokio::test]
async fn the_execs_of_a_container_end_with_it_without_a_pid_namespace() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("sleep 1021");
    let namespaces = spec.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    pod.run_spec(&spec).await;
    let script = "(setsid sleep 77129 &) ; sleep 77129";
    let running = pod.monitor.exec(exec(&spec.create.id, script, None), stdout_pipe().1).await.unwrap();
    eventually("all children run", || processes_with("sleep 77129").len() >= 2).await;
    pod.monitor.signal(&spec.create.id, 9, false).await.unwrap();
    pod.exit(&spec.create.id).await;
    assert_eq!(tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap().code, 137);
    eventually("nothing of the exec is left", || processes_with("77129").is_empty()).await;
}

#[tokio::test]
async fn a_terminal_exec_hands_its_master_over() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1017").await;
    let mut request = exec(&spec.create.id, "", None);
    let mut process = crate::pod::process(&["/bin/sh", "-c", "read line; echo got $line; stty size; exit 6"]);
    process["terminal"] = true.into();
    request.process_json = process.to_string().into_bytes();
    request.terminal = true;
    let mut running = pod.monitor.exec(request, Default::default()).await.unwrap();
    let console = running.console.take().unwrap();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 44, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&console, size).unwrap();
    rustix::io::write(&console, b"typed\n").unwrap();
    assert_eq!(tokio::time::timeout(LONG, running.wait()).await.unwrap().unwrap().code, 6);
    let mut text = Vec::new();
    // EIO is how a terminal ends.
    std::fs::File::from(console).read_to_end(&mut text).ok();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("got typed") && text.contains("33 44"), "{text}");
}
