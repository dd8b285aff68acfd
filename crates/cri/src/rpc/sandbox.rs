//! The pod sandbox verbs.

use ochre_cri_api as api;

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
    Ok(api::PodSandboxStatusResponse {
        status: Some(translate::status::sandbox(&sandbox)),
        info,
        // For the event-driven kubelet only, which this engine does not announce.
        containers_statuses: Vec::new(),
        timestamp: 0,
    })
}

pub(crate) async fn list(
    service: &Service,
    request: api::ListPodSandboxRequest,
) -> Result<api::ListPodSandboxResponse, Failure> {
    let api::PodSandboxFilter { id, state, label_selector } = request.filter.unwrap_or_default();
    let candidates = match id.as_str() {
        "" => service.pods.sandboxes(),
        id => match service.pods.sandbox(id) {
            Ok(sandbox) => vec![sandbox],
            Err(ochre_pod::Error::NoSuchSandbox { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
    };
    let items = candidates
        .iter()
        .filter(|sandbox| translate::status::selected(&sandbox.config.labels, &label_selector))
        .map(|sandbox| translate::status::sandbox_row(sandbox))
        .filter(|row| state.as_ref().is_none_or(|wanted| wanted.state == row.state))
        .collect();
    Ok(api::ListPodSandboxResponse { items })
}
