//! Tokens, requests that are refused, hostile clients, and the end of the server.

use std::time::Duration;

use ochre_stream::{Error, ServerConfig, Streams};
use ochre_types::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::*;

const V4: &str = "v4.channel.k8s.io";

#[tokio::test]
async fn a_token_works_once_and_only_for_what_it_was_made_for() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["exit", "0"], OUT)).unwrap();
    Remote::open(&url, V4, OUT).await.output().await;
    let used = request(&mut connect(&url).await, "POST", &url, &upgrade(V4)).await;
    assert!(used.starts_with("HTTP/1.1 404 "), "{used}");
    let url = server.exec(command(&["exit", "0"], OUT)).unwrap().replace("/exec/", "/attach/");
    let other = request(&mut connect(&url).await, "POST", &url, &upgrade(V4)).await;
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
    let first = server.exec(command(&["exit", "0"], OUT)).unwrap();
    assert_ne!(first, server.exec(command(&["exit", "0"], OUT)).unwrap());
}

#[tokio::test]
async fn no_more_sessions_are_announced_than_the_server_remembers() {
    let (server, _engine) = start().await;
    for _ in 0..1000 {
        server.exec(command(&["exit", "0"], OUT)).unwrap();
    }
    let error = server.exec(command(&["exit", "0"], OUT)).unwrap_err();
    assert!(matches!(error, Error::TooManyPending { count: 1000 }));
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn impossible_streams_are_refused_before_a_url_is_given() {
    let (server, _engine) = start().await;
    for streams in [Streams::default(), Streams { terminal: true, ..OUT_ERR }] {
        let error = server.exec(command(&["cat"], streams)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_answered_with_the_reason() {
    let (server, _engine) = start().await;
    for (method, headers, answer) in [
        ("POST", String::new(), "400 "),
        ("PUT", upgrade(V4), "405 "),
        ("POST", upgrade("v9.channel.k8s.io, chat"), "403 "),
        ("POST", upgrade(""), "400 "),
        ("POST", "Connection: Upgrade\r\nUpgrade: h2c\r\n".to_owned(), "400 "),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned(), "400 "),
    ] {
        let url = server.exec(command(&["cat"], OUT)).unwrap();
        let got = request(&mut connect(&url).await, method, &url, &headers).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {answer}")), "{method} {headers:?}: {got}");
        assert!(got.contains("connection: close"), "{got}");
        if answer == "403 " {
            assert!(got.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io"), "{got}");
        }
    }
    let url = format!("http://{}/", server.address());
    for path in ["", "exec", "exec/", "exec/unknown", "run/x", "exec/../etc"] {
        let url = format!("{url}{path}");
        let got = request(&mut connect(&url).await, "GET", &url, &upgrade(V4)).await;
        assert!(got.starts_with("HTTP/1.1 404 "), "{path}: {got}");
    }
}

#[tokio::test]
async fn the_newest_protocol_that_the_client_offers_first_is_taken() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["exit", "0"], OUT)).unwrap();
    let offer =
        upgrade("v5.channel.k8s.io") + "X-Stream-Protocol-Version: v4.channel.k8s.io, channel.k8s.io\r\n";
    let got = request(&mut connect(&url).await, "GET", &url, &offer).await;
    assert!(got.to_lowercase().contains("x-stream-protocol-version: v4.channel.k8s.io\r\n"), "{got}");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_says_it_slowly_is_dropped() {
    let (server, _engine) = start().await;
    let start = Instant::now();
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let dripping = tokio::spawn(async move {
        slow.write_all(b"GET /exec/x HTTP/1.1\r\n").await.unwrap();
        while slow.write_all(b"X: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let mut rest = Vec::new();
    timeout(Duration::from_secs(15), silent.read_to_end(&mut rest)).await.expect("dropped").ok();
    timeout(Duration::from_secs(15), dripping).await.expect("dropped").unwrap();
    assert!(start.elapsed() > Duration::from_secs(5), "not at once");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (server, _engine) = start().await;
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("GET /exec/x HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    connection.write_all(head.as_bytes()).await.ok();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), connection.read_to_end(&mut answer)).await.expect("refused").ok();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "));
}

#[tokio::test]
async fn bytes_that_are_not_spdy_end_the_session() {
    let (server, engine) = start().await;
    for hostile in [&[0; 8][..], &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], &[0xff; 64]] {
        let url = server.exec(command(&["sleep"], OUT)).unwrap();
        let mut connection = connect(&url).await;
        request(&mut connection, "POST", &url, &upgrade(V4)).await;
        connection.write_all(hostile).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), connection.read_to_end(&mut rest)).await.expect("closed").ok();
    }
    engine.expect_running(0).await;
}

#[tokio::test]
async fn shutdown_tells_the_clients_ends_the_processes_and_frees_the_port() {
    let (server, engine) = start().await;
    let address = server.address();
    let url = server.exec(command(&["sleep"], OUT)).unwrap();
    let remote = Remote::open(&url, V4, OUT).await;
    let forward = Client::connect(&server.port_forward(forward(&[])).unwrap(), "portforward.k8s.io").await;
    engine.expect_running(1).await;
    let told = tokio::spawn(remote.output());
    timeout(Duration::from_secs(8), server.shutdown()).await.expect("within its deadline");
    engine.expect_running(0).await;
    assert!(told.await.unwrap().2.contains("the streaming server stops"));
    assert!(TcpStream::connect(address).await.is_err());
    assert!(matches!(server.exec(command(&["cat"], OUT)), Err(Error::Closed)));
    forward.closed().await;
    start_with(ServerConfig { port: address.port(), ..config() }).await;
}

#[tokio::test]
async fn the_server_goes_with_its_last_handle() {
    let (server, engine) = start().await;
    let (address, clone) = (server.address(), server.clone());
    let url = server.exec(command(&["sleep"], OUT)).unwrap();
    let _remote = Remote::open(&url, V4, OUT).await;
    engine.expect_running(1).await;
    drop(server);
    assert_eq!(clone.address(), address);
    engine.expect_running(1).await;
    drop(clone);
    engine.expect_running(0).await;
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_told() {
    let (server, _engine) = start().await;
    let engine = std::sync::Arc::new(Engine::default());
    let taken = ServerConfig { port: server.address().port(), ..config() };
    let error = ochre_stream::Server::bind(taken, engine.clone()).await.err().unwrap();
    assert!(matches!(error, Error::Bind { address, .. } if address == server.address()));
    let nowhere = ServerConfig { address: "no.such.host.invalid".to_owned(), ..config() };
    let error = ochre_stream::Server::bind(nowhere, engine).await.err().unwrap();
    assert!(matches!(error, Error::Resolve { .. }));
}

#[tokio::test]
async fn any_address_is_announced_as_one_that_can_be_reached() {
    let (server, _engine) = start_with(ServerConfig { address: "0.0.0.0".to_owned(), ..config() }).await;
    let url = server.exec(command(&["exit", "0"], OUT)).unwrap();
    assert!(url.starts_with(&format!("http://127.0.0.1:{}/exec/", server.address().port())), "{url}");
    assert_eq!(Remote::open(&url, V4, OUT).await.output().await.2, SUCCESS);
}
