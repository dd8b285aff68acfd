//! Events: each once and in order to everybody who listens, whatever else happens.

use std::collections::BTreeMap;
use std::time::Duration;

use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::{HANDLERS, Node, PATIENCE, container, eventually, pod};
use tonic::Code;

const ON: &str = "[crio.runtime]\nenable_pod_events = true\n";

use api::ContainerEventType::{
    ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
    ContainerStoppedEvent as Stopped,
};

const LIFE: [api::ContainerEventType; 4] = [Created, Started, Stopped, Deleted];

/// A client that listens.
struct Listener {
    stream: tonic::Streaming<api::ContainerEventResponse>,
    heard: Vec<api::ContainerEventResponse>,
}

impl Listener {
    async fn new(node: &mut Node) -> anyhow::Result<Self> {
        let stream = node.client.runtime.get_container_events(api::GetEventsRequest {}).await?.into_inner();
        Ok(Self { stream, heard: Vec::new() })
    }

    /// Listens until this has happened to this object.
    async fn until(&mut self, id: &str, kind: api::ContainerEventType) -> anyhow::Result<()> {
        let is_last = |event: &api::ContainerEventResponse| {
            event.container_id == id && event.container_event_type() == kind
        };
        while !self.heard.iter().any(is_last) {
            let next = tokio::time::timeout(PATIENCE, self.stream.message()).await;
            let next =
                next.map_err(|_| anyhow::anyhow!("{kind:?} of {id}: heard only {:?}", self.kinds()))?;
            self.heard.push(next?.ok_or_else(|| anyhow::anyhow!("the stream ended"))?);
        }
        Ok(())
    }

    /// What happened to each object, in order.
    fn kinds(&self) -> BTreeMap<String, Vec<api::ContainerEventType>> {
        let mut kinds = BTreeMap::<_, Vec<_>>::new();
        for event in &self.heard {
            kinds.entry(event.container_id.clone()).or_default().push(event.container_event_type());
        }
        kinds
    }
}

#[tokio::test]
async fn every_life_is_told_once_and_in_order_to_every_listener() -> anyhow::Result<()> {
    let mut node = Node::configured(ON).await?;
    let mut early = Listener::new(&mut node).await?;
    let mut other = Listener::new(&mut node).await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let ends = node.launch(&id, container("ends", "exit 3")).await?;
        let killed = node.launch(&id, container("killed", "exec sleep 1000")).await?;
        node.exited(&ends).await?;
        // Two stops and a kill at once: still one end.
        let pid = node.pid(&killed).await?.to_string();
        let (mut again, victim) = (node.client.clone(), killed.clone());
        let second = tokio::spawn(async move {
            let request = api::StopContainerRequest { container_id: victim, timeout: 0 };
            again.runtime.stop_container(request).await
        });
        drop(ochre_e2e::run("kill", &["-9", &pid]));
        node.stop_container(&killed, 5).await?;
        second.await??;
        let idle = node.create(&id, container("idle", "true")).await?;
        node.remove_pod(&id).await?;
        for listener in [&mut early, &mut other] {
            listener.until(&id, Deleted).await?;
            let mut kinds = listener.kinds();
            assert_eq!(kinds.remove(&idle).unwrap_or_default(), [Created, Stopped, Deleted], "{handler}");
            for one in [&id, &ends, &killed] {
                assert_eq!(kinds.remove(one).unwrap_or_default(), LIFE, "{handler}: {one}");
            }
        }
    }
    assert!(early.heard.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));
    assert_eq!(early.heard, other.heard);
    node.finish()
}

#[tokio::test]
async fn an_event_shows_the_pod_as_it_was() -> anyhow::Result<()> {
    let mut node = Node::configured(ON).await?;
    let mut listener = Listener::new(&mut node).await?;
    let config = pod(&node, "picture");
    let id = node.run_pod(&config).await?;
    let one = node.launch(&id, container("one", "exit 3")).await?;
    node.exited(&one).await?;
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner();
    assert!(status.timestamp > 0);
    assert_eq!(status.containers_statuses.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), [one.as_str()]);
    node.remove_pod(&id).await?;
    listener.until(&id, Deleted).await?;
    let state_at = |kind, of: &str| {
        let event = listener
            .heard
            .iter()
            .find(|event| event.container_id == of && event.container_event_type() == kind)
            .unwrap();
        let pod = event.pod_sandbox_status.as_ref().unwrap();
        assert_eq!((pod.id.as_str(), pod.metadata.as_ref().unwrap().name.as_str()), (id.as_str(), "picture"));
        let states: Vec<_> = event.containers_statuses.iter().map(|c| (c.state(), c.exit_code)).collect();
        (pod.state(), states)
    };
    use api::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
    use api::PodSandboxState::{SandboxNotready, SandboxReady};
    assert_eq!(state_at(Started, &id), (SandboxReady, vec![]));
    assert_eq!(state_at(Created, &one), (SandboxReady, vec![(ContainerCreated, 0)]));
    assert_eq!(state_at(Started, &one), (SandboxReady, vec![(ContainerRunning, 0)]));
    assert_eq!(state_at(Stopped, &one), (SandboxReady, vec![(ContainerExited, 3)]));
    assert_eq!(state_at(Stopped, &id), (SandboxNotready, vec![(ContainerExited, 3)]));
    assert_eq!(state_at(Deleted, &one), (SandboxNotready, vec![]));
    assert_eq!(state_at(Deleted, &id), (SandboxNotready, vec![]));
    node.finish()
}

