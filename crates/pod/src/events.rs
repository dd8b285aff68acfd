//! What happens to pods and containers, told to everybody who listens.
//!
//! ```text
//!   driver ──publish──▶ hub: stamp, picture of the pod ──▶ queue of each subscriber ──▶ next()
//!                        └─ nobody has listened yet: ends are kept for the first one
//! ```
//!
//! A driver never waits: a queue takes an event or, when it is full, its subscriber is ended. The subscriber learns that
//! by [`Lagged`] and has to list; it never misses an event without knowing. The others notice nothing.
//!
//! The stamp and the picture are taken under the hub's lock, so the order of events, of their times and of the states they
//! show is one. Events of one object come from its only driver, which keeps them in the order of its life.
//!
//! A container that ended while no engine ran is found at start, before anybody can listen. So that its end is told all
//! the same, ends wait for the first subscriber as long as their objects exist.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use ochre_types::{ContainerId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::container::{Container, ContainerState};
use crate::engine::{Engine, Pods};
use crate::sandbox::{Sandbox, SandboxState};

/// Events that may wait for one subscriber (CRI-O's queue has as many for all of them together).
const QUEUE: usize = 1000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was made.
    Created,
    /// It runs.
    Started,
    /// It has ended.
    Stopped,
    /// It is gone.
    Deleted,
}

/// To what it happened.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The pod itself.
    Sandbox,
    /// One of its containers.
    Container(ContainerId),
}

/// One event, with the pod as it was at that moment.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To what.
    pub subject: Subject,
    /// When; grows from event to event.
    pub at: Timestamp,
    /// The pod.
    pub sandbox: Arc<Sandbox>,
    /// The pod's state.
    pub state: SandboxState,
    /// The pod's visible containers and their states; one that was deleted is not among them.
    pub containers: Vec<(Arc<Container>, ContainerState)>,
}

impl Event {
    /// Id of what it happened to.
    pub fn id(&self) -> &str {
        match &self.subject {
            Subject::Sandbox => self.sandbox.id.as_str(),
            Subject::Container(id) => id.as_str(),
        }
    }
}

/// The subscriber fell behind: events were lost to it, and no more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber fell {QUEUE} events behind; list pods and containers and subscribe again")]
pub struct Lagged;

/// One subscriber's end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next event; each comes once.
    ///
    /// # Errors
    /// [`Lagged`], again and again.
    pub async fn next(&mut self) -> Result<Arc<Event>, Lagged> {
        loop {
            // Asked for first: a push between the look and the wait leaves its permit.
            let filled = self.queue.filled.notified();
            {
                let mut waiting = self.queue.waiting.lock();
                match waiting.as_mut().map(VecDeque::pop_front) {
                    None => return Err(Lagged),
                    Some(Some(event)) => return Ok(event),
                    Some(None) => {}
                }
            }
            filled.await;
        }
    }
}

/// Events that wait for one subscriber; `None` once it fell behind.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Option<VecDeque<Arc<Event>>>>,
    filled: Notify,
}

impl Queue {
    /// Adds an event; false when the subscriber is ended by it.
    fn push(&self, event: &Arc<Event>) -> bool {
        let mut waiting = self.waiting.lock();
        let taken = match waiting.as_mut() {
            Some(queue) if queue.len() < QUEUE => {
                queue.push_back(Arc::clone(event));
                true
            }
            _ => {
                // What waits is of no use to somebody who has to list.
                *waiting = None;
                false
            }
        };
        self.filled.notify_one();
        taken
    }
}

#[derive(Debug)]
struct State {
    subscribers: Vec<Weak<Queue>>,
    /// Ends that nobody has heard of; `None` once somebody listened.
    unheard: Option<Vec<Arc<Event>>>,
    last: i64,
}

/// Where events go. Without `enable_pod_events` there is none and nothing is kept.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Option<Mutex<State>>,
}

impl Hub {
    pub(crate) fn new(enabled: bool) -> Self {
        let state = State { subscribers: Vec::new(), unheard: Some(Vec::new()), last: 0 };
        Self { state: enabled.then(|| Mutex::new(state)) }
    }

    fn subscribe(&self) -> Option<Subscription> {
        let mut state = self.state.as_ref()?.lock();
        let unheard = state.unheard.take().unwrap_or_default();
        let queue = Arc::new(Queue { waiting: Mutex::new(Some(unheard.into())), filled: Notify::new() });
        state.subscribers.retain(|other| other.strong_count() > 0);
        state.subscribers.push(Arc::downgrade(&queue));
        Some(Subscription { queue })
    }

    /// Tells everybody. `event` makes the picture; it is called only when somebody will see it, and must not block.
    fn publish(&self, event: impl FnOnce(Timestamp) -> Event) {
        let Some(state) = &self.state else { return };
        let mut state = state.lock();
        if state.subscribers.is_empty() && state.unheard.is_none() {
            return;
        }
        state.last = Timestamp::now().nanos().max(state.last.saturating_add(1));
        let event = Arc::new(event(Timestamp::from_nanos(state.last)));
        if let Some(unheard) = &mut state.unheard {
            keep(unheard, &event);
        }
        state
            .subscribers
            .retain(|subscriber| subscriber.upgrade().is_some_and(|subscriber| subscriber.push(&event)));
    }
}

/// Keeps the end of something that still exists: no more than there are pods and containers.
fn keep(unheard: &mut Vec<Arc<Event>>, event: &Arc<Event>) {
    match event.kind {
        EventKind::Stopped if unheard.len() < QUEUE => unheard.push(Arc::clone(event)),
        EventKind::Deleted => unheard.retain(|other| other.id() != event.id()),
        EventKind::Created | EventKind::Started | EventKind::Stopped => {}
    }
}

impl Pods {
    /// Subscribes to events; `None` when they are off (`enable_pod_events`).
    pub fn events(&self) -> Option<Subscription> {
        self.engine.events.subscribe()
    }

    /// Whether events are on; statuses of pods carry those of their containers then, for the kubelet's use of events.
    pub fn events_enabled(&self) -> bool {
        self.engine.events.state.is_some()
    }

    /// A pod's visible containers.
    pub fn containers_of(&self, sandbox: &Sandbox) -> Vec<Arc<Container>> {
        let mut containers = self.engine.containers_of(sandbox);
        containers.retain(|container| container.visible());
        containers
    }
}

impl Engine {
    /// Tells subscribers what happened to a pod.
    pub(crate) fn publish_sandbox(&self, kind: EventKind, sandbox: &Arc<Sandbox>) {
        self.publish(kind, Subject::Sandbox, sandbox);
    }

    /// Tells subscribers what happened to a container.
    pub(crate) fn publish_container(&self, kind: EventKind, container: &Container) {
        self.publish(kind, Subject::Container(container.id.clone()), &container.sandbox);
    }

    fn publish(&self, kind: EventKind, subject: Subject, sandbox: &Arc<Sandbox>) {
        self.events.publish(|at| {
            let containers = self.containers_of(sandbox).into_iter().filter(|container| container.visible());
            let containers = containers.map(|container| {
                let state = container.state();
                (container, state)
            });
            let containers = containers.collect();
            Event { kind, subject, at, sandbox: Arc::clone(sandbox), state: sandbox.state(), containers }
        });
    }
}

#[cfg(test)]
mod tests;
