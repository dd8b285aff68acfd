//! `stats`, `statsp`, `metricsp`, `metricdescs` and `events`.

use std::collections::BTreeMap;
use std::time::Duration;

use ochre_cri_api as api;

use super::{Outcome, short};
use crate::engine::{Runtime, Session};
use crate::error::Error;
use crate::schema::{Style, to_json};
use crate::select::labels;
use crate::tabs::Table;
use crate::units::size;
use crate::{json, say, show, template};

/// Between two looks of `--watch`.
const REFRESH: Duration = Duration::from_millis(500);
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What a container or pod had used at a time.
#[derive(Clone, Copy, Default)]
struct Sample {
    /// CPU nanoseconds.
    cpu: u64,
    /// When, nanoseconds.
    at: i64,
    /// Bytes.
    memory: u64,
}

impl Sample {
    fn of(cpu: Option<&api::CpuUsage>, memory: Option<&api::MemoryUsage>) -> Self {
        Self {
            cpu: cpu.map_or(0, |cpu| value(&cpu.usage_core_nano_seconds)),
            at: cpu.map_or(0, |cpu| cpu.timestamp),
            memory: memory.map_or(0, |memory| value(&memory.working_set_bytes)),
        }
    }

    /// CPU since an earlier sample, in percent of one processor.
    #[allow(clippy::cast_precision_loss)] // Two digits are shown.
    fn percent(self, earlier: Self) -> Result<String, Error> {
        if self.cpu == 0 {
            return Ok("0.00".to_owned());
        }
        let passed = self.at - earlier.at;
        if passed == 0 {
            return Err(Error::Answer { what: "cpu stat is not updated during sample".to_owned() });
        }
        Ok(format!("{:.2}", self.cpu.saturating_sub(earlier.cpu) as f64 / passed as f64 * 100.0))
    }
}

fn value(wrapped: &Option<api::UInt64Value>) -> u64 {
    wrapped.as_ref().map_or(0, |wrapped| wrapped.value)
}

fn id_wanted(session: &Session) -> String {
    let id = session.given.text("id");
    if id.is_empty() { session.given.first().to_owned() } else { id.to_owned() }
}

fn pause(session: &Session) -> Duration {
    Duration::from_secs(u64::try_from(session.given.number("seconds")).unwrap_or(0))
}

