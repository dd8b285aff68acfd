//! The two gRPC services: one line per verb, and what is the same for all of them.
//!
//! `answer` runs a verb, logs its end once with the verb's name and the ids in the failure, and turns the failure into a
//! status. Verbs that are not listed here answer `Unimplemented` by the generated stubs.

use std::future::Future;

use ochre_cri_api as api;
use ochre_cri_api::image_service_server::ImageService;
use ochre_cri_api::runtime_service_server::RuntimeService;
use ochre_image::Images;
use ochre_pod::Pods;
use ochre_types::ErrorKind;
use tonic::{Request, Response, Status};

use crate::failure::Failure;
use crate::rpc;

/// What the engine says about itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The engine's version.
    pub version: String,
    /// The configuration for `Status(verbose)`: JSON.
    pub config: serde_json::Value,
}

/// Both services over one engine. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(crate) pods: Pods,
    pub(crate) images: Images,
    pub(crate) about: std::sync::Arc<About>,
    pub(crate) streaming: ochre_stream::Server,
}

impl Service {
    /// Ends every exec, attach and port-forward under way; their clients are told. For the end of the daemon.
    pub async fn end_streams(&self) {
        self.streaming.shutdown().await;
    }

    /// Takes away what pods share on a node without pods; for the end of the daemon.
    pub async fn close(&self) {
        self.pods.close().await;
    }

    /// The services over an engine, with the server that its streams are fetched from.
    pub fn new(pods: Pods, images: Images, about: About, streaming: ochre_stream::Server) -> Self {
        Self { pods, images, about: std::sync::Arc::new(about), streaming }
    }
}

/// Pods as the streaming server sees them.
pub fn streams(pods: &Pods) -> std::sync::Arc<dyn ochre_stream::Backend> {
    std::sync::Arc::new(rpc::stream::Streaming(pods.clone()))
}

async fn answer<T>(
    verb: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Response<T>, Status> {
    let began = std::time::Instant::now();
    match work.await {
        Ok(response) => {
            tracing::debug!(verb, elapsed_us = began.elapsed().as_micros(), "done");
            Ok(Response::new(response))
        }
        Err(failure) => {
            let (elapsed_us, kind) = (began.elapsed().as_micros(), failure.kind());
            // Clients ask for what may be gone all the time; that is no event.
            if kind == ErrorKind::NotFound {
                tracing::debug!(verb, elapsed_us, ?kind, "{}", failure.text());
            } else {
                tracing::warn!(verb, elapsed_us, ?kind, "{}", failure.text());
            }
            Err(failure.into())
        }
    }
}

macro_rules! verbs {
    (
        impl $service:ident { $($verb:ident: $request:ident => $response:ident = $name:literal, $path:path;)* }
        streams { $($stream:ident: $asked:ident => $message:ident = $title:literal, $source:path;)* }
    ) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(
                async fn $verb(&self, request: Request<api::$request>) -> Result<Response<api::$response>, Status> {
                    answer($name, $path(self, request.into_inner())).await
                }
            )*
            $(
                async fn $stream(
                    &self,
                    request: Request<api::$asked>,
                ) -> Result<Response<tonic::codegen::BoxStream<api::$message>>, Status> {
                    answer($title, $source(self, request.into_inner())).await
                }
            )*
        }
    };
}

