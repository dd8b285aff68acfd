//! Exec and attach over SPDY.

use std::time::Duration;

use ochre_stream::{AttachRequest, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::support::*;

const V4: &str = "v4.channel.k8s.io";

#[tokio::test]
async fn output_error_output_and_exit_code_arrive() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["both"], OUT_ERR)).unwrap();
    let (out, err, status) = Remote::open(&url, V4, OUT_ERR).await.output().await;
    assert_eq!((out.as_str(), err.as_str()), ("to out", "to err"));
    assert!(status.contains(r#""reason":"ExitCode","message":"7""#), "{status}");
}

#[tokio::test]
async fn every_version_tells_the_end_its_way() {
    let (server, _engine) = start().await;
    for (protocol, code, expected) in [
        ("v4.channel.k8s.io", "0", SUCCESS),
        ("v3.channel.k8s.io", "0", ""),
        ("v3.channel.k8s.io", "3", "command terminated with non-zero exit code: 3"),
        ("v2.channel.k8s.io", "3", "command terminated with non-zero exit code: 3"),
        ("channel.k8s.io", "3", "command terminated with non-zero exit code: 3"),
    ] {
        let url = server.exec(command(&["exit", code], OUT)).unwrap();
        let (_, _, status) = Remote::open(&url, protocol, OUT).await.output().await;
        assert_eq!(status, expected, "{protocol}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_run_is_told_why() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["nonsense"], OUT)).unwrap();
    let (_, _, status) = Remote::open(&url, V4, OUT).await.output().await;
    assert!(status.contains("InternalError") && status.contains("no command"), "{status}");
}

#[tokio::test]
async fn closing_stdin_ends_the_process_and_its_last_output_arrives() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["cat"], IN_OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    let mut stdin = remote.stdin.take().unwrap();
    stdin.write_all(b"hello ").await.unwrap();
    let mut early = [0; 6];
    remote.stdout.as_mut().unwrap().read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"hello ");
    stdin.write_all(b"world").await.unwrap();
    stdin.shutdown().await.unwrap();
    let (out, _, status) = remote.output().await;
    assert_eq!((out.as_str(), status.as_str()), ("world", SUCCESS));
}

#[tokio::test]
async fn attach_joins_the_streams() {
    let (server, _engine) = start().await;
    let url = server.attach(AttachRequest { container: "cat".to_owned(), streams: IN_OUT }).unwrap();
    assert!(url.contains("/attach/"));
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    remote.stdin.take().unwrap().write_all(b"attached").await.unwrap();
    let (out, _, status) = remote.output().await;
    assert_eq!((out.as_str(), status.as_str()), ("attached", SUCCESS));
}

#[tokio::test]
async fn the_last_size_of_the_terminal_arrives() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["sizes"], TERMINAL)).unwrap();
    let mut remote = Remote::open(&url, V4, TERMINAL).await;
    let mut resize = remote.resize.take().unwrap();
    for width in 1..=300 {
        resize.write_all(format!("{{\"Width\":{width},\"Height\":24}}\n").as_bytes()).await.unwrap();
    }
    drop(resize);
    let (out, _, status) = remote.output().await;
    assert_eq!((out.lines().last(), status.as_str()), (Some("300x24"), SUCCESS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_arrive_whole_in_both_directions() {
    const COUNT: u64 = 100 * 1024 * 1024;
    let (server, _engine) = start().await;
    let expected = sum_of_produced(COUNT).await;

    let url = server.exec(command(&["produce", &COUNT.to_string()], OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, OUT).await;
    assert_eq!(sum_of(remote.stdout.take().unwrap()).await, expected);
    assert_eq!(remote.output().await.2, SUCCESS);

    let url = server.exec(command(&["sum"], IN_OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    produce(&mut remote.stdin.take().unwrap(), COUNT).await.unwrap();
    assert_eq!(remote.output().await.0, expected);
}

#[tokio::test]
async fn a_slow_client_slows_the_process() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["produce", "50000000"], OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, OUT).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    engine.expect_running(1).await;
    let sum = sum_of(remote.stdout.take().unwrap()).await;
    assert_eq!(sum, sum_of_produced(50_000_000).await);
    assert_eq!(remote.output().await.2, SUCCESS);
}

#[tokio::test]
async fn a_process_that_reads_nothing_stops_its_client_and_ends_all_the_same() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["deaf", "3000"], IN_OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    let mut stdin = remote.stdin.take().unwrap();
    let flood = tokio::spawn(async move { produce(&mut stdin, 1 << 40).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!flood.is_finished(), "still waiting for room");
    assert_eq!(remote.output().await.2, SUCCESS);
    flood.abort();
}

#[tokio::test]
async fn the_process_ends_with_its_client() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["sleep"], OUT)).unwrap();
    let remote = Remote::open(&url, V4, OUT).await;
    engine.expect_running(1).await;
    drop(remote);
    engine.expect_running(0).await;
}

