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

async fn counted<T>(running: Running, answer: impl Future<Output = T>) -> T {
    let answer = answer.await;
    drop(running);
    answer
}

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
            return Box::pin(counted(running, self.runtime.call(request)));
        }
        if path.starts_with("/runtime.v1.ImageService/") {
            return Box::pin(counted(running, self.image.call(request)));
        }
        let text = format!("unknown service or path {:?}", path.chars().take(200).collect::<String>());
        Box::pin(async move { Ok(tonic::Status::unimplemented(text).into_http()) })
    }
}
