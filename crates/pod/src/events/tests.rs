use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn sandbox() -> Arc<Sandbox> {
    let config = serde_json::json!({
        "metadata": { "name": "a", "namespace": "n", "uid": "u", "attempt": 0 },
        "handler": "", "hostname": "", "log_directory": "", "dns": null, "port_mappings": [], "labels": {},
        "annotations": {}, "cgroup_parent": "", "sysctls": {},
        "namespaces": { "network": "Pod", "pid": "Pod", "ipc": "Pod", "target_id": "", "user": null },
        "privileged": false,
        "run_as": { "user": null, "group": null, "username": "", "supplemental_groups": [], "groups_policy": "Merge" },
        "selinux": null, "seccomp": null, "overhead": null, "resources": null,
    });
    Sandbox::new(crate::sandbox::Seed {
        id: ochre_types::SandboxId::generate(),
        config: serde_json::from_value(config).unwrap(),
        created_at: Timestamp::now(),
        handler: String::new(),
        log_directory: "/".into(),
        namespaces: ochre_runtime::namespaces::PodNamespaces::default(),
        state: SandboxState::Stopped,
    })
    .0
}

fn publish(hub: &Hub, kind: EventKind, id: &ContainerId, sandbox: &Arc<Sandbox>) {
    hub.publish(|at| Event {
        kind,
        subject: Subject::Container(id.clone()),
        at,
        sandbox: Arc::clone(sandbox),
        state: sandbox.state(),
        containers: Vec::new(),
    });
}

/// What comes without waiting; `None` when the subscriber would wait.
fn next(subscription: &mut Subscription) -> Option<Result<Arc<Event>, Lagged>> {
    match pin!(subscription.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

fn kinds(subscription: &mut Subscription) -> Vec<EventKind> {
    std::iter::from_fn(|| next(subscription).map(|event| event.unwrap().kind)).collect()
}

#[test]
fn every_subscriber_gets_every_event_once_in_order() {
    let (hub, pod, id) = (Hub::new(true), sandbox(), ContainerId::generate());
    let (mut one, mut two) = (hub.subscribe().unwrap(), hub.subscribe().unwrap());
    let life = [EventKind::Created, EventKind::Started, EventKind::Stopped, EventKind::Deleted];
    for kind in life {
        publish(&hub, kind, &id, &pod);
    }
    let mut late = hub.subscribe().unwrap();
    assert_eq!(kinds(&mut one), life);
    publish(&hub, EventKind::Created, &id, &pod);
    assert_eq!(kinds(&mut one), [EventKind::Created]);
    assert_eq!(kinds(&mut two).len(), 5);
    assert_eq!(kinds(&mut late), [EventKind::Created]);
}

#[test]
fn times_grow_even_when_the_clock_does_not() {
    let (hub, pod, id) = (Hub::new(true), sandbox(), ContainerId::generate());
    let mut subscription = hub.subscribe().unwrap();
    for _ in 0..200 {
        publish(&hub, EventKind::Started, &id, &pod);
    }
    let times: Vec<_> =
        std::iter::from_fn(|| next(&mut subscription).map(|event| event.unwrap().at)).collect();
    assert_eq!(times.len(), 200);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_subscriber_that_falls_behind_is_ended_and_the_others_are_not() {
    let (hub, pod, id) = (Hub::new(true), sandbox(), ContainerId::generate());
    let (mut slow, mut quick) = (hub.subscribe().unwrap(), hub.subscribe().unwrap());
    for _ in 0..QUEUE {
        publish(&hub, EventKind::Started, &id, &pod);
        assert!(next(&mut quick).unwrap().is_ok());
    }
    // The queue is full, nothing is lost yet; one more is too many.
    assert_eq!(slow.queue.waiting.lock().as_ref().map(VecDeque::len), Some(QUEUE));
    publish(&hub, EventKind::Stopped, &id, &pod);
    assert_eq!(next(&mut slow).unwrap().unwrap_err(), Lagged);
    assert_eq!(next(&mut slow).unwrap().unwrap_err(), Lagged);
    assert_eq!(kinds(&mut quick), [EventKind::Stopped]);
    assert_eq!(hub.state.as_ref().unwrap().lock().subscribers.len(), 1);
}

#[test]
fn a_subscriber_that_leaves_is_forgotten() {
    let (hub, pod, id) = (Hub::new(true), sandbox(), ContainerId::generate());
    for _ in 0..10_000 {
        drop(hub.subscribe());
    }
    assert!(hub.state.as_ref().unwrap().lock().subscribers.len() <= 1);
    publish(&hub, EventKind::Created, &id, &pod);
    assert!(hub.state.as_ref().unwrap().lock().subscribers.is_empty());
}

#[test]
fn ends_before_the_first_subscriber_wait_for_it_while_their_objects_exist() {
    let (hub, pod) = (Hub::new(true), sandbox());
    let (gone, left) = (ContainerId::generate(), ContainerId::generate());
    for id in [&gone, &left] {
        publish(&hub, EventKind::Started, id, &pod);
        publish(&hub, EventKind::Stopped, id, &pod);
    }
    publish(&hub, EventKind::Deleted, &gone, &pod);
    let mut first = hub.subscribe().unwrap();
    let event = next(&mut first).unwrap().unwrap();
    assert_eq!((event.kind, event.id()), (EventKind::Stopped, left.as_str()));
    assert!(next(&mut first).is_none());
    assert!(next(&mut hub.subscribe().unwrap()).is_none());
}

#[test]
fn without_the_option_there_are_no_events() {
    let hub = Hub::new(false);
    publish(&hub, EventKind::Stopped, &ContainerId::generate(), &sandbox());
    assert!(hub.subscribe().is_none());
}
