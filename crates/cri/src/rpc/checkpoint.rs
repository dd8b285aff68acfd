//! CheckpointContainer. CheckpointPod and RestorePod are not there: the stubs say so.

use std::time::Duration;

use ochre_cri_api as api;

use crate::failure::Failure;
use crate::service::Service;

pub(crate) async fn container(
    service: &Service,
    request: api::CheckpointContainerRequest,
) -> Result<api::CheckpointContainerResponse, Failure> {
    let api::CheckpointContainerRequest { container_id, location, timeout } = request;
    let timeout = u64::try_from(timeout)
        .map_err(|_| Failure::invalid("timeout", timeout, "seconds from 0, where 0 means the default"))?;
    let container = service.pods.container(&container_id)?;
    service
        .pods
        .checkpoint(&container, &location, Duration::from_secs(timeout))
        .await
        .map_err(|error| Failure::from(error).about("container", &container_id))?;
    Ok(api::CheckpointContainerResponse {})
}
