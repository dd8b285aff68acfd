//! Runtimes that fail, hang and lie; rubbish on the socket; bad logs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use ochre_monitor_api::client::Error;
use ochre_types::ErrorKind;

use crate::pod::{Pod, eventually, processes_with};

/// Creates a container with a fake runtime.
async fn create_with(pod: &mut Pod, script: &str, timeout: Duration) -> Error {
    let mut spec = pod.spec("true");
    spec.create.runtime = pod.fake_runtime(script);
    spec.create.timeout = timeout;
    let error = pod.create(&spec).await.unwrap_err();
    assert!(pod.reconnect().await.containers.is_empty(), "a failed create leaves nothing");
    error
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_runtimes_own_words_are_reported() {
    let mut pod = Pod::new().await;
    for (script, words) in [
        (
            r#"[ $verb = create ] && echo '{"level":"error","msg":"no \"such\" thing"}' > $log; exit 1"#,
            "no \"such\" thing",
        ),
        ("echo complaint >&2; exit 1", "complaint"),
        ("exit 3", "exited with status 3"),
        ("kill -SEGV $$", "signal 11"),
        ("exit 0", "succeeded without doing it"),
        ("[ $verb = create ] && echo 1 > $pid_file; exit 0", "succeeded without doing it"),
        ("[ $verb = create ] && echo rubbish > $pid_file; exit 0", "succeeded without doing it"),
        ("[ $verb = create ] && head -c 9000000 /dev/zero > $pid_file; exit 0", "succeeded without doing it"),
    ] {
        let error = create_with(&mut pod, script, SOON).await;
        assert!(matches!(&error, Error::RuntimeFailed { .. }), "{script}: {error:?}");
        assert!(error.to_string().contains(words), "{script}: {error}");
    }
    assert!(pod.calls().starts_with("create delete create delete"), "{}", pod.calls());
}

#[tokio::test]
async fn a_runtime_that_hangs_is_killed_with_its_children() {
    let mut pod = Pod::new().await;
    let started = Instant::now();
    let script = "[ $verb = create ] || exit 0; sleep 77126 & setsid sleep 77126 & sleep 77126";
    let error = create_with(&mut pod, script, Duration::from_millis(300)).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("create did not finish within 300 ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    eventually("nothing of it is left", || processes_with("77126").is_empty()).await;
    let error =
        create_with(&mut pod, "[ $verb = create ] || exit 0; sleep 77126 & kill -KILL $$", SOON).await;
    assert!(error.to_string().contains("signal 9"), "{error}");
    eventually("nothing of it is left", || processes_with("77126").is_empty()).await;
}

#[tokio::test]
async fn a_runtime_that_prints_without_end_is_bounded() {
    let mut pod = Pod::new().await;
    let error =
        create_with(&mut pod, "[ $verb = create ] || exit 0; yes error >&2", Duration::from_millis(500))
            .await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let error =
        create_with(&mut pod, "[ $verb = create ] || exit 0; yes error | head -c 60000 >&2; exit 1", SOON)
            .await;
    assert!(error.to_string().len() < 20_000);
    let mut spec = pod.spec("true");
    spec.create.runtime.path = "/no/such/runtime".into();
    let error = pod.create(&spec).await.unwrap_err();
    assert!(
        matches!(&error, Error::System { message, .. } if message.contains("/no/such/runtime")),
        "{error}"
    );
}

#[tokio::test]
async fn a_process_that_ends_during_create_is_an_exit() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("true");
    // Orphaned and dead before the runtime has returned.
    let script = "[ $verb = create ] || exit 0; ((sleep 0.05; exit 23) & echo $! > $pid_file); sleep 0.3";
    spec.create.runtime = pod.fake_runtime(script);
    pod.create(&spec).await.unwrap();
    assert_eq!(pod.exit(&spec.create.id).await.code, 23);
}

#[tokio::test]
async fn a_bad_log_path_refuses_the_container() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("true");
    std::os::unix::fs::symlink("/etc/passwd", pod.path("logs/link")).unwrap();
    for bad in ["logs/link", "logs", "missing/log"] {
        spec.create.log_path = Some(pod.path(bad));
        let error = pod.create(&spec).await.unwrap_err();
        assert!(matches!(&error, Error::System { .. }) && error.to_string().contains(bad), "{error}");
    }
    assert!(pod.reconnect().await.containers.is_empty());
}

#[tokio::test]
async fn rubbish_closes_only_its_own_connection() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("sleep 1040").await;
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    for round in 0..200 {
        let mut socket = UnixStream::connect(pod.path("monitor.sock")).unwrap();
        let mut bytes = vec![0; 64 + round];
        random.read_exact(&mut bytes).unwrap();
        // Half of them with a plausible header.
        if round % 2 == 0 {
            bytes[..6].copy_from_slice(&[58, 0, 0, 0, 0, 1 + (round % 14) as u8]);
        }
        socket.write_all(&bytes).ok();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        socket.read_to_end(&mut Vec::new()).ok();
    }
    // A peer that never reads is cut off instead of being waited for.
    let mut deaf = UnixStream::connect(pod.path("monitor.sock")).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let hello = [10, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0];
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(deaf.write(&hello), Err(error) if error.kind() != std::io::ErrorKind::WouldBlock) {
        assert!(Instant::now() < deadline, "never cut off");
    }
    pod.monitor.signal(&spec.create.id, 9, false).await.unwrap();
    assert_eq!(pod.exit(&spec.create.id).await.code, 137);
}

#[tokio::test]
async fn a_second_monitor_in_the_same_directory_is_refused() {
    let pod = Pod::new().await;
    let options = ochre_monitor_api::client::LaunchOptions {
        binary: env!("CARGO_BIN_EXE_ochre-monitor").into(),
        dir: pod.dir.path().into(),
        oom_score_adj: None,
    };
    let error = ochre_monitor_api::client::Monitor::launch(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(pod.path("monitor.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_pause_process_reaps_and_ends_on_request() {
    // As PID 1 of its own namespace, with a child that orphans one.
    let script = r#"sh -c '(sleep 0.1; exit 0) & exit 0' & exec "$0" pause"#;
    let program = env!("CARGO_BIN_EXE_ochre-monitor");
    let mut unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", script, program])
        .spawn()
        .unwrap();
    let pause = || {
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = std::fs::read_to_string(children).ok()?.trim().parse::<i32>().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.ends_with("pause\0").then_some(pid)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let alone = |pid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|c| c.is_empty())
    };
    let pid = loop {
        if let Some(pid) = pause()
            && alone(pid)
        {
            break pid;
        }
        assert!(Instant::now() < deadline, "never alone");
        std::thread::sleep(Duration::from_millis(10));
    };
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(unshare.wait().unwrap().success());
}
