//! Port-forward over SPDY, to real TCP servers.

use std::time::Duration;

use ochre_stream::spdy::Headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::support::*;

const PROTOCOL: &str = "portforward.k8s.io";

/// Reads to the end of what the client sends, and only then answers with its checksum.
pub(crate) async fn summing() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            connections.spawn(async move {
                let (reader, mut writer) = tcp.split();
                let sum = sum_of(reader).await;
                writer.write_all(sum.as_bytes()).await.unwrap();
            });
        }
    });
    (port, task)
}

/// Sends what it gets back.
pub(crate) async fn echoing() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut reader, mut writer) = tcp.split();
                let _outcome = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    (port, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_go_through_one_forward_at_the_same_time() {
    let (server, _engine) = start().await;
    let (port, _task) = echoing().await;
    let url = server.port_forward(forward(&[])).unwrap();
    assert!(url.contains("/portforward/"));
    let client = Client::connect(&url, PROTOCOL).await;
    let mut opened = Vec::new();
    for id in 0..200 {
        opened.push(client.forward(id, port).await);
    }
    let mut transfers = JoinSet::new();
    for (id, (mut data, error)) in opened.into_iter().enumerate() {
        transfers.spawn(async move {
            let count = 100_000 + id as u64;
            let expected = sum_of_produced(count).await;
            let upload = async {
                produce(&mut data.writer, count).await.unwrap();
                data.writer.shutdown().await.unwrap();
            };
            let (sum, ()) = tokio::join!(sum_of(data.reader), upload);
            assert_eq!(sum, expected);
            assert_eq!(text(Some(error.reader)).await, "");
        });
    }
    let all = async {
        while let Some(result) = transfers.join_next().await {
            result.unwrap()
        }
    };
    timeout(Duration::from_secs(60), all).await.unwrap();
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let (server, _engine) = start().await;
    let (port, _task) = summing().await;
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    let (mut data, error) = client.forward(1, port).await;
    produce(&mut data.writer, 1_000_000).await.unwrap();
    data.writer.shutdown().await.unwrap();
    assert_eq!(text(Some(data.reader)).await, sum_of_produced(1_000_000).await);
    assert_eq!(text(Some(error.reader)).await, "");
}

#[tokio::test]
async fn a_pod_that_closes_its_direction_still_gets_the_rest() {
    let (server, _engine) = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    let (mut data, _error) = client.forward(1, port).await;
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.write_all(b"bye").await.unwrap();
    tcp.shutdown().await.unwrap();
    assert_eq!(text(Some(data.reader)).await, "bye");
    data.writer.write_all(b"one more").await.unwrap();
    drop(data.writer);
    assert_eq!(text(Some(tcp)).await, "one more");
}

#[tokio::test]
async fn a_port_that_nobody_serves_is_told_on_the_error_stream_and_the_others_go_on() {
    let (server, _engine) = start().await;
    let (port, _task) = echoing().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    let (_data, error) = client.forward(1, closed).await;
    let message = text(Some(error.reader)).await;
    assert!(message.contains(&format!("error forwarding port {closed} to pod p")), "{message}");
    let (mut data, _error) = client.forward(2, port).await;
    data.writer.write_all(b"fine").await.unwrap();
    drop(data.writer);
    assert_eq!(text(Some(data.reader)).await, "fine");
}

#[tokio::test]
async fn a_connection_that_the_pod_resets_is_reset_without_an_error_text() {
    let (server, _engine) = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    let (mut data, error) = client.forward(1, listener.local_addr().unwrap().port()).await;
    let (tcp, _) = listener.accept().await.unwrap();
    data.writer.write_all(b"unread").await.unwrap();
    tcp.peek(&mut [0]).await.unwrap();
    // Closing with unread input makes the kernel send a reset.
    drop(tcp);
    let mut buffer = [0];
    assert!(!matches!(data.reader.read(&mut buffer).await, Ok(1..)));
    assert_eq!(text(Some(error.reader)).await, "");
}

#[tokio::test]
async fn a_client_that_goes_away_closes_every_connection() {
    let (server, _engine) = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    let mut pods = Vec::new();
    for id in 0..10 {
        let (mut data, _error) = client.forward(id, listener.local_addr().unwrap().port()).await;
        data.writer.write_all(b"last words").await.unwrap();
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut words = [0; 10];
        tcp.read_exact(&mut words).await.unwrap();
        pods.push((tcp, data));
    }
    drop(client);
    for (mut tcp, _) in pods {
        let mut buffer = [0];
        let end = timeout(Duration::from_secs(5), tcp.read(&mut buffer)).await.expect("closed");
        assert!(!matches!(end, Ok(1..)));
    }
}

#[tokio::test]
async fn streams_without_a_port_or_a_kind_are_refused() {
    let (server, _engine) = start().await;
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    for headers in [
        Headers::new([("streamType", "data")]),
        Headers::new([("streamType", "data"), ("port", "0")]),
        Headers::new([("streamType", "data"), ("port", "65536")]),
        Headers::new([("streamType", "stdin"), ("port", "80")]),
        Headers::new([("port", "80")]),
    ] {
        assert!(client.session.open(headers.clone(), false).await.is_err(), "{headers:?}");
    }
}

#[tokio::test]
async fn clients_older_than_the_request_id_are_understood() {
    let (server, _engine) = start().await;
    let (port, _task) = echoing().await;
    let port = port.to_string();
    let client = Client::connect(&server.port_forward(forward(&[])).unwrap(), PROTOCOL).await;
    for _ in 0..2 {
        let _error = client
            .session
            .open(Headers::new([("streamType", "error"), ("port", &port)]), true)
            .await
            .unwrap();
        let headers = Headers::new([("streamType", "data"), ("port", &port)]);
        let mut data = client.session.open(headers, false).await.unwrap();
        data.writer.write_all(b"old").await.unwrap();
        drop(data.writer);
        assert_eq!(text(Some(data.reader)).await, "old");
    }
}