#[tokio::test]
async fn the_death_of_a_client_is_noticed_behind_input_that_nobody_reads() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["sleep"], IN_OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    let mut stdin = remote.stdin.take().unwrap();
    let flood = timeout(Duration::from_secs(1), produce(&mut stdin, 1 << 40)).await;
    assert!(flood.is_err(), "waits for room");
    engine.expect_running(1).await;
    drop((remote, stdin));
    engine.expect_running(0).await;
}

#[tokio::test]
async fn a_session_without_traffic_ends_and_says_why() {
    let idle = Duration::from_secs(2);
    let (server, engine) = start_with(ochre_stream::ServerConfig { idle_timeout: idle, ..config() }).await;
    let url = server.exec(command(&["cat"], IN_OUT)).unwrap();
    let mut remote = Remote::open(&url, V4, IN_OUT).await;
    let start = Instant::now();
    let mut stdin = remote.stdin.take().unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        stdin.write_all(b".").await.unwrap();
    }
    let (out, _, status) = remote.output().await;
    assert!(start.elapsed() >= Duration::from_secs(4), "traffic keeps it: {:?}", start.elapsed());
    assert_eq!(out, "....");
    assert!(status.contains("nothing was sent"), "{status}");
    engine.expect_running(0).await;
}

#[tokio::test]
async fn streams_that_were_not_asked_for_end_and_nonsense_is_refused() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["deaf", "300"], OUT)).unwrap();
    let client = Client::connect(&url, V4).await;
    let error = client.open("error").await;
    let stdin = client.open("stdin").await;
    let nonsense = ochre_stream::spdy::Headers::new([("streamType", "stdlog")]);
    assert!(client.session.open(nonsense, false).await.is_err());
    let again = ochre_stream::spdy::Headers::new([("streamType", "error")]);
    assert!(client.session.open(again, false).await.is_err());
    let _stdout = client.open("stdout").await;
    assert_eq!(text(Some(stdin.reader)).await, "");
    assert_eq!(text(Some(error.reader)).await, SUCCESS);
}

#[tokio::test]
async fn several_clients_have_sessions_of_their_own() {
    let (server, engine) = start().await;
    let mut remotes = Vec::new();
    for _ in 0..20 {
        let url = server.exec(command(&["cat"], Streams { ..IN_OUT })).unwrap();
        remotes.push(Remote::open(&url, V4, IN_OUT).await);
    }
    engine.expect_running(20).await;
    for (number, mut remote) in remotes.into_iter().enumerate() {
        let text = format!("number {number}");
        remote.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        assert_eq!(remote.output().await.0, text);
    }
    engine.expect_running(0).await;
}

#[tokio::test]
async fn a_client_that_opens_too_few_streams_is_told_so() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["cat"], IN_OUT)).unwrap();
    let client = Client::connect(&url, V4).await;
    let error = client.open("error").await;
    let _stdout = client.open("stdout").await;
    let status = timeout(Duration::from_secs(35), text(Some(error.reader))).await.unwrap();
    assert!(status.contains("did not open its streams in time"), "{status}");
    engine.expect_running(0).await;
}
