//! `images`, `inspecti`, `imagefsinfo`, `pull` and `rmi`.

use ochre_cri_api as api;
use regex::Regex;
use std::collections::BTreeMap;

use super::{Outcome, inspect::format, short, together};
use crate::credentials::credentials;
use crate::engine::{Images, Session, within};
use crate::error::{Error, chain};
use crate::schema::{Style, to_json};
use crate::select::{image_status, labels};
use crate::tabs::Table;
use crate::units::size;
use crate::{load, say, show};

pub(super) async fn list(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if given.arguments.len() > 1 {
        return Ok(Outcome::Help);
    }
    let mut service = session.images().await?;
    let images = found(session, &mut service, given.first()).await?;
    match given.text("output") {
        "json" => show::json("ListImagesResponse", &api::ListImagesResponse { images })?,
        "yaml" => show::yaml("ListImagesResponse", &api::ListImagesResponse { images })?,
        _ if given.on("quiet") => {
            say::answer(&images.iter().map(|image| format!("{}\n", image.id)).collect::<String>())?;
        }
        _ if given.on("verbose") => say::answer(&images.iter().map(block).collect::<String>())?,
        _ => say::answer(&table(session, &images))?,
    }
    Ok(Outcome::Done)
}

/// The images with a name, sorted and filtered.
async fn found(session: &Session, service: &mut Images, name: &str) -> Result<Vec<api::Image>, Error> {
    let image = api::ImageSpec { image: name.to_owned(), ..Default::default() };
    let request = api::ListImagesRequest { filter: Some(api::ImageFilter { image: Some(image) }) };
    let mut images = session.call("listing images", service.list_images(request)).await?.images;
    images.sort_by(order);
    for filter in session.given.list("filter") {
        images = filtered(images, filter)?;
    }
    Ok(images)
}

/// By the first tag; two images of which one has none by digest, then id.
fn order(left: &api::Image, right: &api::Image) -> std::cmp::Ordering {
    let both = |names: fn(&api::Image) -> &Vec<String>| names(left).first().zip(names(right).first());
    match both(|image| &image.repo_tags).or_else(|| both(|image| &image.repo_digests)) {
        Some((left, right)) => left.cmp(right),
        None => left.id.cmp(&right.id),
    }
}

fn filtered(mut images: Vec<api::Image>, filter: &str) -> Result<Vec<api::Image>, Error> {
    let unknown = || Error::arguments(format!("unknown filter flag: {filter}"));
    let (key, value) = filter.split_once('=').ok_or_else(unknown)?;
    match key {
        "before" => {
            images.reverse();
            images = until(images, value);
            images.reverse();
        }
        "since" => images = until(images, value),
        "dangling" => match value {
            "true" => images.retain(|image| image.repo_tags.is_empty()),
            "false" => images.retain(|image| !image.repo_tags.is_empty()),
            _ => images.clear(),
        },
        "reference" => {
            let pattern =
                Regex::new(value).map_err(|error| Error::arguments(format!("{filter}: {error}")))?;
            images.retain(|image| pattern.is_match(digest(image).0) || digest(image).0 == value);
        }
        _ => return Err(unknown()),
    }
    Ok(images)
}

/// Those in front of the one that is meant: `name:tag`, `name@digest` or an id's beginning.
fn until(images: Vec<api::Image>, meant: &str) -> Vec<api::Image> {
    let mut out = Vec::new();
    for image in images {
        let (reached, kept) = match (meant.contains(':'), meant.contains('@')) {
            (true, false) => {
                let first = tags(&image).into_iter().next().unwrap_or_default();
                (format!("{}:{}", first.0, first.1) == meant, true)
            }
            (true, true) => {
                let first = image.repo_digests.first();
                (first.is_some_and(|digest| digest.starts_with(meant)), first.is_some())
            }
            (false, false) => (image.id.starts_with(meant), true),
            (false, true) => (false, false),
        };
        if reached {
            break;
        }
        if kept {
            out.push(image);
        }
    }
    out
}

/// Repository and digest of the first digest.
fn digest(image: &api::Image) -> (&str, &str) {
    let Some(first) = image.repo_digests.first() else { return ("<none>", "<none>") };
    let pair = first.split_once('@').filter(|(_, digest)| !digest.contains('@'));
    pair.unwrap_or(("errorName", "errorRepoDigest"))
}

/// Repository and tag of each tag; an image without tags has one row all the same.
fn tags(image: &api::Image) -> Vec<(String, String)> {
    let name = digest(image).0;
    if image.repo_tags.is_empty() {
        return vec![(name.to_owned(), "<none>".to_owned())];
    }
    let pair = |tag: &String| match tag.rsplit_once(':') {
        Some(("<none>", tag)) => (name.to_owned(), tag.to_owned()),
        Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
        None => ("errorRepoTag".to_owned(), "errorRepoTag".to_owned()),
    };
    image.repo_tags.iter().map(pair).collect()
}

