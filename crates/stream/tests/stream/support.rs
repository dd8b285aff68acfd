//! A backend that plays the engine, and clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ochre_stream::spdy::{self, Headers, Incoming, Role, Stream, Writer};
use ochre_stream::{
    Backend, BoxFuture, Ended, ExecRequest, Failure, PortForwardRequest, PortStream, Server, ServerConfig,
    Session, Streams,
};
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const IN_OUT: Streams = Streams { stdin: true, stdout: true, stderr: false, terminal: false };
pub(crate) const OUT: Streams = Streams { stdin: false, stdout: true, stderr: false, terminal: false };
pub(crate) const OUT_ERR: Streams = Streams { stdin: false, stdout: true, stderr: true, terminal: false };
pub(crate) const TERMINAL: Streams = Streams { stdin: true, stdout: true, stderr: false, terminal: true };

/// Commands are what the tests need processes to do. Counts the processes that run.
#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) running: AtomicUsize,
}

struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    pub(crate) async fn expect_running(&self, count: usize) {
        let reached = async {
            while self.running.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), reached).await.unwrap_or_else(|_| panic!("never {count} processes"));
    }
}

async fn process(command: &[String], mut session: Session) -> Result<Ended, Failure> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().unwrap();
    let io = |error: std::io::Error| Failure { message: error.to_string() };
    match words.as_slice() {
        ["cat"] => {
            let mut stdin = session.stdin.take().unwrap();
            let mut stdout = session.stdout.take().unwrap();
            tokio::io::copy(&mut stdin, &mut stdout).await.map_err(io)?;
        }
        ["sum"] => {
            let sum = sum_of(session.stdin.take().unwrap()).await;
            session.stdout.take().unwrap().write_all(sum.as_bytes()).await.map_err(io)?;
        }
        ["produce", count] => {
            produce(&mut session.stdout.take().unwrap(), number(count)).await.map_err(io)?
        }
        ["exit", code] => return Ok(Ended { code: code.parse().unwrap() }),
        ["both"] => {
            session.stdout.take().unwrap().write_all(b"to out").await.map_err(io)?;
            session.stderr.take().unwrap().write_all(b"to err").await.map_err(io)?;
            return Ok(Ended { code: 7 });
        }
        ["sizes"] => {
            let mut stdout = session.stdout.take().unwrap();
            while let Some(size) = session.sizes.recv().await {
                let text = format!("{}x{}\n", size.width, size.height);
                stdout.write_all(text.as_bytes()).await.map_err(io)?;
            }
        }
        ["sleep"] => std::future::pending().await,
        ["deaf", millis] => tokio::time::sleep(Duration::from_millis(number(millis))).await,
        other => return Err(Failure { message: format!("no command {other:?}") }),
    }
    Ok(Ended { code: 0 })
}

impl Backend for Engine {
    fn exec<'a>(
        &'a self,
        _container: &'a str,
        command: &'a [String],
        session: Session,
    ) -> BoxFuture<'a, Result<Ended, Failure>> {
        Box::pin(async move {
            let _running = Running::new(&self.running);
            process(command, session).await
        })
    }

    fn attach<'a>(&'a self, container: &'a str, session: Session) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let _running = Running::new(&self.running);
            process(&[container.to_owned()], session).await.map(|_| ())
        })
    }

    fn connect<'a>(
        &'a self,
        _sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn PortStream>, Failure>> {
        Box::pin(async move {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(tcp) => Ok(Box::new(tcp) as Box<dyn PortStream>),
                Err(error) => Err(Failure { message: format!("connect to port {port}: {error}") }),
            }
        })
    }
}

pub(crate) fn config() -> ServerConfig {
    ServerConfig { address: "127.0.0.1".to_owned(), port: 0, tls: None, idle_timeout: Duration::ZERO }
}

pub(crate) async fn start() -> (Server, Arc<Engine>) {
    start_with(config()).await
}

pub(crate) async fn start_with(config: ServerConfig) -> (Server, Arc<Engine>) {
    let engine = Arc::new(Engine::default());
    let backend: Arc<dyn Backend> = engine.clone();
    (Server::bind(config, backend).await.unwrap(), engine)
}

pub(crate) fn command(words: &[&str], streams: Streams) -> ExecRequest {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ExecRequest { container: "c".to_owned(), command, streams }
}

pub(crate) fn forward(ports: &[u16]) -> PortForwardRequest {
    PortForwardRequest { sandbox: "p".to_owned(), ports: ports.to_vec() }
}

