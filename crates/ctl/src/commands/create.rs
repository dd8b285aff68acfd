//! `create`, `run` and `runp`.

use std::time::Duration;

use ochre_cri_api as api;

use super::images::pull_one;
use super::{Outcome, lifecycle};
use crate::credentials::credentials;
use crate::engine::{Runtime, Session, within};
use crate::error::Error;
use crate::{load, say};

/// `--cancel-timeout`, or the usual time.
fn limit(session: &Session) -> Duration {
    let given = session.given.duration("cancel-timeout");
    if given.is_zero() { session.settings.timeout } else { given }
}

fn both_pulls(session: &Session) -> Result<(), Error> {
    if session.given.on("no-pull") && session.given.on("with-pull") {
        return Err(Error::arguments("conflict: no-pull and with-pull are both set"));
    }
    Ok(())
}

pub(super) async fn create(session: &Session) -> Result<Outcome, Error> {
    let [pod, container, pod_config] = session.given.arguments.as_slice() else { return Ok(Outcome::Help) };
    both_pulls(session)?;
    let given = &session.given;
    let pull = given.on("with-pull") || (session.settings.pull_on_create && !given.on("no-pull"));
    let mut runtime = session.runtime().await?;
    let id = create_one(session, &mut runtime, [pod, container, pod_config], pull).await?;
    say::answer(&format!("{id}\n"))?;
    Ok(Outcome::Done)
}

async fn create_one(
    session: &Session,
    runtime: &mut Runtime,
    [pod, container, pod_config]: [&str; 3],
    pull: bool,
) -> Result<String, Error> {
    let config = load::container(container)?;
    let pod_config = load::pod(pod_config)?;
    if pull {
        pull_all(session, &config, &pod_config).await?;
    }
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(pod_config),
    };
    let answer =
        within(Some(limit(session)), "creating container", runtime.create_container(request)).await?;
    Ok(answer.container_id)
}

/// The container's image and those it mounts.
async fn pull_all(
    session: &Session,
    config: &api::ContainerConfig,
    pod: &api::PodSandboxConfig,
) -> Result<(), Error> {
    let auth = credentials(&session.given)?;
    let image = config.image.clone().unwrap_or_default();
    let mounted = config.mounts.iter().filter_map(|mount| mount.image.as_ref()).map(|image| &image.image);
    let mut service = session.images().await?;
    for name in std::iter::once(&image.image).chain(mounted.filter(|name| !name.is_empty())) {
        say::note(&format!("Pulling container image: {name}"));
        let spec = api::ImageSpec {
            image: name.clone(),
            annotations: image.annotations.clone(),
            ..Default::default()
        };
        pull_one(session, &mut service, spec, auth.clone(), Some(pod.clone())).await?;
    }
    Ok(())
}

pub(super) async fn run(session: &Session) -> Result<Outcome, Error> {
    let [container, pod_config] = session.given.arguments.as_slice() else { return Ok(Outcome::Help) };
    both_pulls(session)?;
    let given = &session.given;
    let pull = given.on("with-pull") || !(session.settings.no_pull_on_run || given.on("no-pull"));
    let mut runtime = session.runtime().await?;
    let config = load::pod(pod_config)?;
    let pod = lifecycle::run_pod(session, &mut runtime, config, limit(session) * 2).await?;
    let id = create_one(session, &mut runtime, [&pod, container, pod_config], pull).await?;
    lifecycle::start_one(session, &mut runtime, &id).await?;
    Ok(Outcome::Done)
}

pub(super) async fn run_pod(session: &Session) -> Result<Outcome, Error> {
    let [config] = session.given.arguments.as_slice() else { return Ok(Outcome::Help) };
    if config.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    let id = lifecycle::run_pod(session, &mut runtime, load::pod(config)?, limit(session) * 2).await?;
    say::answer(&format!("{id}\n"))?;
    Ok(Outcome::Done)
}