fn table(session: &Session, images: &[api::Image]) -> String {
    let given = &session.given;
    let (digests, pinned, whole) = (given.on("digests"), given.on("pinned"), given.on("no-trunc"));
    let row = |tag: [String; 2], digest: String, id: [String; 2], pin: String| {
        let middle = digests.then_some(digest);
        tag.into_iter().chain(middle).chain(id).chain(pinned.then_some(pin)).collect::<Vec<String>>()
    };
    let mut table = Table::new();
    let head = |text: &str| text.to_owned();
    table.row(row(
        [head("IMAGE"), head("TAG")],
        head("DIGEST"),
        [head("IMAGE ID"), head("SIZE")],
        head("PINNED"),
    ));
    for image in images {
        let cut = |id: &str| if whole { id.to_owned() } else { short(id, "sha256:").to_owned() };
        for (repository, tag) in tags(image) {
            table.row(row(
                [repository, tag],
                cut(digest(image).1),
                [cut(&image.id), size(image.size, 3)],
                image.pinned.to_string(),
            ));
        }
    }
    table.text()
}

fn block(image: &api::Image) -> String {
    let mut out = format!("ID: {}\n", image.id);
    for tag in &image.repo_tags {
        out.push_str(&format!("RepoTags: {tag}\n"));
    }
    for digest in &image.repo_digests {
        out.push_str(&format!("RepoDigests: {digest}\n"));
    }
    if image.size != 0 {
        out.push_str(&format!("Size: {}\n", image.size));
    }
    if let Some(uid) = &image.uid {
        out.push_str(&format!("Uid: value:{}\n", uid.value));
    }
    if !image.username.is_empty() {
        out.push_str(&format!("Username: {}\n", image.username));
    }
    if image.pinned {
        out.push_str("Pinned: true\n");
    }
    out.push('\n');
    out
}

pub(super) async fn inspect(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let mut service = session.images().await?;
    let mut ids = given.arguments.clone();
    if ids.is_empty() {
        let images = found(session, &mut service, given.text("name")).await?;
        ids = images.into_iter().map(|image| image.id).collect();
    }
    if ids.is_empty() {
        say::failure("No IDs provided or nothing found per filter");
        return Ok(Outcome::Help);
    }
    let verbose = !given.on("quiet");
    let mut statuses = Vec::new();
    for id in ids {
        let answer = image_status(session, &mut service, &id, verbose).await?;
        let image = answer.image.ok_or(Error::NoImage { image: id })?;
        if given.text("output") == "table" {
            let mut out = format!("ID: {}\n", image.id);
            out.extend(image.repo_tags.iter().map(|tag| format!("Tag: {tag}\n")));
            out.extend(image.repo_digests.iter().map(|digest| format!("Digest: {digest}\n")));
            out.push_str(&format!("Size: {}\n", size(image.size, 3)));
            if verbose {
                out.push_str(&show::info_line(&answer.info));
            }
            say::answer(&out)?;
        } else {
            statuses.push(show::with_info(to_json("Image", &image, Style::Proto), &answer.info)?);
        }
    }
    show::statuses(statuses, format(given.text("output")), given.text("template"))?;
    Ok(Outcome::Done)
}

pub(super) async fn filesystems(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let mut service = session.images().await?;
    let request = api::ImageFsInfoRequest::default();
    let answer = session.call("image filesystem info request", service.image_fs_info(request)).await?;
    if given.text("output") == "table" {
        let mut out = filesystem("Container", &answer.container_filesystems);
        out.push_str(&filesystem("Image", &answer.image_filesystems));
        say::answer(&out)?;
    } else {
        let status = to_json("ImageFsInfoResponse", &answer, Style::Proto);
        let shown = show::with_info(status, &BTreeMap::new())?;
        show::statuses(vec![shown], format(given.text("output")), given.text("template"))?;
    }
    Ok(Outcome::Done)
}

fn filesystem(title: &str, usages: &[api::FilesystemUsage]) -> String {
    let mut out = format!("{title} Filesystem \n");
    for (at, usage) in usages.iter().enumerate() {
        let number = |value: &Option<api::UInt64Value>| value.as_ref().map_or(0, |value| value.value);
        let mountpoint = usage.fs_id.as_ref().map_or("", |id| id.mountpoint.as_str());
        out.push_str(&format!(
            "TimeStamp[{at}]: {}\nDisk[{at}]: {}\nInodes[{at}]: {}\nMountpoint[{at}]: {mountpoint}\n",
            usage.timestamp,
            size(number(&usage.used_bytes), 4),
            number(&usage.inodes_used),
        ));
    }
    out
}

pub(super) async fn pull(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if given.first().is_empty() {
        return Err(Error::arguments("image name cannot be empty"));
    }
    if given.arguments.len() > 1 {
        return Ok(Outcome::Help);
    }
    let mut service = session.images().await?;
    let auth = credentials(given)?;
    let pod = match given.text("pod-config") {
        "" => None,
        path => Some(load::pod(path)?),
    };
    let image = api::ImageSpec {
        image: given.first().to_owned(),
        annotations: labels(given.list("annotation"))?,
        ..Default::default()
    };
    let reference = pull_one(session, &mut service, image, auth, pod).await?;
    say::answer(&format!("Image is up to date for {reference}\n"))?;
    Ok(Outcome::Done)
}

