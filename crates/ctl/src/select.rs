//! Which pods and containers are meant: filters the engine applies, and those applied here.

use std::collections::BTreeMap;

use ochre_cri_api as api;
use regex::Regex;

use crate::engine::{Images, Runtime, Session};
use crate::error::Error;
use crate::parse::Parsed;

/// The filters of a command line.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    id: String,
    pod: String,
    name: String,
    namespace: String,
    state: String,
    image: String,
    labels: BTreeMap<String, String>,
    all: bool,
    /// How many of the newest, when that is limited.
    newest: Option<usize>,
}

impl Filters {
    /// What the flags say; a flag the command does not have counts as not given.
    ///
    /// # Errors
    /// Labels that are not `key=value`.
    pub(crate) fn of(given: &Parsed) -> Result<Self, Error> {
        let last = usize::try_from(given.number("last")).ok().filter(|last| *last > 0);
        Ok(Self {
            id: given.text("id").to_owned(),
            pod: given.text("pod").to_owned(),
            name: given.text("name").to_owned(),
            namespace: given.text("namespace").to_owned(),
            state: given.text("state").to_lowercase(),
            image: given.text("image").to_owned(),
            labels: labels(given.list("label"))?,
            all: given.on("all"),
            newest: last.or_else(|| given.on("latest").then_some(1)),
        })
    }

    /// The running ones, nothing else asked.
    pub(crate) fn running() -> Self {
        Self { state: "running".into(), ..Self::default() }
    }

    fn container_filter(&self) -> Result<api::ContainerFilter, Error> {
        use api::ContainerState as State;
        let state = match self.state.as_str() {
            "" if self.all => None,
            "" | "running" => Some(State::ContainerRunning),
            "created" => Some(State::ContainerCreated),
            "exited" => Some(State::ContainerExited),
            "unknown" => Some(State::ContainerUnknown),
            other => {
                let possible = "created, running, exited, unknown";
                return Err(Error::Choice { what: "--state", value: other.to_owned(), possible });
            }
        };
        let state = state.filter(|_| self.newest.is_none());
        Ok(api::ContainerFilter {
            id: self.id.clone(),
            state: state.map(|state| api::ContainerStateValue { state: state as i32 }),
            pod_sandbox_id: self.pod.clone(),
            label_selector: self.labels.clone(),
        })
    }

    fn pod_filter(&self) -> Result<api::PodSandboxFilter, Error> {
        let state = match self.state.as_str() {
            "" => None,
            "ready" => Some(api::PodSandboxState::SandboxReady),
            "notready" => Some(api::PodSandboxState::SandboxNotready),
            other => {
                let possible = "ready, notready";
                return Err(Error::Choice { what: "--state", value: other.to_owned(), possible });
            }
        };
        Ok(api::PodSandboxFilter {
            id: self.id.clone(),
            state: state.map(|state| api::PodSandboxStateValue { state: state as i32 }),
            label_selector: self.labels.clone(),
        })
    }

    fn newest<T>(&self, mut found: Vec<T>, created: impl Fn(&T) -> i64) -> Vec<T> {
        found.sort_by_key(|one| std::cmp::Reverse(created(one)));
        found.truncate(self.newest.unwrap_or(usize::MAX));
        found
    }
}

/// The containers meant, newest first. `images` is needed for `--image`.
///
/// # Errors
/// A wrong filter, or what the engine said.
pub(crate) async fn containers(
    session: &Session,
    runtime: &mut Runtime,
    images: Option<&mut Images>,
    filters: &Filters,
) -> Result<Vec<api::Container>, Error> {
    let request = api::ListContainersRequest { filter: Some(filters.container_filter()?) };
    let found = session.call("listing containers", runtime.list_containers(request)).await?.containers;
    let (name, namespace) = (Pattern::new(&filters.name), Pattern::new(&filters.namespace));
    let mut kept = Vec::new();
    for container in found {
        let named = container.metadata.as_ref().is_some_and(|metadata| name.fits(&metadata.name));
        if named && namespace.fits(label(&container, "io.kubernetes.pod.namespace")) {
            kept.push(container);
        }
    }
    if let Some(images) = images.filter(|_| !filters.image.is_empty()) {
        let wanted = image_id(session, images, &filters.image).await?;
        let mut of_image = Vec::new();
        for container in kept {
            let image = container.image.as_ref().map_or("", |image| image.image.as_str());
            if wanted.is_some() && image_id(session, images, image).await? == wanted {
                of_image.push(container);
            }
        }
        kept = of_image;
    }
    Ok(filters.newest(kept, |container| container.created_at))
}

