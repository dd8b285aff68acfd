//! Which service answers a request: by exact prefix, anything else is `Unimplemented` (CVE-2026-33186).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use ochre_cri::Service;
use ochre_cri_api::image_service_server::ImageServiceServer;
use ochre_cri_api::runtime_service_server::RuntimeServiceServer;
use tokio::sync::watch;
use tonic::body::Body;
use tower_service::Service as TowerService;

/// Both services behind one socket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Router {
    runtime: RuntimeServiceServer<Service>,
    image: ImageServiceServer<Service>,
    /// Requests under way.
    running: watch::Sender<usize>,
}

/// Counts a request while it lives, also one whose caller goes away.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|running| *running += 1);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running = running.saturating_sub(1));
    }
}

/// Sizes of gRPC messages, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

impl Router {
    pub(crate) fn new(service: Service, limits: MessageLimits) -> Self {
        let runtime = RuntimeServiceServer::new(service.clone())
            .max_decoding_message_size(limits.receive)
            .max_encoding_message_size(limits.send);
        let image = ImageServiceServer::new(service)
            .max_decoding_message_size(limits.receive)
            .max_encoding_message_size(limits.send);
        Self { runtime, image, running: watch::Sender::new(0) }
    }

    /// Waits until no request is under way.
    pub(crate) async fn idle(&self) {
        // The sender lives in `self`.
        drop(self.running.subscribe().wait_for(|running| *running == 0).await);
    }
}

/// Waits for the answer to a call of `path`. The generated stubs of verbs that are not there say only that something is
/// missing; which verb it is, is said here.
async fn counted(
    running: Running,
    path: String,
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    let answer = answer.await?;
    drop(running);
    let status = answer.headers().get(tonic::Status::GRPC_STATUS);
    if status.is_some_and(|code| code.as_bytes() == UNIMPLEMENTED) {
        let verb = path.rsplit('/').next().unwrap_or_default();
        return Ok(tonic::Status::unimplemented(format!("ochre does not implement {verb} yet")).into_http());
    }
    Ok(answer)
}

/// [`tonic::Code::Unimplemented`] as it stands in a header.
const UNIMPLEMENTED: &[u8] = b"12";

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl TowerService<Request<Incoming>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let running = Running::new(&self.running);
        if path.starts_with("/runtime.v1.RuntimeService/") {
            let path = path.to_owned();
            return Box::pin(counted(running, path, self.runtime.call(request)));
        }
        if path.starts_with("/runtime.v1.ImageService/") {
            let path = path.to_owned();
            return Box::pin(counted(running, path, self.image.call(request)));
        }
        let text = format!("unknown service or path {:?}", path.chars().take(200).collect::<String>());
        Box::pin(async move { Ok(tonic::Status::unimplemented(text).into_http()) })
    }
}
