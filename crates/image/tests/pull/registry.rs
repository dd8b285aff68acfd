//! A registry that does what a test tells it: serves documents and blobs, wants authentication, and misbehaves.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, std::io::Error>;

/// How one answer goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Status(u16, Vec<(&'static str, String)>),
    /// The connection breaks after so many bytes.
    Truncate(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// Other bytes of the same length.
    Corrupt,
    /// Other bytes altogether.
    Replace(Vec<u8>),
    Endless,
    ContentType(&'static str),
    /// The answer comes late.
    Slow(Duration),
}

/// What a registry wants to see.
#[derive(Clone, Default)]
pub(crate) enum Wants {
    #[default]
    Nothing,
    Basic(String),
    /// A token from `/token` here, given for these Basic credentials.
    Token(String),
}

#[derive(Default)]
struct State {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    faults: Vec<(String, VecDeque<Fault>)>,
    wants: Wants,
    log: Vec<Seen>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

/// The running registry. It stops with the runtime.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// Speaks https only.
    pub(crate) async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (registry, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => registry.serve(stream).await,
                        // Failed handshakes are what some tests are about.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                registry.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        registry
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let service = hyper::service::service_fn(move |request| {
            let registry = self.clone();
            async move { Ok::<_, Infallible>(registry.answer(request).await) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        // Broken connections are what many tests are about.
        http.serve_connection(TokioIo::new(stream), service).await.ok();
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn put_blob(&self, digest: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().blobs.insert(digest.to_owned(), bytes);
    }

    /// `name` is a tag or a digest; repositories are not told apart.
    pub(crate) fn put_manifest(&self, name: &str, content_type: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().manifests.insert(name.to_owned(), (content_type.to_owned(), bytes));
    }

    /// The next answers to paths that contain `part` go wrong, one fault each.
    pub(crate) fn fault(&self, part: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.push((part.to_owned(), faults.into_iter().collect()));
    }

    pub(crate) fn want(&self, wants: Wants) {
        self.state.lock().unwrap().wants = wants;
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.state.lock().unwrap().log.clone()
    }

    pub(crate) fn requests(&self, part: &str) -> usize {
        self.log().iter().filter(|seen| seen.path.contains(part)).count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let text = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let seen = Seen {
            path: request.uri().to_string(),
            authorization: text("authorization"),
            range: text("range"),
        };
        self.state.lock().unwrap().log.push(seen.clone());
        let fault = self.next_fault(&seen.path);
        if let Some(Fault::Slow(pause)) = &fault {
            tokio::time::sleep(*pause).await;
        }
        if let Some(refusal) = self.refusal(&seen, request.method()) {
            return refusal;
        }
        if let Some(Fault::Status(status, headers)) = &fault {
            return headers.iter().fold(plain(*status, &[]), |mut response, (name, value)| {
                response.headers_mut().insert(*name, value.parse().unwrap());
                response
            });
        }
        let name = seen.path.rsplit('/').next().unwrap().to_owned();
        let found = {
            let state = self.state.lock().unwrap();
            match seen.path.contains("/manifests/") {
                true => state.manifests.get(&name).cloned(),
                false => {
                    state.blobs.get(&name).map(|bytes| ("application/octet-stream".to_owned(), bytes.clone()))
                }
            }
        };
        let Some((content_type, bytes)) = found else {
            let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return plain(404, unknown.as_bytes());
        };
        serve(&content_type, bytes, seen.range.as_deref(), fault)
    }

    fn next_fault(&self, path: &str) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state
            .faults
            .iter_mut()
            .find(|(part, left)| path.contains(part.as_str()) && !left.is_empty())?
            .1
            .pop_front()
    }

    fn refusal(&self, seen: &Seen, method: &Method) -> Option<Response<Body>> {
        let wants = self.state.lock().unwrap().wants.clone();
        let challenge = match wants {
            Wants::Nothing => return None,
            Wants::Basic(expected) => {
                if seen.authorization.as_deref() == Some(expected.as_str()) {
                    return None;
                }
                "Basic realm=\"here\"".to_owned()
            }
            Wants::Token(expected) => {
                if seen.path.starts_with("/token") {
                    assert_eq!(method, Method::GET);
                    let known = seen.authorization.as_deref() == Some(expected.as_str());
                    return Some(if known { plain(200, br#"{"token":"good"}"#) } else { plain(401, b"{}") });
                }
                if seen.authorization.as_deref() == Some("Bearer good") {
                    return None;
                }
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"here\",scope=\"repository:x:pull\"",
                    self.address
                )
            }
        };
        let mut response = plain(401, b"{}");
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        Some(response)
    }
}

fn serve(
    content_type: &str,
    mut bytes: Vec<u8>,
    range: Option<&str>,
    fault: Option<Fault>,
) -> Response<Body> {
    let total = bytes.len();
    let mut response = Response::builder();
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    if let Some(from) = from {
        bytes.drain(..from);
        let range = format!("bytes {from}-{}/{total}", total - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header("content-range", range);
    }
    let content_type = match &fault {
        Some(Fault::ContentType(other)) => other,
        _ => content_type,
    };
    response = response.header("content-type", content_type);
    let length = bytes.len();
    let body = match fault {
        Some(Fault::Truncate(at)) => {
            bytes.truncate(at);
            // Late enough for what came before to be on its way.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("scripted"))
            });
            response = response.header("content-length", length);
            let first = stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
            let body: Pin<Box<dyn Stream<Item = _> + Send + Sync>> = Box::pin(first.chain(broken));
            BodyExt::boxed(StreamBody::new(body))
        }
        Some(Fault::Stall(at)) => {
            bytes.truncate(at);
            response = response.header("content-length", length);
            let first = stream::iter([Ok(Frame::data(Bytes::from(bytes)))]);
            BodyExt::boxed(StreamBody::new(first.chain(stream::pending())))
        }
        Some(Fault::Corrupt) => {
            bytes.iter_mut().skip(20).for_each(|byte| *byte ^= 0x5a);
            full(bytes)
        }
        Some(Fault::Replace(other)) => full(other),
        Some(Fault::Endless) => {
            let piece = || Ok(Frame::data(Bytes::from_static(&[b' '; 65536])));
            BodyExt::boxed(StreamBody::new(stream::repeat_with(piece)))
        }
        _ => full(bytes),
    };
    response.body(body).unwrap()
}

fn plain(status: u16, body: &[u8]) -> Response<Body> {
    Response::builder().status(status).body(full(body.to_vec())).unwrap()
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}
