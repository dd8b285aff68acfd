//! `start`, `stop`, `rm`, `update`, `checkpoint`, `exec`, `stopp` and `rmp`.

use std::path::Path;
use std::time::Duration;

use ochre_cri_api as api;

use super::{Outcome, present, together};
use crate::engine::{Runtime, Session, within};
use crate::error::{Error, chain};
use crate::select::Filters;
use crate::{say, select};

const NO_ID: &str = "ID cannot be empty";

fn some_ids(session: &Session) -> Result<&[String], Error> {
    let ids = session.given.arguments.as_slice();
    if ids.is_empty() || ids.iter().any(String::is_empty) { Err(Error::arguments(NO_ID)) } else { Ok(ids) }
}

pub(super) async fn start(session: &Session) -> Result<Outcome, Error> {
    let ids = some_ids(session)?;
    let mut runtime = session.runtime().await?;
    for id in ids {
        start_one(session, &mut runtime, id).await?;
    }
    Ok(Outcome::Done)
}

/// Starts a container and prints its id.
pub(super) async fn start_one(session: &Session, runtime: &mut Runtime, id: &str) -> Result<(), Error> {
    let request = api::StartContainerRequest { container_id: id.to_owned() };
    session.call(format!("starting the container {id:?}"), runtime.start_container(request)).await?;
    say::answer(&format!("{id}\n"))
}

pub(super) async fn update(session: &Session) -> Result<Outcome, Error> {
    let ids = some_ids(session)?;
    let given = &session.given;
    let limits = api::LinuxContainerResources {
        cpu_period: given.number("cpu-period"),
        cpu_quota: given.number("cpu-quota"),
        cpu_shares: given.number("cpu-share"),
        cpuset_cpus: given.text("cpuset-cpus").to_owned(),
        cpuset_mems: given.text("cpuset-mems").to_owned(),
        memory_limit_in_bytes: given.number("memory"),
        oom_score_adj: given.number("oom-score-adj"),
        ..Default::default()
    };
    let mut runtime = session.runtime().await?;
    for id in ids {
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(limits.clone()),
            ..Default::default()
        };
        let doing = format!("updating container resources for {id:?}");
        session.call(doing, runtime.update_container_resources(request)).await?;
        say::answer(&format!("{id}\n"))?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn checkpoint(session: &Session) -> Result<Outcome, Error> {
    let ids = some_ids(session)?;
    let location = session.given.text("export");
    if location.is_empty() {
        return Err(Error::arguments(
            "cannot checkpoint without a destination; say --export=/path/to/checkpoint.tar",
        ));
    }
    let mut runtime = session.runtime().await?;
    for id in ids {
        let request = api::CheckpointContainerRequest {
            container_id: id.clone(),
            location: location.to_owned(),
            ..Default::default()
        };
        let doing = format!("checkpointing the container {id:?} failed");
        session.call(doing, runtime.checkpoint_container(request)).await?;
        say::answer(&format!("{id}\n"))?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn stop(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let all = given.on("all");
    let mut ids = given.arguments.clone();
    if all != ids.is_empty() {
        return Err(Error::arguments(if all {
            "cannot specify CONTAINER-ID(s) when using --all"
        } else {
            "you must specify at least one CONTAINER-ID or use --all"
        }));
    }
    let mut runtime = session.runtime().await?;
    if all {
        let running = select::containers(session, &mut runtime, None, &Filters::running()).await?;
        if running.is_empty() {
            say::answer("No running containers found.\n")?;
        }
        ids = running.into_iter().map(|one| one.id).collect();
    }
    for id in ids {
        stop_one(session, &mut runtime, &id, given.number("timeout")).await?;
    }
    Ok(Outcome::Done)
}

async fn stop_one(session: &Session, runtime: &mut Runtime, id: &str, grace: i64) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::arguments(NO_ID));
    }
    let request = api::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
    let limit = session.settings.timeout.saturating_add(seconds(grace));
    within(Some(limit), format!("stopping the container {id:?}"), runtime.stop_container(request)).await?;
    say::answer(&format!("{id}\n"))
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn remove_containers(session: &Session) -> Result<Outcome, Error> {
    let mut runtime = session.runtime().await?;
    let mut ids = session.given.arguments.clone();
    if session.given.on("all") {
        let request = api::ListContainersRequest::default();
        let found = session.call("listing containers", runtime.list_containers(request)).await?.containers;
        ids = found.into_iter().map(|one| one.id).collect();
        if ids.is_empty() {
            say::note("No containers to remove");
            return Ok(Outcome::Done);
        }
    }
    if ids.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut errors = Vec::new();
    for id in ids {
        errors.extend(remove_container(session, &mut runtime, &id).await.err());
    }
    together(errors)
}

async fn remove_container(session: &Session, runtime: &mut Runtime, id: &str) -> Result<(), Error> {
    let given = &session.given;
    let request = api::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let doing = format!("getting container status {id:?}");
    let status = session.call(doing, runtime.container_status(request)).await?.status.unwrap_or_default();
    if status.state() == api::ContainerState::ContainerRunning {
        if !given.on("force") {
            return Err(Error::Running { what: "container", id: id.to_owned() });
        }
        stop_one(session, runtime, id, 0).await?;
    }
    let request = api::RemoveContainerRequest { container_id: id.to_owned() };
    session.call(format!("removing container {id:?}"), runtime.remove_container(request)).await?;
    say::answer(&format!("{id}\n"))?;
    if !given.on("keep-logs") && !status.log_path.is_empty() {
        remove_logs(Path::new(&status.log_path), id);
    }
    Ok(())
}

/// The log file and its rotations (`name.*`). The container is gone: what fails here is only said.
fn remove_logs(path: &Path, id: &str) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = path.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let rotated = beside.into_iter().flatten().flatten().filter(|entry| {
        entry.file_name().to_string_lossy().strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'))
    });
    for file in rotated.map(|entry| entry.path()).chain([path.to_owned()]) {
        if let Err(error) = std::fs::remove_file(&file) {
            say::failure(&format!(
                "removing log file {} for container {id:?} failed: {error}",
                file.display()
            ));
        }
    }
}

