//! Exec and port-forward over WebSocket.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use ochre_stream::{ServerConfig, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::port_forward::{echoing, summing};
use crate::support::*;

type Socket = WebSocketStream<TcpStream>;
const V5: &str = "v5.channel.k8s.io";

async fn open(url: &str, protocol: &str) -> Socket {
    let mut connection = connect(url).await;
    let mut headers =
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            .to_owned();
    if !protocol.is_empty() {
        headers += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    let answer = request(&mut connection, "GET", url, &headers).await.to_lowercase();
    assert!(
        answer.contains("connection: upgrade\r\n") && answer.contains("upgrade: websocket\r\n"),
        "{answer}"
    );
    assert!(
        answer.starts_with("http/1.1 101 ") && answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );
    let chosen = format!("sec-websocket-protocol: {}\r\n", protocol.to_lowercase());
    assert_eq!(answer.contains(&chosen), !protocol.is_empty(), "{answer}");
    WebSocketStream::from_raw_socket(connection, Role::Client, None).await
}

/// What came per channel until the server closed, and whether it closed as it should.
async fn channels(socket: &mut Socket, base64: bool) -> ([Vec<u8>; 4], bool) {
    let mut channels: [Vec<u8>; 4] = Default::default();
    let all = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(frame) => return frame.is_some_and(|frame| u16::from(frame.code) == 1000),
                Message::Binary(bytes) if !base64 => {
                    channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..])
                }
                Message::Text(text) if base64 => {
                    let bytes = STANDARD.decode(&text[1..]).unwrap();
                    channels[usize::from(text.as_bytes()[0] - b'0')].extend_from_slice(&bytes);
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
        false
    };
    let clean = timeout(Duration::from_secs(20), all).await.unwrap();
    (channels, clean)
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn every_subprotocol_carries_output_and_tells_the_end_its_way() {
    let (server, _engine) = start().await;
    for (protocol, base64, json) in [
        ("v5.channel.k8s.io", false, true),
        ("v4.channel.k8s.io", false, true),
        ("v4.base64.channel.k8s.io", true, true),
        ("v3.channel.k8s.io", false, false),
        ("v2.channel.k8s.io", false, false),
        ("channel.k8s.io", false, false),
        ("base64.channel.k8s.io", true, false),
        ("", false, false),
    ] {
        let url = server.exec(command(&["both"], OUT_ERR)).unwrap();
        let ([_, out, err, status], clean) = channels(&mut open(&url, protocol).await, base64).await;
        assert_eq!((utf8(&out), utf8(&err)), ("to out", "to err"), "{protocol}");
        let expected = if json { r#""reason":"ExitCode","message":"7""# } else { "exit code: 7" };
        assert!(utf8(&status).contains(expected) && clean, "{protocol}: {}", utf8(&status));
        assert_eq!(utf8(&status).starts_with('{'), json);
    }
}

#[tokio::test]
async fn the_closing_signal_ends_stdin() {
    let (server, _engine) = start().await;
    let url = server.exec(command(&["cat"], IN_OUT)).unwrap();
    let mut socket = open(&url, V5).await;
    for piece in [&b"\0hello "[..], b"\0", b"\0world", &[255, 1], &[255, 0], b"\0lost"] {
        socket.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    let ([_, out, _, status], clean) = channels(&mut socket, false).await;
    assert_eq!((utf8(&out), utf8(&status), clean), ("hello world", SUCCESS, true));
}

#[tokio::test]
async fn a_terminal_gets_its_sizes() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["sizes"], TERMINAL)).unwrap();
    let mut socket = open(&url, V5).await;
    socket.send(Message::binary(b"\x04{\"Width\":120,\"Height\":40}".to_vec())).await.unwrap();
    let seen = async {
        loop {
            if let Some(Ok(Message::Binary(bytes))) = socket.next().await
                && bytes.len() > 1
            {
                break bytes;
            }
        }
    };
    assert_eq!(timeout(Duration::from_secs(5), seen).await.unwrap().as_ref(), b"\x01120x40\n");
    drop(socket);
    engine.expect_running(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_megabytes_arrive_whole_in_both_directions() {
    const COUNT: u64 = 30 * 1024 * 1024;
    let (server, _engine) = start().await;
    let url = server.exec(command(&["produce", &COUNT.to_string()], OUT)).unwrap();
    let ([_, out, _, status], _) = channels(&mut open(&url, V5).await, false).await;
    assert_eq!(utf8(&status), SUCCESS);
    assert_eq!(sum_of(out.as_slice()).await, sum_of_produced(COUNT).await);

    let url = server.exec(command(&["sum"], IN_OUT)).unwrap();
    let mut socket = open(&url, V5).await;
    let (mut writer, mut reader) = duplex(1 << 16);
    let sending = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer[1..]).await {
            socket.send(Message::binary(buffer[..=count].to_vec())).await.unwrap();
        }
        socket.send(Message::binary(vec![255, 0])).await.unwrap();
    };
    let producing = async move { produce(&mut writer, COUNT).await.unwrap() };
    tokio::join!(sending, producing);
    let ([_, out, ..], _) = channels(&mut socket, false).await;
    assert_eq!(utf8(&out), sum_of_produced(COUNT).await);
}

