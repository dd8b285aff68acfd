//! `inspect`, `inspectp` and `info`.

use ochre_cri_api as api;
use serde_json::{Map, Value};

use super::{Outcome, present};
use crate::engine::Session;
use crate::error::Error;
use crate::schema::{Message, Style, message, to_json};
use crate::select::Filters;
use crate::units::{ago, go_time, rfc3339};
use crate::{say, select, show};

const NOTHING: &str = "No IDs provided or nothing found per filter";

pub(super) async fn containers(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let mut runtime = session.runtime().await?;
    let mut ids = given.arguments.clone();
    if ids.is_empty() {
        let mut images = session.images().await?;
        let filters = Filters::of(given)?;
        let found = select::containers(session, &mut runtime, Some(&mut images), &filters).await?;
        ids = found.into_iter().map(|one| one.id).collect();
    }
    if ids.is_empty() {
        say::failure(NOTHING);
        return Ok(Outcome::Help);
    }
    let verbose = !given.on("quiet");
    let mut statuses = Vec::new();
    for id in ids {
        let request = api::ContainerStatusRequest { container_id: id, verbose };
        let doing = "get the status of containers: get container status";
        let answer = session.call(doing, runtime.container_status(request)).await?;
        let status = present(answer.status, "status")?;
        if given.text("output") == "table" {
            let info = if verbose { show::info_line(&answer.info) } else { String::new() };
            say::answer(&format!("{}{info}", container_block(&status)))?;
        } else {
            statuses.push(show::with_info(container_json(&status), &answer.info)?);
        }
    }
    show::statuses(statuses, format(given.text("output")), given.text("template"))?;
    Ok(Outcome::Done)
}

pub(super) fn format(output: &str) -> &str {
    if output.is_empty() { "json" } else { output }
}

/// Times in words instead of nanoseconds, and null for what is not set.
fn container_json(status: &api::ContainerStatus) -> Value {
    use api::ContainerState as State;
    let mut json = whole("ContainerStatus", to_json("ContainerStatus", status, Style::Proto));
    let started = (status.state() != State::ContainerCreated).then_some(status.started_at);
    let ended = status.state() == State::ContainerExited
        || (status.state() == State::ContainerUnknown && status.finished_at > 0);
    json.insert("createdAt".into(), rfc3339(Some(status.created_at)).into());
    json.insert("startedAt".into(), rfc3339(started).into());
    json.insert("finishedAt".into(), rfc3339(ended.then_some(status.finished_at)).into());
    Value::Object(json)
}

/// The object with null for every message that is not set.
fn whole(name: &str, json: Value) -> Map<String, Value> {
    let Value::Object(mut json) = json else { return Map::new() };
    let fields = message(name).map_or(&[][..], |Message { fields, .. }| fields);
    for field in fields {
        json.entry(field.json).or_insert(Value::Null);
    }
    json
}

fn container_block(status: &api::ContainerStatus) -> String {
    use api::ContainerState as State;
    let mut out = format!("ID: {}\n", status.id);
    let metadata = status.metadata.clone().unwrap_or_default();
    if !metadata.name.is_empty() {
        out.push_str(&format!("Name: {}\n", metadata.name));
    }
    if metadata.attempt != 0 {
        out.push_str(&format!("Attempt: {}\n", metadata.attempt));
    }
    out.push_str(&format!("State: {}\nCreated: {}\n", status.state().as_str_name(), ago(status.created_at)));
    if status.state() != State::ContainerCreated {
        out.push_str(&format!("Started: {}\n", ago(status.started_at)));
    }
    if status.state() == State::ContainerExited {
        if status.finished_at > 0 {
            out.push_str(&format!("Finished: {}\n", ago(status.finished_at)));
        }
        out.push_str(&format!("Exit Code: {}\n", status.exit_code));
    }
    out.push_str(&show::pairs("Labels", &status.labels));
    out.push_str(&show::pairs("Annotations", &status.annotations));
    out
}

pub(super) async fn pods(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let mut runtime = session.runtime().await?;
    let mut ids = given.arguments.clone();
    if ids.is_empty() {
        let found = select::pods(session, &mut runtime, &Filters::of(given)?).await?;
        ids = found.into_iter().map(|one| one.id).collect();
    }
    if ids.is_empty() {
        say::failure(NOTHING);
        return Ok(Outcome::Help);
    }
    let verbose = !given.on("quiet");
    let mut statuses = Vec::new();
    for id in ids {
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id, verbose };
        let doing = "get the status of pod sandboxes: get pod sandbox status";
        let answer = session.call(doing, runtime.pod_sandbox_status(request)).await?;
        let status = present(answer.status, "status")?;
        if given.text("output") == "table" {
            let info = if verbose { show::info_line(&answer.info) } else { String::new() };
            say::answer(&format!("{}{info}", pod_block(&status)))?;
        } else {
            let mut json = whole("PodSandboxStatus", to_json("PodSandboxStatus", &status, Style::Proto));
            json.insert("createdAt".into(), rfc3339(Some(status.created_at)).into());
            statuses.push(show::with_info(Value::Object(json), &answer.info)?);
        }
    }
    show::statuses(statuses, format(given.text("output")), given.text("template"))?;
    Ok(Outcome::Done)
}

fn pod_block(status: &api::PodSandboxStatus) -> String {
    let mut out = format!("ID: {}\n", status.id);
    if let Some(metadata) = &status.metadata {
        let named = [("Name", &metadata.name), ("UID", &metadata.uid), ("Namespace", &metadata.namespace)];
        for (title, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
            out.push_str(&format!("{title}: {value}\n"));
        }
        out.push_str(&format!("Attempt: {}\n", metadata.attempt));
    }
    out.push_str(&format!(
        "Status: {}\nCreated: {}\n",
        status.state().as_str_name(),
        go_time(status.created_at)
    ));
    if let Some(network) = &status.network {
        out.push_str(&format!("IP Addresses: {}\n", network.ip));
        for more in &network.additional_ips {
            out.push_str(&format!("Additional IP: {}\n", more.ip));
        }
    }
    out.push_str(&show::pairs("Labels", &status.labels));
    out.push_str(&show::pairs("Annotations", &status.annotations));
    out
}

/// `info`. Handlers and features are in Go's plain form: snake_case, nothing that is off.
pub(super) async fn engine(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if !given.arguments.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    let request = api::StatusRequest { verbose: !given.on("quiet") };
    let answer = session.call("getting status of runtime", runtime.status(request)).await?;
    let status = to_json("RuntimeStatus", &present(answer.status, "status")?, Style::Proto);
    let mut shown = Map::new();
    let handlers: Vec<Value> =
        answer.runtime_handlers.iter().map(|one| to_json("RuntimeHandler", one, Style::Plain)).collect();
    if !handlers.is_empty() {
        shown.insert("runtimeHandlers".into(), handlers.into());
    }
    if let Some(features) = &answer.features {
        shown.insert("features".into(), to_json("RuntimeFeatures", features, Style::Plain));
    }
    shown.extend(show::with_info(status, &answer.info)?);
    show::statuses(vec![shown], given.text("output"), given.text("template"))?;
    Ok(Outcome::Done)
}
