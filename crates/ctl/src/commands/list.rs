//! `ps` and `pods`.

use ochre_cri_api as api;

use super::{Outcome, short};
use crate::engine::{Images, Session};
use crate::error::Error;
use crate::select::{Filters, image_status, label};
use crate::tabs::Table;
use crate::units::{ago, go_time};
use crate::{say, select, show};

pub(super) async fn containers(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if !given.arguments.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    let mut images = session.images().await?;
    let filters = Filters::of(given)?;
    let found = select::containers(session, &mut runtime, Some(&mut images), &filters).await?;
    let answer = |containers| api::ListContainersResponse { containers };
    match show::list_format(given.text("output"))? {
        "json" => show::json("ListContainersResponse", &answer(found))?,
        "yaml" => show::yaml("ListContainersResponse", &answer(found))?,
        _ if given.on("quiet") => {
            say::answer(&found.iter().map(|one| format!("{}\n", one.id)).collect::<String>())?;
        }
        _ if given.on("verbose") => {
            say::answer(&found.iter().map(container_block).collect::<String>())?;
        }
        _ => say::answer(&container_table(session, &mut images, &found).await?)?,
    }
    Ok(Outcome::Done)
}

async fn container_table(
    session: &Session,
    images: &mut Images,
    found: &[api::Container],
) -> Result<String, Error> {
    let whole = session.given.on("no-trunc");
    let mut table = Table::new();
    table.row(["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"]);
    for one in found {
        let mut image = one.image.as_ref().map_or("", |image| image.image.as_str()).to_owned();
        if let Some(hex) = digest_hex(&image).filter(|_| !whole) {
            image = short(hex, "").to_owned();
        }
        if session.given.on("resolve-image-path") {
            let known = image_status(session, images, &image, false).await?.image;
            image = known.and_then(|known| known.repo_tags.into_iter().next()).unwrap_or(image);
        }
        let cut = |id: &str| if whole { id.to_owned() } else { short(id, "").to_owned() };
        let metadata = one.metadata.clone().unwrap_or_default();
        table.row([
            cut(&one.id),
            image,
            ago(one.created_at),
            container_state(one.state()).to_owned(),
            metadata.name,
            metadata.attempt.to_string(),
            cut(&one.pod_sandbox_id),
            label(one, "io.kubernetes.pod.name").to_owned(),
            label(one, "io.kubernetes.pod.namespace").to_owned(),
        ]);
    }
    Ok(table.text())
}

/// The hex of `sha256:hex` and its kin; nothing for names and bare hex.
fn digest_hex(image: &str) -> Option<&str> {
    let (algorithm, hex) = image.split_once(':')?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return None,
    };
    let fits = hex.len() == length && hex.bytes().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
    fits.then_some(hex)
}

fn container_block(one: &api::Container) -> String {
    let mut out = format!(
        "ID: {}\nPodID: {}\nNamespace: {}\n",
        one.id,
        one.pod_sandbox_id,
        label(one, "io.kubernetes.pod.namespace")
    );
    if let Some(metadata) = &one.metadata {
        if !metadata.name.is_empty() {
            out.push_str(&format!("Name: {}\n", metadata.name));
        }
        out.push_str(&format!("Attempt: {}\n", metadata.attempt));
    }
    out.push_str(&format!("State: {}\n", container_state(one.state())));
    if let Some(image) = &one.image {
        out.push_str(&format!("Image: {}\n", image.image));
    }
    out.push_str(&format!("Created: {}\n", ago(one.created_at)));
    out.push_str(&show::pairs("Labels", &one.labels));
    out.push_str(&show::pairs("Annotations", &one.annotations));
    out.push('\n');
    out
}

fn container_state(state: api::ContainerState) -> &'static str {
    match state {
        api::ContainerState::ContainerCreated => "Created",
        api::ContainerState::ContainerRunning => "Running",
        api::ContainerState::ContainerExited => "Exited",
        api::ContainerState::ContainerUnknown => "Unknown",
    }
}

pub(super) async fn pods(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let mut runtime = session.runtime().await?;
    let found = select::pods(session, &mut runtime, &Filters::of(given)?).await?;
    let answer = |items| api::ListPodSandboxResponse { items };
    match show::list_format(given.text("output"))? {
        "json" => show::json("ListPodSandboxResponse", &answer(found))?,
        "yaml" => show::yaml("ListPodSandboxResponse", &answer(found))?,
        _ if given.on("quiet") => {
            say::answer(&found.iter().map(|one| format!("{}\n", one.id)).collect::<String>())?;
        }
        _ if given.on("verbose") => say::answer(&found.iter().map(pod_block).collect::<String>())?,
        _ => say::answer(&pod_table(&found, given.on("no-trunc")))?,
    }
    Ok(Outcome::Done)
}

fn pod_table(found: &[api::PodSandbox], whole: bool) -> String {
    let mut table = Table::new();
    table.row(["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"]);
    for one in found {
        let metadata = one.metadata.clone().unwrap_or_default();
        table.row([
            if whole { one.id.clone() } else { short(&one.id, "").to_owned() },
            ago(one.created_at),
            pod_state(one.state()).to_owned(),
            metadata.name,
            metadata.namespace,
            metadata.attempt.to_string(),
            handler(one).to_owned(),
        ]);
    }
    table.text()
}

fn pod_block(one: &api::PodSandbox) -> String {
    let mut out = format!("ID: {}\n", one.id);
    let metadata = one.metadata.clone().unwrap_or_default();
    let named = [("Name", &metadata.name), ("UID", &metadata.uid), ("Namespace", &metadata.namespace)];
    for (title, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("{title}: {value}\n"));
    }
    if metadata.attempt != 0 {
        out.push_str(&format!("Attempt: {}\n", metadata.attempt));
    }
    out.push_str(&format!("Status: {}\nCreated: {}\n", pod_state(one.state()), go_time(one.created_at)));
    out.push_str(&show::pairs("Labels", &one.labels));
    out.push_str(&show::pairs("Annotations", &one.annotations));
    out.push_str(&format!("Runtime: {}\n\n", handler(one)));
    out
}

fn pod_state(state: api::PodSandboxState) -> &'static str {
    match state {
        api::PodSandboxState::SandboxReady => "Ready",
        api::PodSandboxState::SandboxNotready => "NotReady",
    }
}

fn handler(pod: &api::PodSandbox) -> &str {
    if pod.runtime_handler.is_empty() { "(default)" } else { &pod.runtime_handler }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_whole_digest_is_cut() {
        let hex = "a".repeat(64);
        assert_eq!(super::digest_hex(&format!("sha256:{hex}")), Some(hex.as_str()));
        for other in [hex.as_str(), "busybox:latest", "sha256:abc", "md5:aaaa"] {
            assert_eq!(super::digest_hex(other), None, "{other}");
        }
    }
}