#[tokio::test]
async fn a_client_that_goes_away_or_says_too_much_at_once_ends_the_process() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["sleep"], IN_OUT)).unwrap();
    let socket = open(&url, V5).await;
    engine.expect_running(1).await;
    drop(socket);
    engine.expect_running(0).await;
    let url = server.exec(command(&["sleep"], IN_OUT)).unwrap();
    let mut socket = open(&url, V5).await;
    engine.expect_running(1).await;
    socket.send(Message::binary(vec![0; 3 * 1024 * 1024])).await.ok();
    engine.expect_running(0).await;
}

#[tokio::test]
async fn a_session_without_traffic_ends_and_pings_are_none() {
    let idle = Duration::from_millis(700);
    let (server, _engine) = start_with(ServerConfig { idle_timeout: idle, ..config() }).await;
    let url = server.exec(command(&["cat"], Streams { ..IN_OUT })).unwrap();
    let mut socket = open(&url, V5).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        socket.send(Message::Ping(vec![1].into())).await.ok();
    }
    let ([.., status], clean) = channels(&mut socket, false).await;
    assert!(utf8(&status).contains("nothing was sent") && clean);
}

#[tokio::test]
async fn ports_have_two_channels_each() {
    let (server, _engine) = start().await;
    let (port, _task) = echoing().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = server.port_forward(forward(&[port, closed])).unwrap();
    let mut socket = open(&url, "v4.channel.k8s.io").await;
    socket.send(Message::binary(b"\0through channels".to_vec())).await.unwrap();
    let mut got: [Vec<u8>; 4] = Default::default();
    let expected = [port.to_le_bytes().to_vec(), b"through channels".to_vec()].concat();
    while got[0].len() < expected.len() || got[3].len() < 3 {
        let message = timeout(Duration::from_secs(5), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Binary(bytes) = message {
            got[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
        }
    }
    assert_eq!(got[0], expected);
    assert_eq!(got[1], port.to_le_bytes());
    assert_eq!(got[2], closed.to_le_bytes());
    assert_eq!(got[3][..2], closed.to_le_bytes());
    assert!(utf8(&got[3][2..]).contains("error forwarding port"));
}

#[tokio::test]
async fn channels_without_ports_in_the_request_are_refused() {
    let (server, _engine) = start().await;
    let url = server.port_forward(forward(&[])).unwrap();
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = request(&mut connect(&url).await, "GET", &url, headers).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spdy_session_goes_through_the_tunnel() {
    let (server, _engine) = start().await;
    let (port, _task) = summing().await;
    let url = server.port_forward(forward(&[])).unwrap();
    let socket = open(&url, "SPDY/3.1+portforward.k8s.io").await;
    let (near, far) = duplex(1 << 16);
    let carrying = tokio::spawn(carry(socket, far));
    let client = Client::over(near);
    let mut opened = Vec::new();
    for id in 0..50 {
        opened.push(client.forward(id, port).await);
    }
    for (mut data, error) in opened {
        produce(&mut data.writer, 200_000).await.unwrap();
        data.writer.shutdown().await.unwrap();
        assert_eq!(text(Some(data.reader)).await, sum_of_produced(200_000).await);
        assert_eq!(text(Some(error.reader)).await, "");
    }
    client.closed().await;
    timeout(Duration::from_secs(5), carrying).await.unwrap().unwrap();
}

/// Carries bytes through binary messages, cutting them wherever they happen to end.
async fn carry(socket: Socket, bytes: tokio::io::DuplexStream) {
    let (mut sink, mut stream) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(bytes);
    let up = async {
        let mut buffer = vec![0; 1000];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            sink.send(Message::binary(buffer[..count].to_vec())).await.unwrap();
        }
        sink.send(Message::Close(None)).await.ok();
    };
    let down = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(bytes) = message {
                writer.write_all(&bytes).await.ok();
            }
        }
        writer.shutdown().await.ok();
    };
    tokio::join!(up, down);
}

#[tokio::test]
async fn the_death_of_a_client_is_noticed_behind_input_that_nobody_reads() {
    let (server, engine) = start().await;
    let url = server.exec(command(&["sleep"], IN_OUT)).unwrap();
    let mut socket = open(&url, V5).await;
    let flood = async { while socket.send(Message::binary(vec![0; 32 * 1024])).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), flood).await.is_err(), "waits for room");
    engine.expect_running(1).await;
    drop(socket);
    engine.expect_running(0).await;
}