/// Bytes that show when some are missing or twice.
pub(crate) async fn produce(target: &mut (impl AsyncWrite + Unpin), count: u64) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < count {
        let chunk: Vec<u8> =
            (sent..count.min(sent + 40_000)).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        target.write_all(&chunk).await?;
        sent += chunk.len() as u64;
    }
    Ok(())
}

pub(crate) async fn sum_of_produced(count: u64) -> String {
    let (mut writer, reader) = tokio::io::duplex(1 << 16);
    let written = async move { produce(&mut writer, count).await.unwrap() };
    tokio::join!(sum_of(reader), written).0
}

pub(crate) async fn sum_of(mut source: impl AsyncRead + Unpin) -> String {
    let (mut context, mut buffer, mut total) = (Context::new(&SHA256), vec![0; 1 << 16], 0);
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        context.update(&buffer[..count]);
        total += count;
    }
    let digest = context.finish();
    format!("{total} {:02x?}", &digest.as_ref()[..8])
}

/// Sends the head of a request and reads that of the answer, not a byte more.
pub(crate) async fn request(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    method: &str,
    url: &str,
    headers: &str,
) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap();
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(answer).unwrap()
}

pub(crate) async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.split('/').nth(2).unwrap()).await.unwrap()
}

pub(crate) fn upgrade(protocols: &str) -> String {
    format!("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocols}\r\n")
}

/// A SPDY session, with the task that drives it. Dropped, the connection is gone.
pub(crate) struct Client {
    pub(crate) session: spdy::Session,
    _incoming: mpsc::Receiver<Incoming>,
    driver: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub(crate) fn over(connection: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (session, incoming, driver) = spdy::session(connection, Role::Client, 4096).unwrap();
        let driver = tokio::spawn(async move {
            let _outcome = driver.run().await;
        });
        Self { session, _incoming: incoming, driver }
    }

    pub(crate) async fn connect(url: &str, protocol: &str) -> Self {
        let mut connection = connect(url).await;
        let answer = request(&mut connection, "POST", url, &upgrade(protocol)).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let chosen = format!("x-stream-protocol-version: {protocol}\r\n");
        assert!(answer.to_ascii_lowercase().contains(&chosen), "{answer}");
        // The Go clients look for both.
        assert!(answer.to_ascii_lowercase().contains("connection: upgrade\r\n"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("upgrade: spdy/3.1\r\n"), "{answer}");
        Self::over(connection)
    }

    pub(crate) async fn open(&self, kind: &str) -> Stream {
        self.session.open(Headers::new([("streamType", kind)]), false).await.unwrap()
    }

    /// The two streams of a forwarded connection.
    pub(crate) async fn forward(&self, id: usize, port: u16) -> (Stream, Stream) {
        let (id, port) = (id.to_string(), port.to_string());
        let headers = |kind| Headers::new([("streamType", kind), ("port", &port), ("requestID", &id)]);
        let error = self.session.open(headers("error"), false).await.unwrap();
        let data = self.session.open(headers("data"), false).await.unwrap();
        (data, error)
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(mut self) {
        self.session.close();
        (&mut self.driver).await.unwrap();
    }
}

/// The streams of an exec, opened in the order of client-go.
pub(crate) struct Remote {
    _client: Client,
    pub(crate) error: Stream,
    pub(crate) stdin: Option<Writer>,
    pub(crate) stdout: Option<spdy::Reader>,
    pub(crate) stderr: Option<spdy::Reader>,
    pub(crate) resize: Option<Writer>,
}

impl Remote {
    pub(crate) async fn open(url: &str, protocol: &str, streams: Streams) -> Self {
        let client = Client::connect(url, protocol).await;
        let error = client.open("error").await;
        let stdin = if streams.stdin { Some(client.open("stdin").await.writer) } else { None };
        let stdout = if streams.stdout { Some(client.open("stdout").await.reader) } else { None };
        let stderr = if streams.stderr { Some(client.open("stderr").await.reader) } else { None };
        let resize = if streams.terminal { Some(client.open("resize").await.writer) } else { None };
        Self { _client: client, error, stdin, stdout, stderr, resize }
    }

    /// What the process says to its end: output, error output, status.
    pub(crate) async fn output(mut self) -> (String, String, String) {
        let all = async {
            let out = text(self.stdout.take()).await;
            let err = text(self.stderr.take()).await;
            (out, err, text(Some(self.error.reader)).await)
        };
        timeout(Duration::from_secs(20), all).await.unwrap()
    }
}

pub(crate) async fn text(reader: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut reader) = reader {
        reader.read_to_end(&mut bytes).await.unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;
