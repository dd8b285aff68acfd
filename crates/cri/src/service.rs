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
}

impl Service {
    /// Takes away what pods share on a node without pods; for the end of the daemon.
    pub async fn close(&self) {
        self.pods.close().await;
    }

    /// The services over an engine.
    pub fn new(pods: Pods, images: Images, about: About) -> Self {
        Self { pods, images, about: std::sync::Arc::new(about) }
    }
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
    ($(#[$attribute:meta])* impl $service:ident { $($verb:ident: $request:ident => $response:ident = $name:literal, $path:path;)* }) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(
                async fn $verb(&self, request: Request<api::$request>) -> Result<Response<api::$response>, Status> {
                    answer($name, $path(self, request.into_inner())).await
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
        create_container: CreateContainerRequest => CreateContainerResponse = "CreateContainer", rpc::container::create;
        start_container: StartContainerRequest => StartContainerResponse = "StartContainer", rpc::container::start;
        stop_container: StopContainerRequest => StopContainerResponse = "StopContainer", rpc::container::stop;
        remove_container: RemoveContainerRequest => RemoveContainerResponse = "RemoveContainer", rpc::container::remove;
        container_status: ContainerStatusRequest => ContainerStatusResponse = "ContainerStatus", rpc::container::status;
        list_containers: ListContainersRequest => ListContainersResponse = "ListContainers", rpc::container::list;
        update_container_resources: UpdateContainerResourcesRequest => UpdateContainerResourcesResponse = "UpdateContainerResources", rpc::container::update;
        reopen_container_log: ReopenContainerLogRequest => ReopenContainerLogResponse = "ReopenContainerLog", rpc::container::reopen_log;
        exec_sync: ExecSyncRequest => ExecSyncResponse = "ExecSync", rpc::container::exec_sync;
        container_stats: ContainerStatsRequest => ContainerStatsResponse = "ContainerStats", rpc::stats::container;
        list_container_stats: ListContainerStatsRequest => ListContainerStatsResponse = "ListContainerStats", rpc::stats::list_containers;
        pod_sandbox_stats: PodSandboxStatsRequest => PodSandboxStatsResponse = "PodSandboxStats", rpc::stats::sandbox;
        list_pod_sandbox_stats: ListPodSandboxStatsRequest => ListPodSandboxStatsResponse = "ListPodSandboxStats", rpc::stats::list_sandboxes;
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
}