/// Pulls an image; the answer is its reference. It takes as long as it takes, or as `--pull-timeout` says.
///
/// # Errors
/// What the engine said.
pub(super) async fn pull_one(
    session: &Session,
    service: &mut Images,
    image: api::ImageSpec,
    auth: Option<api::AuthConfig>,
    pod: Option<api::PodSandboxConfig>,
) -> Result<String, Error> {
    let limit = Some(session.given.duration("pull-timeout")).filter(|limit| !limit.is_zero());
    let request = api::PullImageRequest { image: Some(image), auth, sandbox_config: pod };
    Ok(within(limit, "pulling image", service.pull_image(request)).await?.image_ref)
}

pub(super) async fn remove(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let (all, prune) = (given.on("all"), given.on("prune"));
    let mut service = session.images().await?;
    let mut ids: Vec<String> = given.arguments.clone();
    if all || prune {
        let request = api::ListImagesRequest::default();
        let images = session.call("listing images", service.list_images(request)).await?.images;
        ids.extend(images.into_iter().filter(|image| !(prune && image.pinned)).map(|image| image.id));
    }
    if ids.is_empty() {
        if !(all || prune) {
            return Ok(Outcome::Help);
        }
        say::note("No images to remove");
        return Ok(Outcome::Done);
    }
    if prune {
        let used = used(session, &mut service).await?;
        ids.retain(|id| !used.contains(id));
    }
    ids.sort();
    ids.dedup();
    let mut errors = Vec::new();
    for id in ids {
        errors.extend(remove_one(session, &mut service, &id, prune).await.err());
    }
    together(errors)
}

/// The ids of the images that containers use.
async fn used(session: &Session, service: &mut Images) -> Result<Vec<String>, Error> {
    let mut runtime = session.runtime().await?;
    let request = api::ListContainersRequest::default();
    let containers = session.call("listing containers", runtime.list_containers(request)).await?.containers;
    let mut used = Vec::new();
    for container in containers {
        let image = container.image.unwrap_or_default().image;
        match image_status(session, service, &image, false).await {
            Ok(answer) => used.extend(answer.image.map(|image| image.id)),
            Err(error) => say::failure(&chain(&error)),
        }
    }
    Ok(used)
}

async fn remove_one(session: &Session, service: &mut Images, id: &str, prune: bool) -> Result<(), Error> {
    let known = image_status(session, service, id, false).await?.image;
    let known = known.ok_or_else(|| Error::NoImage { image: id.to_owned() })?;
    if known.repo_tags.len() > 1 && !id.starts_with("sha256:") && id.contains([':', '/']) {
        say::warning(&format!("Image {id:?} goes with all its tags: {}", known.repo_tags.join(", ")));
    }
    let spec = api::ImageSpec { image: id.to_owned(), ..Default::default() };
    let request = api::RemoveImageRequest { image: Some(spec) };
    match session.call(format!("error of removing image {id:?}"), service.remove_image(request)).await {
        // Whoever prunes wants what can go to go; something may have come into use meanwhile.
        Err(_) if prune => return Ok(()),
        other => drop(other?),
    }
    let names = if known.repo_tags.is_empty() { &known.repo_digests } else { &known.repo_tags };
    say::answer(&names.iter().map(|name| format!("Deleted: {name}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str], digests: &[&str]) -> api::Image {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        api::Image {
            id: id.into(),
            repo_tags: owned(tags),
            repo_digests: owned(digests),
            ..Default::default()
        }
    }

    #[test]
    fn filters_are_applied_in_order_to_the_sorted_list() {
        let all = vec![
            image("1", &["a:1"], &["a@sha256:1"]),
            image("2", &["b:1", "c:2"], &["b@sha256:2"]),
            image("3", &[], &["d@sha256:3"]),
        ];
        let ids = |filter: &str| -> Result<String, Error> {
            Ok(filtered(all.clone(), filter)?.iter().map(|image| image.id.as_str()).collect())
        };
        for (filter, kept) in [
            ("dangling=true", "3"),
            ("dangling=false", "12"),
            ("dangling=x", ""),
            ("reference=^b$", "2"),
            ("since=b:1", "1"),
            ("before=b:1", "3"),
            ("since=3", "12"),
            ("since=b@sha256:2", "1"),
        ] {
            assert_eq!(ids(filter).unwrap(), kept, "{filter}");
        }
        assert!(ids("x=y").is_err() && ids("dangling").is_err() && ids("reference=(").is_err());
    }

    #[test]
    fn names_that_are_missing_or_broken_have_their_words() {
        assert_eq!(tags(&image("1", &[], &[])), [("<none>".to_owned(), "<none>".to_owned())]);
        assert_eq!(tags(&image("1", &["<none>:x"], &["r@sha256:1"])), [("r".to_owned(), "x".to_owned())]);
        assert_eq!(tags(&image("1", &["plain"], &[]))[0].0, "errorRepoTag");
        assert_eq!(digest(&image("1", &[], &["bad"])), ("errorName", "errorRepoDigest"));
    }
}