pub(super) async fn containers(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if given.arguments.len() > 1 {
        return Ok(Outcome::Help);
    }
    let filter = api::ContainerStatsFilter {
        id: id_wanted(session),
        pod_sandbox_id: given.text("pod").to_owned(),
        label_selector: labels(given.list("label"))?,
    };
    let mut runtime = session.runtime().await?;
    loop {
        show_containers(session, &mut runtime, &filter).await?;
        if !given.on("watch") {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn container_stats(
    session: &Session,
    runtime: &mut Runtime,
    filter: &api::ContainerStatsFilter,
) -> Result<Vec<api::ContainerStats>, Error> {
    let request = api::ListContainerStatsRequest { filter: Some(filter.clone()) };
    let mut stats = session.call("get container stats", runtime.list_container_stats(request)).await?.stats;
    stats.sort_by_key(container_id);
    Ok(stats)
}

fn container_id(stats: &api::ContainerStats) -> String {
    stats.attributes.as_ref().map_or(String::new(), |attributes| attributes.id.clone())
}

async fn show_containers(
    session: &Session,
    runtime: &mut Runtime,
    filter: &api::ContainerStatsFilter,
) -> Result<(), Error> {
    let first = container_stats(session, runtime, filter).await?;
    let answer = |stats| api::ListContainerStatsResponse { stats };
    match session.given.text("output") {
        "json" => return show::json("ListContainerStatsResponse", &answer(first)),
        "yaml" => return show::yaml("ListContainerStatsResponse", &answer(first)),
        _ => {}
    }
    let sample = |one: &api::ContainerStats| Sample::of(one.cpu.as_ref(), one.memory.as_ref());
    let before: BTreeMap<String, Sample> = first.iter().map(|one| (container_id(one), sample(one))).collect();
    tokio::time::sleep(pause(session)).await;
    let mut table = Table::new();
    table.row(["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"]);
    for one in container_stats(session, runtime, filter).await? {
        let now = sample(&one);
        let hidden = !session.given.on("all") && now.cpu == 0 && now.memory == 0;
        let Some(earlier) = before.get(&container_id(&one)).filter(|_| !hidden) else { continue };
        let layer = one.writable_layer.clone().unwrap_or_default();
        let metadata = one.attributes.clone().unwrap_or_default().metadata.unwrap_or_default();
        let swap = one.swap.as_ref().map_or(0, |swap| value(&swap.swap_usage_bytes));
        table.row([
            short(&container_id(&one), "").to_owned(),
            metadata.name,
            now.percent(*earlier)?,
            size(now.memory, 4),
            size(value(&layer.used_bytes), 4),
            value(&layer.inodes_used).to_string(),
            size(swap, 4),
        ]);
    }
    say::answer(&format!("{CLEAR}{}", table.text()))
}

pub(super) async fn pods(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if given.arguments.len() > 1 {
        return Ok(Outcome::Help);
    }
    let filter =
        api::PodSandboxStatsFilter { id: id_wanted(session), label_selector: labels(given.list("label"))? };
    let mut runtime = session.runtime().await?;
    loop {
        show_pods(session, &mut runtime, &filter).await?;
        if !given.on("watch") {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn pod_stats(
    session: &Session,
    runtime: &mut Runtime,
    filter: &api::PodSandboxStatsFilter,
) -> Result<Vec<api::PodSandboxStats>, Error> {
    let request = api::ListPodSandboxStatsRequest { filter: Some(filter.clone()) };
    let mut stats = session.call("get pod stats", runtime.list_pod_sandbox_stats(request)).await?.stats;
    stats.sort_by_key(pod_id);
    Ok(stats)
}

fn pod_id(stats: &api::PodSandboxStats) -> String {
    stats.attributes.as_ref().map_or(String::new(), |attributes| attributes.id.clone())
}

async fn show_pods(
    session: &Session,
    runtime: &mut Runtime,
    filter: &api::PodSandboxStatsFilter,
) -> Result<(), Error> {
    let first = pod_stats(session, runtime, filter).await?;
    let answer = |stats| api::ListPodSandboxStatsResponse { stats };
    match session.given.text("output") {
        "json" => return show::json("ListPodSandboxStatsResponse", &answer(first)),
        "yaml" => return show::yaml("ListPodSandboxStatsResponse", &answer(first)),
        _ => {}
    }
    let sample = |one: &api::PodSandboxStats| {
        let linux = one.linux.as_ref();
        Sample::of(linux.and_then(|linux| linux.cpu.as_ref()), linux.and_then(|linux| linux.memory.as_ref()))
    };
    let before: BTreeMap<String, Sample> = first.iter().map(|one| (pod_id(one), sample(one))).collect();
    tokio::time::sleep(pause(session)).await;
    let mut table = Table::new();
    table.row(["POD", "POD ID", "CPU %", "MEM"]);
    for one in pod_stats(session, runtime, filter).await? {
        let now = sample(&one);
        let hidden = now.cpu == 0 && now.memory == 0;
        let Some(earlier) = before.get(&pod_id(&one)).filter(|_| !hidden) else { continue };
        let metadata = one.attributes.clone().unwrap_or_default().metadata.unwrap_or_default();
        let id = short(&pod_id(&one), "").to_owned();
        table.row([metadata.name, id, now.percent(*earlier)?, size(now.memory, 4)]);
    }
    say::answer(&format!("{CLEAR}{}", table.text()))
}

pub(super) async fn descriptors(session: &Session) -> Result<Outcome, Error> {
    if !(session.given.arguments.is_empty() && is_document(session)) {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    let request = api::ListMetricDescriptorsRequest::default();
    let doing = "get metric descriptors: list metric descriptors";
    let answer = session.call(doing, runtime.list_metric_descriptors(request)).await?;
    document(session, "ListMetricDescriptorsResponse", &answer)?;
    Ok(Outcome::Done)
}

pub(super) async fn metrics(session: &Session) -> Result<Outcome, Error> {
    if !(session.given.arguments.is_empty() && is_document(session)) {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    loop {
        let request = api::ListPodSandboxMetricsRequest::default();
        let doing = "get pod metrics: list pod sandbox metrics";
        let answer = session.call(doing, runtime.list_pod_sandbox_metrics(request)).await?;
        document(session, "ListPodSandboxMetricsResponse", &answer)?;
        if !session.given.on("watch") {
            return Ok(Outcome::Done);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

fn is_document(session: &Session) -> bool {
    matches!(session.given.text("output"), "" | "json" | "yaml")
}

fn document(session: &Session, name: &str, answer: &impl prost::Message) -> Result<(), Error> {
    if session.given.text("output") == "yaml" { show::yaml(name, answer) } else { show::json(name, answer) }
}

/// Until the engine ends the stream.
pub(super) async fn events(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if !given.arguments.is_empty() {
        return Ok(Outcome::Help);
    }
    let (format, text) = (given.text("output"), given.text("template"));
    match format {
        "json" | "yaml" if !text.is_empty() => {
            return Err(Error::arguments(format!("template can't be used with {format:?} format")));
        }
        "json" | "yaml" => {}
        "go-template" => template::check(text)?,
        other => {
            let possible = "json, yaml, go-template";
            return Err(Error::Choice { what: "output format", value: other.to_owned(), possible });
        }
    }
    let mut runtime = session.runtime().await?;
    let request = api::GetEventsRequest::default();
    let doing = "getting container events";
    let mut stream = session.call(doing, runtime.get_container_events(request)).await?;
    while let Some(event) = stream.message().await.map_err(|status| Error::refused(doing, status))? {
        let name = "ContainerEventResponse";
        match format {
            "json" => show::json(name, &event)?,
            "yaml" => show::yaml(name, &event)?,
            _ => {
                let value = to_json(name, &event, Style::Proto);
                let value = serde_json::from_str(&json::compact(&value))
                    .map_err(|error| Error::Answer { what: error.to_string() })?;
                say::answer(&format!("{}\n", template::render(text, &value)?))?;
            }
        }
    }
    Ok(Outcome::Done)
}
