//! The commands, one function each; their names are in `spec`.

mod client;
mod create;
mod images;
mod inspect;
mod lifecycle;
mod list;
mod logs;
mod usage;

use crate::engine::Session;
use crate::error::Error;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked.
    Done,
    /// It was asked in a way that is answered by its help text.
    Help,
}

/// Carries out a command of the table.
///
/// # Errors
/// Whatever the command fails with.
pub(crate) async fn run(name: &str, session: &Session) -> Result<Outcome, Error> {
    match name {
        "checkpoint" => lifecycle::checkpoint(session).await,
        "completion" => client::completion(session),
        "config" => client::config(session),
        "create" => create::create(session).await,
        "events" => usage::events(session).await,
        "exec" => lifecycle::exec(session).await,
        "imagefsinfo" => images::filesystems(session).await,
        "images" => images::list(session).await,
        "info" => inspect::engine(session).await,
        "inspect" => inspect::containers(session).await,
        "inspecti" => images::inspect(session).await,
        "inspectp" => inspect::pods(session).await,
        "logs" => logs::logs(session).await,
        "metricdescs" => usage::descriptors(session).await,
        "metricsp" => usage::metrics(session).await,
        "pods" => list::pods(session).await,
        "ps" => list::containers(session).await,
        "pull" => images::pull(session).await,
        "rm" => lifecycle::remove_containers(session).await,
        "rmi" => images::remove(session).await,
        "rmp" => lifecycle::remove_pods(session).await,
        "run" => create::run(session).await,
        "runp" => create::run_pod(session).await,
        "runtime-config" => client::runtime_config(session).await,
        "start" => lifecycle::start(session).await,
        "stats" => usage::containers(session).await,
        "statsp" => usage::pods(session).await,
        "stop" => lifecycle::stop(session).await,
        "stopp" => lifecycle::stop_pods(session).await,
        "update" => lifecycle::update(session).await,
        "update-runtime-config" => client::update_runtime_config(session).await,
        "version" => client::version(session).await,
        other => Err(Error::UnknownCommand { name: other.to_owned() }),
    }
}

/// A message that an answer must have.
fn present<T>(message: Option<T>, what: &str) -> Result<T, Error> {
    message.ok_or_else(|| Error::Answer { what: format!("the engine's answer has no {what}") })
}

/// All failures of several targets as one.
fn together(mut errors: Vec<Error>) -> Result<Outcome, Error> {
    match errors.len() {
        0 => Ok(Outcome::Done),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

/// The first 13 characters of an id, its prefix taken off.
fn short<'a>(id: &'a str, prefix: &str) -> &'a str {
    let id = id.strip_prefix(prefix).unwrap_or(id);
    id.char_indices().nth(13).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_cut_to_13_characters() {
        assert_eq!(super::short("sha256:0123456789abcdef", "sha256:"), "0123456789abc");
        assert_eq!((super::short("abc", ""), super::short("", "")), ("abc", ""));
    }
}