/// The pods meant, newest first.
///
/// # Errors
/// A wrong filter, or what the engine said.
pub(crate) async fn pods(
    session: &Session,
    runtime: &mut Runtime,
    filters: &Filters,
) -> Result<Vec<api::PodSandbox>, Error> {
    let request = api::ListPodSandboxRequest { filter: Some(filters.pod_filter()?) };
    let found = session.call("listing pod sandboxes", runtime.list_pod_sandbox(request)).await?.items;
    let (name, namespace) = (Pattern::new(&filters.name), Pattern::new(&filters.namespace));
    let fits = |pod: &api::PodSandbox| {
        pod.metadata.as_ref().is_some_and(|data| name.fits(&data.name) && namespace.fits(&data.namespace))
    };
    Ok(filters.newest(found.into_iter().filter(fits).collect(), |pod| pod.created_at))
}

async fn image_id(session: &Session, images: &mut Images, image: &str) -> Result<Option<String>, Error> {
    let found = image_status(session, images, image, false).await?;
    Ok(found.image.map(|image| image.id))
}

/// The status of an image; one that is not there has no `image`.
///
/// # Errors
/// What the engine said.
pub(crate) async fn image_status(
    session: &Session,
    images: &mut Images,
    image: &str,
    verbose: bool,
) -> Result<api::ImageStatusResponse, Error> {
    let spec = api::ImageSpec { image: image.to_owned(), ..Default::default() };
    let request = api::ImageStatusRequest { image: Some(spec), verbose };
    session.call(format!("image status for {image:?} request"), images.image_status(request)).await
}

/// A label that the kubelet puts on every container, or `unknown`.
pub(crate) fn label<'a>(container: &'a api::Container, name: &str) -> &'a str {
    container.labels.get(name).map_or("unknown", String::as_str)
}

/// `key=value` pairs.
///
/// # Errors
/// The first that is none.
pub(crate) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, Error> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !value.contains('=') => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::arguments(format!("incorrectly specified label: {pair}"))),
        })
        .collect()
}

/// A regular expression; an empty one fits everything, a wrong one nothing.
enum Pattern {
    Any,
    None,
    Regex(Regex),
}

impl Pattern {
    fn new(text: &str) -> Self {
        match Regex::new(text) {
            _ if text.is_empty() => Self::Any,
            Ok(regex) => Self::Regex(regex),
            Err(_) => Self::None,
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(command: &str, line: &str) -> Result<Filters, Error> {
        let command = crate::spec::COMMANDS.iter().find(|one| one.is(command)).unwrap();
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Filters::of(&crate::parse::parse(command.flags, true, &words)?)
    }

    #[test]
    fn ps_asks_for_running_ones_unless_told_otherwise() {
        let state = |line: &str| {
            filters("ps", line).unwrap().container_filter().unwrap().state.map(|state| state.state)
        };
        assert_eq!(state(""), Some(api::ContainerState::ContainerRunning as i32));
        assert_eq!(state("--state Exited"), Some(api::ContainerState::ContainerExited as i32));
        assert_eq!((state("-a"), state("-l"), state("-n 2 --state running")), (None, None, None));
        assert!(filters("ps", "--state x").unwrap().container_filter().is_err());
        assert!(filters("pods", "--state running").unwrap().pod_filter().is_err());
        assert_eq!(filters("ps", "-l -n 3").unwrap().newest, Some(3));
    }

    #[test]
    fn a_wrong_pattern_fits_nothing_and_none_fits_everything() {
        assert!(
            Pattern::new("").fits("x") && Pattern::new("^a.c$").fits("abc") && Pattern::new("b").fits("abc")
        );
        assert!(!Pattern::new("(").fits("(") && !Pattern::new("^b").fits("abc"));
        assert!(
            labels(&["a=b".into(), "c=".into()]).is_ok()
                && labels(&["a".into()]).is_err()
                && labels(&["a=b=c".into()]).is_err()
        );
    }
}
