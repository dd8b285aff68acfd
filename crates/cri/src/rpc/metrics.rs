//! The verbs of metrics.

use ochre_cri_api as api;
use tonic::codegen::BoxStream;

use super::batches;
use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

pub(crate) async fn descriptors(
    service: &Service,
    _: api::ListMetricDescriptorsRequest,
) -> Result<api::ListMetricDescriptorsResponse, Failure> {
    let described = ochre_runtime::metrics::descriptors(service.pods.metric_groups());
    Ok(api::ListMetricDescriptorsResponse {
        descriptors: described.map(translate::metrics::descriptor).collect(),
    })
}

pub(crate) async fn list(
    service: &Service,
    _: api::ListPodSandboxMetricsRequest,
) -> Result<api::ListPodSandboxMetricsResponse, Failure> {
    Ok(api::ListPodSandboxMetricsResponse { pod_metrics: rows(service).await? })
}

pub(crate) async fn stream(
    service: &Service,
    _: api::StreamPodSandboxMetricsRequest,
) -> Result<BoxStream<api::StreamPodSandboxMetricsResponse>, Failure> {
    let pack = |pod_sandbox_metrics| api::StreamPodSandboxMetricsResponse { pod_sandbox_metrics };
    Ok(batches::stream(rows(service).await?, pack))
}

async fn rows(service: &Service) -> Result<Vec<api::PodSandboxMetrics>, Failure> {
    let driver = service.pods.node().driver;
    let pods = service.pods.metrics().await?;
    Ok(pods.iter().map(|pod| translate::metrics::sandbox(pod, driver)).collect())
}
