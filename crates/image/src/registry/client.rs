//! One repository of one registry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use ochre_types::Digest;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256, Sha512};

use super::token::Authorizer;
use super::transport::{Transport, Trust};
use super::{RegistryError, RetryPolicy, challenge, redirect};
use crate::auth::Credentials;
use crate::manifest::{ACCEPTED, MANIFEST_MAX};
use crate::reference::{DOCKER_HUB, Reference};

const REDIRECTS_MAX: usize = 10;
/// Most bytes of an error's own words.
const ERROR_BODY_MAX: usize = 64 << 10;

/// How long to wait, and how often to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Longest time without a byte; `None` for ever.
    pub(crate) progress: Option<Duration>,
    pub(crate) retry: RetryPolicy,
}

/// The connections to a registry and what it is trusted with.
pub(super) struct Endpoint {
    transport: Arc<Transport>,
    pub(super) trust: Trust,
    pub(crate) timing: Timing,
}

/// A repository that can be pulled from.
pub(crate) struct RegistryClient {
    endpoint: Endpoint,
    host: String,
    path: String,
    authorizer: Authorizer,
    /// The scheme that worked; https until proven otherwise.
    scheme: Mutex<Option<&'static str>>,
}

/// A manifest as served.
pub(crate) struct ServedManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
    pub(crate) digest: Digest,
}

/// A request that is repeated until it is answered.
struct Get<'a> {
    path: &'a str,
    accept: bool,
    from: u64,
}

impl RegistryClient {
    /// A client for the repository of `reference`.
    pub(crate) fn new(
        transport: Arc<Transport>,
        reference: &Reference,
        trust: Trust,
        credentials: Option<Credentials>,
        timing: Timing,
    ) -> Self {
        let host = if reference.domain() == DOCKER_HUB { "registry-1.docker.io" } else { reference.domain() };
        Self {
            endpoint: Endpoint { transport, trust, timing },
            host: host.to_owned(),
            path: reference.path().to_owned(),
            authorizer: Authorizer::new(credentials, reference.path()),
            scheme: Mutex::new(None),
        }
    }

