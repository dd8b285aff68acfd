//! GetContainerEvents: what happens, to a client that stays.

use futures_util::stream::{self, StreamExt};
use ochre_cri_api as api;
use ochre_pod::Subscription;
use tonic::codegen::BoxStream;

use crate::failure::Failure;
use crate::service::Service;
use crate::translate;

/// Events from now on. Without `enable_pod_events` the stream ends at once, as CRI-O's does: the kubelet takes that as a
/// word to list instead.
pub(crate) async fn subscribe(
    service: &Service,
    _: api::GetEventsRequest,
) -> Result<BoxStream<api::ContainerEventResponse>, Failure> {
    Ok(match service.pods.events() {
        Some(subscription) => Box::pin(stream::unfold(Some(subscription), next)),
        None => stream::empty().boxed(),
    })
}

type Answer = Result<api::ContainerEventResponse, tonic::Status>;

/// One event; a failure is the last answer.
async fn next(subscription: Option<Subscription>) -> Option<(Answer, Option<Subscription>)> {
    let mut subscription = subscription?;
    match subscription.next().await {
        Ok(event) => Some((Ok(translate::events::event(&event)), Some(subscription))),
        Err(lagged) => Some((Err(Failure::from(lagged).into()), None)),
    }
}
