//! The statistics verbs.

use ochre_cri_api as api;
use tonic::codegen::BoxStream;

use super::batches;
use super::container::candidates;
use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

pub(crate) async fn container(
    service: &Service,
    request: api::ContainerStatsRequest,
) -> Result<api::ContainerStatsResponse, Failure> {
    let container = service.pods.container(&request.container_id)?;
    let stats = service.pods.container_stats(&container).await;
    Ok(api::ContainerStatsResponse {
        stats: Some(translate::stats::container(&container, stats.as_ref(), &service.images.usage())),
    })
}

pub(crate) async fn list_containers(
    service: &Service,
    request: api::ListContainerStatsRequest,
) -> Result<api::ListContainerStatsResponse, Failure> {
    Ok(api::ListContainerStatsResponse { stats: container_rows(service, request.filter).await? })
}

pub(crate) async fn stream_containers(
    service: &Service,
    request: api::StreamContainerStatsRequest,
) -> Result<BoxStream<api::StreamContainerStatsResponse>, Failure> {
    let pack = |container_stats| api::StreamContainerStatsResponse { container_stats };
    Ok(batches::stream(container_rows(service, request.filter).await?, pack))
}

async fn container_rows(
    service: &Service,
    filter: Option<api::ContainerStatsFilter>,
) -> Result<Vec<api::ContainerStats>, Failure> {
    let api::ContainerStatsFilter { id, pod_sandbox_id, label_selector } = filter.unwrap_or_default();
    let mut containers = candidates(service, &id, &pod_sandbox_id)?.unwrap_or_default();
    containers.retain(|container| translate::status::selected(&container.config.labels, &label_selector));
    let filesystem = service.images.usage();
    let stats = service.pods.read_stats(containers).await;
    Ok(stats
        .iter()
        .map(|(container, stats)| translate::stats::container(container, Some(stats), &filesystem))
        .collect())
}

pub(crate) async fn sandbox(
    service: &Service,
    request: api::PodSandboxStatsRequest,
) -> Result<api::PodSandboxStatsResponse, Failure> {
    let sandbox = service.pods.sandbox(&request.pod_sandbox_id)?;
    let stats = service.pods.sandbox_stats(&sandbox).await?;
    Ok(api::PodSandboxStatsResponse {
        stats: Some(translate::stats::sandbox(&sandbox, &stats, &service.images.usage())),
    })
}

pub(crate) async fn list_sandboxes(
    service: &Service,
    request: api::ListPodSandboxStatsRequest,
) -> Result<api::ListPodSandboxStatsResponse, Failure> {
    Ok(api::ListPodSandboxStatsResponse { stats: sandbox_rows(service, request.filter).await? })
}

pub(crate) async fn stream_sandboxes(
    service: &Service,
    request: api::StreamPodSandboxStatsRequest,
) -> Result<BoxStream<api::StreamPodSandboxStatsResponse>, Failure> {
    let pack = |pod_sandbox_stats| api::StreamPodSandboxStatsResponse { pod_sandbox_stats };
    Ok(batches::stream(sandbox_rows(service, request.filter).await?, pack))
}

async fn sandbox_rows(
    service: &Service,
    filter: Option<api::PodSandboxStatsFilter>,
) -> Result<Vec<api::PodSandboxStats>, Failure> {
    let api::PodSandboxStatsFilter { id, label_selector } = filter.unwrap_or_default();
    let mut sandboxes = match id.as_str() {
        "" => service.pods.sandboxes(),
        id => match service.pods.sandbox(id) {
            Ok(sandbox) => vec![sandbox],
            Err(ochre_pod::Error::NoSuchSandbox { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    sandboxes.retain(|s| s.is_ready() && translate::status::selected(&s.config.labels, &label_selector));
    let filesystem = service.images.usage();
    let mut stats = Vec::with_capacity(sandboxes.len());
    for sandbox in sandboxes {
        let read = service.pods.sandbox_stats(&sandbox).await?;
        stats.push(translate::stats::sandbox(&sandbox, &read, &filesystem));
    }
    Ok(stats)
}
