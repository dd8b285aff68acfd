//! The container verbs.

use std::time::Duration;

use ochre_cri_api as api;
use tonic::codegen::BoxStream;

use super::batches;
use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

pub(crate) async fn create(
    service: &Service,
    request: api::CreateContainerRequest,
) -> Result<api::CreateContainerResponse, Failure> {
    // The sandbox's configuration is passed for reference; what RunPodSandbox got is what counts.
    let api::CreateContainerRequest { pod_sandbox_id, config, sandbox_config: _ } = request;
    let config = config.ok_or(Failure::Missing { field: "config" })?;
    let name = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
    create_named(service, &pod_sandbox_id, config)
        .await
        .map_err(|failure| failure.about("container", &name).about("pod", &pod_sandbox_id))
}

async fn create_named(
    service: &Service,
    sandbox: &str,
    config: api::ContainerConfig,
) -> Result<api::CreateContainerResponse, Failure> {
    let config = translate::container::config(config)?;
    let sandbox = service.pods.sandbox(sandbox)?;
    let id = service.pods.create(&sandbox, config).await?;
    Ok(api::CreateContainerResponse { container_id: id.to_string() })
}

pub(crate) async fn start(
    service: &Service,
    request: api::StartContainerRequest,
) -> Result<api::StartContainerResponse, Failure> {
    let container = service.pods.container(&request.container_id)?;
    container
        .start()
        .await
        .map_err(|error| Failure::from(error).about("container", &request.container_id))?;
    Ok(api::StartContainerResponse {})
}

pub(crate) async fn stop(
    service: &Service,
    request: api::StopContainerRequest,
) -> Result<api::StopContainerResponse, Failure> {
    let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
    match service.pods.container(&request.container_id) {
        Ok(container) => unless_gone(container.stop(grace).await)?,
        Err(ochre_pod::Error::NoSuchContainer { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(api::StopContainerResponse {})
}

pub(crate) async fn remove(
    service: &Service,
    request: api::RemoveContainerRequest,
) -> Result<api::RemoveContainerResponse, Failure> {
    match service.pods.container(&request.container_id) {
        Ok(container) => unless_gone(container.remove().await)?,
        Err(ochre_pod::Error::NoSuchContainer { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(api::RemoveContainerResponse {})
}

/// A container that went away meanwhile is as stopped and removed as can be.
fn unless_gone(result: Result<(), ochre_pod::Shared>) -> Result<(), ochre_pod::Shared> {
    match result {
        Err(error) if matches!(*error, ochre_pod::Error::NoSuchContainer { .. }) => Ok(()),
        other => other,
    }
}

pub(crate) async fn status(
    service: &Service,
    request: api::ContainerStatusRequest,
) -> Result<api::ContainerStatusResponse, Failure> {
    let container = service.pods.container(&request.container_id)?;
    let mut info = std::collections::BTreeMap::new();
    if request.verbose {
        info.insert("info".to_owned(), service.pods.container_details(&container).await?.to_string());
    }
    let status = container.made().map(|made| translate::status::container(&container, made));
    Ok(api::ContainerStatusResponse { status, info })
}

pub(crate) async fn list(
    service: &Service,
    request: api::ListContainersRequest,
) -> Result<api::ListContainersResponse, Failure> {
    Ok(api::ListContainersResponse { containers: rows(service, request.filter)? })
}

pub(crate) async fn stream(
    service: &Service,
    request: api::StreamContainersRequest,
) -> Result<BoxStream<api::StreamContainersResponse>, Failure> {
    let pack = |containers| api::StreamContainersResponse { containers };
    Ok(batches::stream(rows(service, request.filter)?, pack))
}

fn rows(service: &Service, filter: Option<api::ContainerFilter>) -> Result<Vec<api::Container>, Failure> {
    let api::ContainerFilter { id, state, pod_sandbox_id, label_selector } = filter.unwrap_or_default();
    let mut containers = candidates(service, &id, &pod_sandbox_id)?.unwrap_or_default();
    containers.retain(|container| translate::status::selected(&container.config.labels, &label_selector));
    let rows = containers
        .iter()
        .filter_map(|container| Some(translate::status::container_row(container, container.made()?)))
        .filter(|row| state.as_ref().is_none_or(|wanted| wanted.state == row.state))
        .collect();
    Ok(rows)
}

/// The containers with this id prefix in the pod with that id prefix; `None` when one of the two names nothing.
pub(crate) fn candidates(
    service: &Service,
    id: &str,
    sandbox: &str,
) -> Result<Option<Vec<std::sync::Arc<ochre_pod::Container>>>, Failure> {
    let mut found = match id {
        "" => service.pods.containers(),
        id => match service.pods.container(id) {
            Ok(container) => vec![container],
            Err(ochre_pod::Error::NoSuchContainer { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    if !sandbox.is_empty() {
        match service.pods.sandbox(sandbox) {
            Ok(sandbox) => found.retain(|container| container.sandbox.id == sandbox.id),
            Err(ochre_pod::Error::NoSuchSandbox { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(found))
}

pub(crate) async fn update(
    service: &Service,
    request: api::UpdateContainerResourcesRequest,
) -> Result<api::UpdateContainerResourcesResponse, Failure> {
    let api::UpdateContainerResourcesRequest { container_id, linux, windows: _, annotations: _ } = request;
    let container = service.pods.container(&container_id)?;
    if let Some(linux) = linux {
        let about = |failure: Failure| failure.about("container", &container_id);
        let limits = translate::resources::from_api(linux).map_err(about)?;
        container.update(limits).await.map_err(|error| about(error.into()))?;
    }
    Ok(api::UpdateContainerResourcesResponse {})
}

pub(crate) async fn reopen_log(
    service: &Service,
    request: api::ReopenContainerLogRequest,
) -> Result<api::ReopenContainerLogResponse, Failure> {
    let container = service.pods.container(&request.container_id)?;
    container
        .reopen_log()
        .await
        .map_err(|error| Failure::from(error).about("container", &request.container_id))?;
    Ok(api::ReopenContainerLogResponse {})
}

pub(crate) async fn exec_sync(
    service: &Service,
    request: api::ExecSyncRequest,
) -> Result<api::ExecSyncResponse, Failure> {
    let api::ExecSyncRequest { container_id, cmd, timeout } = request;
    let timeout = u64::try_from(timeout)
        .map_err(|_| Failure::invalid("timeout", timeout, "seconds from 0, where 0 means no timeout"))?;
    let container = service.pods.container(&container_id)?;
    let output = service
        .pods
        .exec_sync(&container, cmd, Duration::from_secs(timeout))
        .await
        .map_err(|error| Failure::from(error).about("container", &container_id))?;
    Ok(api::ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.code })
}