#[tokio::test]
async fn an_end_while_the_engine_was_away_is_told_once() -> anyhow::Result<()> {
    let mut node = Node::configured(ON).await?;
    let mut before = Listener::new(&mut node).await?;
    let config = pod(&node, "away");
    let id = node.run_pod(&config).await?;
    let ended = node.launch(&id, container("ended", "exec sleep 1000")).await?;
    let lives = node.launch(&id, container("lives", "exec sleep 1000")).await?;
    before.until(&lives, Started).await?;
    let pid = node.pid(&ended).await?.to_string();
    node.engine.kill()?;
    ochre_e2e::run("kill", &["-9", &pid])?;
    eventually("the end of the process", async || {
        Ok((!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()))
    })
    .await?;
    node.engine.start_again()?;
    node.client = Client::connect(&node.engine.socket()).await?;
    // Told although it was found before anybody could listen, and not a second time.
    let mut after = Listener::new(&mut node).await?;
    after.until(&ended, Stopped).await?;
    let mut late = Listener::new(&mut node).await?;
    node.remove_pod(&id).await?;
    after.until(&id, Deleted).await?;
    late.until(&id, Deleted).await?;
    assert_eq!(after.kinds()[&ended], [Stopped, Deleted]);
    assert_eq!(after.kinds()[&lives], [Stopped, Deleted]);
    assert_eq!(late.kinds()[&ended], [Deleted]);
    let told = after.heard.iter().find(|event| event.container_id == ended).unwrap();
    let status = told.containers_statuses.iter().find(|status| status.id == ended).unwrap();
    assert_eq!((status.state(), status.exit_code), (api::ContainerState::ContainerExited, 137));
    node.finish()
}

#[tokio::test]
async fn a_listener_that_sleeps_is_ended_and_holds_nobody_up() -> anyhow::Result<()> {
    let mut node = Node::configured(ON).await?;
    // On a connection of its own: what nobody reads fills a connection's window for everybody on it.
    let shared = std::mem::replace(&mut node.client, Client::connect(&node.engine.socket()).await?);
    let mut sleeper = Listener::new(&mut node).await?;
    node.client = shared;
    let mut awake = Listener::new(&mut node).await?;
    // Large labels fill the connection's window; what it does not take waits in the engine until that is too much.
    let mut config = pod(&node, "busy");
    config.labels.insert("large".into(), "x".repeat(60_000));
    let mut slowest = Duration::ZERO;
    let mut last = String::new();
    for attempt in 0..280 {
        config.metadata.as_mut().unwrap().attempt = attempt;
        config.linux.get_or_insert_default().security_context.get_or_insert_default().namespace_options =
            Some(api::NamespaceOption {
                network: api::NamespaceMode::Node as i32,
                pid: 1,
                ..Default::default()
            });
        let began = std::time::Instant::now();
        last = node.run_pod(&config).await?;
        node.remove_pod(&last).await?;
        slowest = slowest.max(began.elapsed());
        awake.until(&last, Deleted).await?;
        awake.heard.drain(..awake.heard.len() - 4);
    }
    assert_eq!(awake.kinds()[&last], LIFE);
    assert!(slowest < PATIENCE, "a pod took {slowest:?} beside a sleeping listener");
    let mut heard = 0;
    let end = loop {
        match tokio::time::timeout(PATIENCE, sleeper.stream.message()).await? {
            Ok(Some(_)) => heard += 1,
            Ok(None) => anyhow::bail!("the stream ended without a word after {heard} events"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    assert!(end.message().contains("subscribe again"), "{end}");
    assert!(heard < 4 * 280, "{heard} events");
    node.finish()
}

#[tokio::test]
async fn crictl_shows_events_and_without_the_option_the_stream_ends_at_once() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut silent = Listener::new(&mut node).await?;
    assert!(silent.stream.message().await?.is_none());
    assert_eq!(node.crictl_ok(&["events"])?, "");
    let config = pod(&node, "silent");
    let id = node.run_pod(&config).await?;
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status = node.client.runtime.pod_sandbox_status(request).await?.into_inner();
    assert_eq!((status.timestamp, status.containers_statuses.len()), (0, 0));
    node.remove_pod(&id).await?;
    node.finish()?;

    let mut node = Node::configured(ON).await?;
    let output = node.path("events.json");
    let endpoint = format!("unix://{}", node.engine.socket().display());
    let mut crictl = std::process::Command::new(ochre_e2e::crictl())
        .args(["--runtime-endpoint", &endpoint, "events"])
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let shown = async {
        // It has subscribed when the first event of some pod comes through.
        let mut attempt = 0;
        eventually("an event by crictl", async || {
            let mut config = pod(&node, "shown");
            config.metadata.as_mut().unwrap().attempt = attempt;
            attempt += 1;
            let id = node.run_pod(&config).await?;
            node.remove_pod(&id).await?;
            let text = std::fs::read_to_string(&output)?;
            Ok(text.contains("CONTAINER_STARTED_EVENT").then_some(()))
        })
        .await
    }
    .await;
    crictl.kill()?;
    crictl.wait()?;
    shown?;
    node.finish()
}

#[tokio::test]
async fn listeners_that_come_and_go_leave_nothing() -> anyhow::Result<()> {
    let mut node = Node::configured(ON).await?;
    let descriptors = |node: &Node| {
        std::fs::read_dir(format!("/proc/{}/fd", node.engine.pid())).map(std::iter::Iterator::count)
    };
    drop(Listener::new(&mut node).await?);
    let before = descriptors(&node)?;
    for _ in 0..1000 {
        drop(Listener::new(&mut node).await?);
    }
    let config = pod(&node, "after");
    let id = node.run_pod(&config).await?;
    node.remove_pod(&id).await?;
    eventually("the descriptors of before", async || Ok((descriptors(&node)? <= before).then_some(())))
        .await?;
    node.finish()
}
