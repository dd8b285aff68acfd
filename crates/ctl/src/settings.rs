//! Which engine, and how long to wait for it: flags and environment, then the configuration file, then defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::parse::Parsed;
use crate::preferences::Preferences;
use crate::say;

/// Where engines are looked for when none is named.
pub(crate) const ENDPOINTS: [&str; 3] = [
    "unix:///run/containerd/containerd.sock",
    "unix:///run/crio/crio.sock",
    "unix:///var/run/cri-dockerd.sock",
];

const TIMEOUT: Duration = Duration::from_secs(2);

/// What is in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The engine's endpoint; `None` tries the usual ones.
    pub(crate) runtime: Option<String>,
    /// The image service's; `None` is the engine's.
    pub(crate) image: Option<String>,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// `create` pulls.
    pub(crate) pull_on_create: bool,
    /// `run` does not pull.
    pub(crate) no_pull_on_run: bool,
}

impl Settings {
    /// Reads the file and puts the flags on top.
    ///
    /// # Errors
    /// When a file that was named cannot be read. The default file may be missing, or be wrong: then it counts for nothing.
    pub(crate) fn load(flags: &Parsed) -> Result<Self, Error> {
        let path = PathBuf::from(flags.text("config"));
        let file = match read(&path) {
            Ok(file) => file,
            Err(error) if flags.is_set("config") => return Err(error),
            Err(_) => Preferences::default(),
        };
        let endpoint = |flag: &str, configured: &str| {
            if flags.is_set(flag) {
                Some(flags.text(flag).to_owned())
            } else {
                Some(configured.to_owned()).filter(|endpoint| !endpoint.is_empty())
            }
        };
        let configured =
            u64::try_from(file.timeout).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let given = flags.is_set("timeout").then(|| flags.duration("timeout"));
        let timeout = match given {
            Some(given) if given.is_zero() => TIMEOUT,
            Some(given) => given,
            None => configured.unwrap_or(TIMEOUT),
        };
        Ok(Self {
            runtime: endpoint("runtime-endpoint", &file.runtime_endpoint),
            image: endpoint("image-endpoint", &file.image_endpoint),
            timeout,
            pull_on_create: file.pull_image_on_create,
            no_pull_on_run: file.disable_pull_on_run,
        })
    }
}

/// The file, or the one beside the program when there is none.
fn read(path: &Path) -> Result<Preferences, Error> {
    if path.exists() {
        return Preferences::read(path);
    }
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.with_file_name("crictl.yaml");
    say::warning(&format!(
        "Config \"{}\" does not exist, trying next: \"{}\"",
        path.display(),
        beside.display()
    ));
    Preferences::read(&beside)
}

/// The socket of an endpoint.
///
/// # Errors
/// When it is not a unix socket's.
pub(crate) fn socket(endpoint: &str) -> Result<PathBuf, Error> {
    match endpoint.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        None if endpoint.starts_with('/') => Ok(PathBuf::from(endpoint)),
        _ => Err(Error::Endpoint { endpoint: endpoint.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_unix_socket_with_or_without_its_scheme() {
        assert_eq!(socket("unix:///run/x.sock").unwrap(), Path::new("/run/x.sock"));
        assert_eq!(socket("/run/x.sock").unwrap(), Path::new("/run/x.sock"));
        for wrong in ["tcp://127.0.0.1:1", "run/x.sock", "unix://x", ""] {
            assert!(socket(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.yaml");
        std::fs::write(&file, "runtime-endpoint: /a\ntimeout: 7\ndisable-pull-on-run: true\n").unwrap();
        let load = |line: &str| {
            let words: Vec<String> =
                format!("--config {} {line}", file.display()).split_whitespace().map(str::to_owned).collect();
            Settings::load(&crate::parse::parse(crate::spec::GLOBAL, false, &words).unwrap())
        };
        let settings = load("").unwrap();
        assert_eq!((settings.runtime.as_deref(), settings.timeout.as_secs()), (Some("/a"), 7));
        assert!(settings.no_pull_on_run && settings.image.is_none());
        let settings = load("-r /b -t 0s").unwrap();
        assert_eq!((settings.runtime.as_deref(), settings.timeout), (Some("/b"), TIMEOUT));
        std::fs::write(&file, "nonsense: 1\n").unwrap();
        assert!(load("").unwrap_err().to_string().contains("nonsense"));
        std::fs::remove_file(&file).unwrap();
        assert!(load("").is_err());
    }
}
