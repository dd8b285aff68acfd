//! The pod sandbox verbs.

use ochre_cri_api as api;
use tonic::codegen::BoxStream;

use super::batches;
use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

pub(crate) async fn run(
    service: &Service,
    request: api::RunPodSandboxRequest,
) -> Result<api::RunPodSandboxResponse, Failure> {
    let api::RunPodSandboxRequest { config, runtime_handler } = request;
    let config = config.ok_or(Failure::Missing { field: "config" })?;
    let name =
        config.metadata.as_ref().map(|name| format!("{}/{}", name.namespace, name.name)).unwrap_or_default();
    run_named(service, config, runtime_handler).await.map_err(|failure| failure.about("pod", &name))
}

async fn run_named(
    service: &Service,
    config: api::PodSandboxConfig,
    handler: String,
) -> Result<api::RunPodSandboxResponse, Failure> {
    let id = service.pods.run(translate::sandbox::config(config, handler)?).await?;
    Ok(api::RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}

pub(crate) async fn stop(
    service: &Service,
    request: api::StopPodSandboxRequest,
) -> Result<api::StopPodSandboxResponse, Failure> {
    match service.pods.sandbox(&request.pod_sandbox_id) {
        Ok(sandbox) => service.pods.stop(&sandbox).await?,
        Err(ochre_pod::Error::NoSuchSandbox { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(api::StopPodSandboxResponse {})
}

pub(crate) async fn remove(
    service: &Service,
    request: api::RemovePodSandboxRequest,
) -> Result<api::RemovePodSandboxResponse, Failure> {
    match service.pods.sandbox(&request.pod_sandbox_id) {
        Ok(sandbox) => service.pods.remove(&sandbox).await?,
        Err(ochre_pod::Error::NoSuchSandbox { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(api::RemovePodSandboxResponse {})
}

pub(crate) async fn status(
    service: &Service,
    request: api::PodSandboxStatusRequest,
) -> Result<api::PodSandboxStatusResponse, Failure> {
    let sandbox = service.pods.sandbox(&request.pod_sandbox_id)?;
    let mut info = std::collections::BTreeMap::new();
    if request.verbose {
        info.insert("info".to_owned(), service.pods.sandbox_details(&sandbox).to_string());
    }
    // What a kubelet that lives on events asks for besides. The time is that before anything is looked at: an event that
    // is later tells something newer.
    let (mut containers, mut timestamp) = (Vec::new(), 0);
    if service.pods.events_enabled() {
        timestamp = ochre_types::Timestamp::now().nanos();
        containers = service.pods.containers_of(&sandbox);
    }
    let containers_statuses = containers
        .iter()
        .filter_map(|container| Some(translate::status::container(container, container.made()?)))
        .collect();
    let status = Some(translate::status::sandbox(&sandbox));
    Ok(api::PodSandboxStatusResponse { status, info, containers_statuses, timestamp })
}

/// The kubelet has changed the pod's cgroup by itself; what it says is kept and shown.
pub(crate) async fn update_resources(
    service: &Service,
    request: api::UpdatePodSandboxResourcesRequest,
) -> Result<api::UpdatePodSandboxResourcesResponse, Failure> {
    let api::UpdatePodSandboxResourcesRequest { pod_sandbox_id, overhead, resources } = request;
    let sandbox = service.pods.sandbox(&pod_sandbox_id)?;
    let about = |failure: Failure| failure.about("pod", &pod_sandbox_id);
    let limits = |asked: Option<_>| asked.map(translate::resources::from_api).transpose();
    let change = ochre_pod::PodResources {
        overhead: limits(overhead).map_err(about)?,
        resources: limits(resources).map_err(about)?,
    };
    service.pods.update_resources(&sandbox, change).await.map_err(|error| about(error.into()))?;
    Ok(api::UpdatePodSandboxResourcesResponse {})
}

pub(crate) async fn list(
    service: &Service,
    request: api::ListPodSandboxRequest,
) -> Result<api::ListPodSandboxResponse, Failure> {
    Ok(api::ListPodSandboxResponse { items: rows(service, request.filter)? })
}

pub(crate) async fn stream(
    service: &Service,
    request: api::StreamPodSandboxesRequest,
) -> Result<BoxStream<api::StreamPodSandboxesResponse>, Failure> {
    let pack = |pod_sandboxes| api::StreamPodSandboxesResponse { pod_sandboxes };
    Ok(batches::stream(rows(service, request.filter)?, pack))
}

fn rows(service: &Service, filter: Option<api::PodSandboxFilter>) -> Result<Vec<api::PodSandbox>, Failure> {
    let api::PodSandboxFilter { id, state, label_selector } = filter.unwrap_or_default();
    let candidates = match id.as_str() {
        "" => service.pods.sandboxes(),
        id => match service.pods.sandbox(id) {
            Ok(sandbox) => vec![sandbox],
            Err(ochre_pod::Error::NoSuchSandbox { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    let rows = candidates
        .iter()
        .filter(|sandbox| translate::status::selected(&sandbox.config.labels, &label_selector))
        .map(|sandbox| translate::status::sandbox_row(sandbox))
        .filter(|row| state.as_ref().is_none_or(|wanted| wanted.state == row.state))
        .collect();
    Ok(rows)
}