    /// Host and repository, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    pub(crate) fn timing(&self) -> Timing {
        self.endpoint.timing
    }

    /// Fetches a manifest by tag or digest. What comes by digest has that digest.
    pub(crate) async fn manifest(&self, selector: &str) -> Result<ServedManifest, RegistryError> {
        let path = format!("/v2/{}/manifests/{selector}", self.path);
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.manifest_once(&path, selector).await {
                Ok(served) => return Ok(served),
                Err(error) => error,
            };
            let Some(pause) = self.timing().retry.pause_after(tried, &error) else { return Err(error) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn manifest_once(&self, path: &str, selector: &str) -> Result<ServedManifest, RegistryError> {
        let (uri, response) = self.get_once(&Get { path, accept: true, from: 0 }).await?;
        let text = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (content_type, announced) = (text("content-type"), text("docker-content-digest"));
        let bytes = self.endpoint.collect(&uri, response, MANIFEST_MAX).await?;
        let expected: Option<Digest> = selector.parse().ok().or_else(|| announced?.parse().ok());
        let actual = digest_like(expected.as_ref(), &bytes);
        match expected {
            Some(expected) if expected != actual => {
                Err(RegistryError::Digest { url: redirect::shown(&uri), expected, actual })
            }
            _ => Ok(ServedManifest { bytes, content_type, digest: actual }),
        }
    }

    /// Fetches a small blob as a whole and verifies it.
    pub(crate) async fn small_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.small_blob_once(&path, digest, size).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let Some(pause) = self.timing().retry.pause_after(tried, &error) else { return Err(error) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn small_blob_once(
        &self,
        path: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let (uri, response) = self.get_once(&Get { path, accept: false, from: 0 }).await?;
        let bytes = self.endpoint.collect(&uri, response, size).await?;
        let url = redirect::shown(&uri);
        if bytes.len() as u64 != size {
            let (digest, actual) = (digest.clone(), bytes.len() as u64);
            return Err(RegistryError::Size { url, digest, expected: size, actual });
        }
        let actual = digest_like(Some(digest), &bytes);
        if actual != *digest {
            return Err(RegistryError::Digest { url, expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    /// Opens a blob at byte `from`. The answer's status says whether the registry obliged (206) or starts at 0 (200).
    pub(super) async fn blob(
        &self,
        digest: &Digest,
        from: u64,
    ) -> Result<(String, Response<Incoming>), RegistryError> {
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let (uri, response) = self.get_once(&Get { path: &path, accept: false, from }).await?;
        Ok((redirect::shown(&uri), response))
    }

    /// One frame of a body, under the progress timeout; `None` at the end.
    pub(super) async fn frame(&self, url: &str, body: &mut Incoming) -> Result<Option<Bytes>, RegistryError> {
        loop {
            match self.endpoint.in_time(url, body.frame()).await? {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(RegistryError::Exchange { url: url.to_owned(), source: source.into() });
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn get_once(&self, get: &Get<'_>) -> Result<(Uri, Response<Incoming>), RegistryError> {
        let known = *self.scheme.lock();
        let schemes: &[&'static str] = match (known, self.endpoint.trust) {
            (Some("http"), Trust::Insecure) => &["http"],
            (Some(_), _) | (None, Trust::Verified) => &["https"],
            (None, Trust::Insecure) => &["https", "http"],
        };
        let mut result = Err(RegistryError::Url { url: self.host.clone() });
        for scheme in schemes {
            result = self.get_over(scheme, get).await;
            match &result {
                // What does not speak TLS, or does not listen on 443, may still speak http.
                Err(RegistryError::Connect { .. }) => {}
                _ => {
                    *self.scheme.lock() = Some(scheme);
                    return result;
                }
            }
        }
        result
    }

    /// Follows redirections and answers one challenge.
    async fn get_over(
        &self,
        scheme: &str,
        get: &Get<'_>,
    ) -> Result<(Uri, Response<Incoming>), RegistryError> {
        let text = format!("{scheme}://{}{}", self.host, get.path);
        let start: Uri = text.parse().map_err(|_| RegistryError::Url { url: text.clone() })?;
        let (mut uri, mut redirects, mut challenged) = (start.clone(), 0, false);
        loop {
            let ours = redirect::origin(&uri) == redirect::origin(&start);
            let authorization = self.authorizer.current().await;
            let request = get.request(&uri, authorization.header.as_ref().filter(|_| ours))?;
            let response = self.endpoint.send(request).await?;
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok((uri, response)),
                StatusCode::UNAUTHORIZED if ours && !challenged => {
                    let values = response.headers().get_all(header::WWW_AUTHENTICATE);
                    let values = values.iter().filter_map(|value| value.to_str().ok());
                    let Some(challenge) = challenge::choose(values) else {
                        return Err(RegistryError::Challenge { url: redirect::shown(&uri) });
                    };
                    drain(response).await;
                    self.authorizer.answer(&challenge, &authorization, &uri, &self.endpoint).await?;
                    (uri, challenged) = (start.clone(), true);
                }
                status if status.is_redirection() => {
                    redirects += 1;
                    if redirects > REDIRECTS_MAX {
                        return Err(RegistryError::Redirect { url: text, reason: "more than 10 in a row" });
                    }
                    let location =
                        response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                    uri = redirect::target(&uri, location.unwrap_or_default())?;
                }
                _ => return Err(failure(&uri, response, &self.endpoint).await),
            }
        }
    }
}

impl Get<'_> {
    fn request(
        &self,
        uri: &Uri,
        authorization: Option<&http::HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, RegistryError> {
        let mut request = Request::builder()
            .uri(uri)
            .header(header::USER_AGENT, concat!("ochre/", env!("CARGO_PKG_VERSION")));
        if self.accept {
            for media_type in ACCEPTED {
                request = request.header(header::ACCEPT, media_type);
            }
        }
        if self.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.from));
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::default()).map_err(|_| RegistryError::Url { url: redirect::shown(uri) })
    }
}

impl Endpoint {
    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let url = redirect::shown(request.uri());
        let authority = request.uri().authority().map_or("", |authority| authority.as_str()).to_owned();
        let client = self.transport.client(&authority, self.trust).await?;
        self.in_time(&url, client.request(request)).await?.map_err(|error| {
            let connect = error.is_connect();
            let source = Box::new(error);
            if connect {
                RegistryError::Connect { url, source }
            } else {
                RegistryError::Exchange { url, source }
            }
        })
    }

    pub(super) async fn in_time<T>(
        &self,
        url: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, RegistryError> {
        let Some(limit) = self.timing.progress else { return Ok(work.await) };
        let stalled = |_| RegistryError::Stalled { url: url.to_owned(), waited: limit };
        tokio::time::timeout(limit, work).await.map_err(stalled)
    }

    /// A whole body of at most `limit` bytes. The progress timeout holds for each piece.
    async fn collect(
        &self,
        uri: &Uri,
        response: Response<Incoming>,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let url = redirect::shown(uri);
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = self.in_time(&url, body.frame()).await? {
            let frame = frame
                .map_err(|source| RegistryError::Exchange { url: url.clone(), source: source.into() })?;
            let Ok(piece) = frame.into_data() else { continue };
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(RegistryError::TooLarge { url, limit });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// The error for an answer that is none of 200, 206 and 3xx.
pub(super) async fn failure(uri: &Uri, response: Response<Incoming>, endpoint: &Endpoint) -> RegistryError {
    let (url, status) = (redirect::shown(uri), response.status());
    let retry_after = retry_after(response.headers());
    let body = endpoint.in_time(&url, Limited::new(response.into_body(), ERROR_BODY_MAX).collect()).await;
    let detail = match body {
        Ok(Ok(body)) => words(&body.to_bytes()),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    let code = status.as_u16();
    match code {
        401 | 403 => RegistryError::Denied { url, status: code, detail },
        404 => RegistryError::NotFound { url, detail },
        429 | 500..=599 => RegistryError::Busy { url, status: code, detail, retry_after },
        _ => RegistryError::Status { url, status: code, detail },
    }
}

/// The first error of the distribution specification's list, shortened, without control characters.
fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Errors>(body).ok().and_then(|all| all.errors.into_iter().next());
    let Some(One { code, message }) = first else { return String::new() };
    let text: String = format!(": {code}: {message}").chars().filter(|c| !c.is_control()).take(300).collect();
    text
}

/// Seconds; the date form is not used by registries and counts as not said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// Reads the short body of a 401 so that its connection can be used again; a long or slow one is dropped.
async fn drain(response: Response<Incoming>) {
    let body = Limited::new(response.into_body(), ERROR_BODY_MAX).collect();
    drop(tokio::time::timeout(Duration::from_secs(1), body).await);
}

/// The digest of `bytes` by the algorithm of `like`, SHA-256 without one.
fn digest_like(like: Option<&Digest>, bytes: &[u8]) -> Digest {
    let sha256 = || Digest::sha256(&Sha256::digest(bytes).into());
    match like.map(Digest::algorithm) {
        Some(ochre_types::Algorithm::Sha512) => {
            let hex: String = Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            // 64 bytes are 128 hexadecimal characters: always a digest. SHA-256 would still be a true statement.
            format!("sha512:{hex}").parse().unwrap_or_else(|_| sha256())
        }
        Some(ochre_types::Algorithm::Sha256) | None => sha256(),
    }
}