pub(super) async fn stop_pods(session: &Session) -> Result<Outcome, Error> {
    if session.given.arguments.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    for id in &session.given.arguments {
        stop_pod(session, &mut runtime, id).await?;
    }
    Ok(Outcome::Done)
}

async fn stop_pod(session: &Session, runtime: &mut Runtime, id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::arguments(NO_ID));
    }
    let request = api::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    session.call(format!("stopping the pod sandbox {id:?}"), runtime.stop_pod_sandbox(request)).await?;
    say::answer(&format!("Stopped sandbox {id}\n"))
}

pub(super) async fn remove_pods(session: &Session) -> Result<Outcome, Error> {
    let mut runtime = session.runtime().await?;
    let mut ids = session.given.arguments.clone();
    if session.given.on("all") {
        let request = api::ListPodSandboxRequest::default();
        let found = session.call("listing pod sandboxes", runtime.list_pod_sandbox(request)).await?.items;
        ids = found.into_iter().map(|one| one.id).collect();
        if ids.is_empty() {
            say::note("No pods to remove");
            return Ok(Outcome::Done);
        }
    }
    if ids.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut errors = Vec::new();
    for id in ids {
        errors.extend(remove_pod(session, &mut runtime, &id).await.err());
    }
    together(errors)
}

async fn remove_pod(session: &Session, runtime: &mut Runtime, id: &str) -> Result<(), Error> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    let doing = format!("getting sandbox status of pod {id:?}");
    let status = session.call(doing, runtime.pod_sandbox_status(request)).await?.status.unwrap_or_default();
    if status.state() == api::PodSandboxState::SandboxReady {
        if !session.given.on("force") {
            return Err(Error::Running { what: "pod sandbox", id: id.to_owned() });
        }
        stop_pod(session, runtime, id).await?;
    }
    let request = api::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    session.call(format!("removing the pod sandbox {id:?}"), runtime.remove_pod_sandbox(request)).await?;
    say::answer(&format!("Removed sandbox {id}\n"))
}

/// Flags that select containers instead of an id.
const SELECTING: [&str; 7] = ["name", "pod", "image", "state", "label", "latest", "last"];

pub(super) async fn exec(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let selecting = SELECTING.iter().any(|flag| given.is_set(flag));
    let (ids, command) = match given.arguments.as_slice() {
        [] => return Ok(Outcome::Help),
        command if selecting => (Vec::new(), command.to_vec()),
        [_] => return Ok(Outcome::Help),
        [id, command @ ..] => (vec![id.clone()], command.to_vec()),
    };
    if !given.on("sync") {
        return Err(Error::arguments("exec without --sync cannot be done yet; say --sync"));
    }
    let mut runtime = session.runtime().await?;
    let ids = if selecting {
        let mut images = session.images().await?;
        let filters = Filters::of(given)?;
        let found = select::containers(session, &mut runtime, Some(&mut images), &filters).await?;
        found.into_iter().map(|one| one.id).collect()
    } else {
        ids
    };
    if ids.is_empty() {
        say::failure("No containers found per filter flags");
        return Ok(Outcome::Help);
    }
    let headed = selecting && !given.on("quiet") && !given.on("parallel");
    let mut errors = Vec::new();
    for id in ids {
        if headed {
            say::answer(&format!("{id}:\n"))?;
        }
        errors.extend(exec_one(session, &mut runtime, &id, &command).await.err());
    }
    if given.on("ignore-errors") {
        errors.iter().for_each(|error| say::warning(&chain(error)));
        return Ok(Outcome::Done);
    }
    together(errors)
}

async fn exec_one(
    session: &Session,
    runtime: &mut Runtime,
    id: &str,
    command: &[String],
) -> Result<(), Error> {
    let timeout = session.given.number("timeout");
    let request = api::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout };
    let limit = (timeout > 0).then(|| session.settings.timeout.saturating_add(seconds(timeout)));
    let doing = format!("execing command in container {id} synchronously");
    let said = within(limit, doing, runtime.exec_sync(request)).await?;
    if said.exit_code != 0 {
        return Err(Error::Command {
            id: id.to_owned(),
            command: command.join(" "),
            code: said.exit_code,
            stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        });
    }
    say::bytes(&[said.stdout.as_slice(), b"\n", said.stderr.as_slice(), b"\n"].concat())
}

/// The pod of a config is started with twice the usual time.
pub(super) async fn run_pod(
    session: &Session,
    runtime: &mut Runtime,
    config: api::PodSandboxConfig,
    limit: Duration,
) -> Result<String, Error> {
    let request = api::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: session.given.text("runtime").to_owned(),
    };
    let answer = within(Some(limit), "run pod sandbox", runtime.run_pod_sandbox(request)).await?;
    present(Some(answer.pod_sandbox_id).filter(|id| !id.is_empty()), "pod id")
}