verbs! {
    impl RuntimeService {
        version: VersionRequest => VersionResponse = "Version", rpc::node::version;
        status: StatusRequest => StatusResponse = "Status", rpc::node::status;
        runtime_config: RuntimeConfigRequest => RuntimeConfigResponse = "RuntimeConfig", rpc::node::runtime_config;
        update_runtime_config: UpdateRuntimeConfigRequest => UpdateRuntimeConfigResponse = "UpdateRuntimeConfig", rpc::node::update_runtime_config;
        run_pod_sandbox: RunPodSandboxRequest => RunPodSandboxResponse = "RunPodSandbox", rpc::sandbox::run;
        stop_pod_sandbox: StopPodSandboxRequest => StopPodSandboxResponse = "StopPodSandbox", rpc::sandbox::stop;
        remove_pod_sandbox: RemovePodSandboxRequest => RemovePodSandboxResponse = "RemovePodSandbox", rpc::sandbox::remove;
        pod_sandbox_status: PodSandboxStatusRequest => PodSandboxStatusResponse = "PodSandboxStatus", rpc::sandbox::status;
        list_pod_sandbox: ListPodSandboxRequest => ListPodSandboxResponse = "ListPodSandbox", rpc::sandbox::list;
        update_pod_sandbox_resources: UpdatePodSandboxResourcesRequest => UpdatePodSandboxResourcesResponse = "UpdatePodSandboxResources", rpc::sandbox::update_resources;
        create_container: CreateContainerRequest => CreateContainerResponse = "CreateContainer", rpc::container::create;
        start_container: StartContainerRequest => StartContainerResponse = "StartContainer", rpc::container::start;
        stop_container: StopContainerRequest => StopContainerResponse = "StopContainer", rpc::container::stop;
        remove_container: RemoveContainerRequest => RemoveContainerResponse = "RemoveContainer", rpc::container::remove;
        container_status: ContainerStatusRequest => ContainerStatusResponse = "ContainerStatus", rpc::container::status;
        list_containers: ListContainersRequest => ListContainersResponse = "ListContainers", rpc::container::list;
        update_container_resources: UpdateContainerResourcesRequest => UpdateContainerResourcesResponse = "UpdateContainerResources", rpc::container::update;
        reopen_container_log: ReopenContainerLogRequest => ReopenContainerLogResponse = "ReopenContainerLog", rpc::container::reopen_log;
        exec_sync: ExecSyncRequest => ExecSyncResponse = "ExecSync", rpc::container::exec_sync;
        exec: ExecRequest => ExecResponse = "Exec", rpc::stream::exec;
        attach: AttachRequest => AttachResponse = "Attach", rpc::stream::attach;
        port_forward: PortForwardRequest => PortForwardResponse = "PortForward", rpc::stream::port_forward;
        container_stats: ContainerStatsRequest => ContainerStatsResponse = "ContainerStats", rpc::stats::container;
        list_container_stats: ListContainerStatsRequest => ListContainerStatsResponse = "ListContainerStats", rpc::stats::list_containers;
        pod_sandbox_stats: PodSandboxStatsRequest => PodSandboxStatsResponse = "PodSandboxStats", rpc::stats::sandbox;
        list_pod_sandbox_stats: ListPodSandboxStatsRequest => ListPodSandboxStatsResponse = "ListPodSandboxStats", rpc::stats::list_sandboxes;
        checkpoint_container: CheckpointContainerRequest => CheckpointContainerResponse = "CheckpointContainer", rpc::checkpoint::container;
        list_metric_descriptors: ListMetricDescriptorsRequest => ListMetricDescriptorsResponse = "ListMetricDescriptors", rpc::metrics::descriptors;
        list_pod_sandbox_metrics: ListPodSandboxMetricsRequest => ListPodSandboxMetricsResponse = "ListPodSandboxMetrics", rpc::metrics::list;
    }
    streams {
        stream_pod_sandboxes: StreamPodSandboxesRequest => StreamPodSandboxesResponse = "StreamPodSandboxes", rpc::sandbox::stream;
        stream_containers: StreamContainersRequest => StreamContainersResponse = "StreamContainers", rpc::container::stream;
        stream_container_stats: StreamContainerStatsRequest => StreamContainerStatsResponse = "StreamContainerStats", rpc::stats::stream_containers;
        stream_pod_sandbox_stats: StreamPodSandboxStatsRequest => StreamPodSandboxStatsResponse = "StreamPodSandboxStats", rpc::stats::stream_sandboxes;
        stream_pod_sandbox_metrics: StreamPodSandboxMetricsRequest => StreamPodSandboxMetricsResponse = "StreamPodSandboxMetrics", rpc::metrics::stream;
        get_container_events: GetEventsRequest => ContainerEventResponse = "GetContainerEvents", rpc::events::subscribe;
    }
}

verbs! {
    impl ImageService {
        list_images: ListImagesRequest => ListImagesResponse = "ListImages", rpc::image::list;
        image_status: ImageStatusRequest => ImageStatusResponse = "ImageStatus", rpc::image::status;
        pull_image: PullImageRequest => PullImageResponse = "PullImage", rpc::image::pull;
        remove_image: RemoveImageRequest => RemoveImageResponse = "RemoveImage", rpc::image::remove;
        image_fs_info: ImageFsInfoRequest => ImageFsInfoResponse = "ImageFsInfo", rpc::image::fs_info;
    }
    streams {
        stream_images: StreamImagesRequest => StreamImagesResponse = "StreamImages", rpc::image::stream;
    }
}
