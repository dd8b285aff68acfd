//! Events as the API shows them.

use ochre_cri_api as api;
use ochre_pod::{Event, EventKind};

use super::status;

/// One event with the statuses of its moment.
pub(crate) fn event(event: &Event) -> api::ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => api::ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => api::ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => api::ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => api::ContainerEventType::ContainerDeletedEvent,
    };
    api::ContainerEventResponse {
        container_id: event.id().to_owned(),
        container_event_type: kind as i32,
        created_at: event.at.nanos(),
        pod_sandbox_status: Some(status::sandbox_in(&event.sandbox, &event.state)),
        containers_statuses: event
            .containers
            .iter()
            .filter_map(|(container, state)| Some(status::container_in(container, container.made()?, state)))
            .collect(),
    }
}
