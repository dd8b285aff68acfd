//! Runtime handlers: which OCI runtimes there are, and what each can do.
//!
//! ```text
//! configured tables ─┐
//! crun, runc in PATH ┼─> probe: <path> --version, <path> features ─┬─> Handlers
//! built-in `ochre` ──┘                                             └─> warnings for those that do not answer
//! ```
//!
//! A configured handler that does not work is left out with a warning, unless it is the default: then the engine does
//! not start (CRI-O's rule). `crun` and `runc` are there without any configuration when they are installed.

mod error;
mod features;
mod probe;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spec::seccomp::SeccompProfile;
use crate::spec::{DEFAULT_ALLOWED_ANNOTATIONS, HostDevices};

pub use error::HandlerError;
pub use features::HandlerFeatures;

/// Name of the engine's own handler, and the default when no configuration names one.
pub const BUILT_IN: &str = "ochre";
const BUILT_IN_ROOT: &str = "/run/ochre-runtime";
/// `--root` of a configured handler that names none, whatever its runtime (CRI-O).
const DEFAULT_ROOT: &str = "/run/crun";
/// Handlers that need no table, and their roots.
const INSTALLED: [(&str, &str); 2] = [("crun", "/run/crun"), ("runc", "/run/runc")];

/// How a handler is driven (`runtime_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandlerType {
    /// An OCI command-line runtime.
    #[default]
    Oci,
    /// A shim-v2 virtual machine runtime; not supported yet.
    Vm,
    /// CRI-O's pod monitor; our monitor is always one per pod, so the type means nothing here.
    Pod,
}

impl HandlerType {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Vm => "vm",
            Self::Pod => "pod",
        }
    }
}

/// A `[crio.runtime.runtimes.<name>]` table, as far as it concerns execution.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandlerConfig {
    /// `runtime_path`; `None` searches `$PATH` for the handler's name.
    pub path: Option<PathBuf>,
    /// `runtime_root`; `None` is `/run/crun`.
    pub root: Option<PathBuf>,
    /// `runtime_type`.
    pub kind: HandlerType,
    /// `seccomp_profile`: replaces the node's runtime default for this handler's containers.
    pub seccomp_profile: Option<PathBuf>,
    /// `privileged_without_host_devices`.
    pub host_devices: HostDevices,
    /// `allowed_annotations`: what pods may ask for by annotation. Without a table the default handler acts on
    /// [`DEFAULT_ALLOWED_ANNOTATIONS`], another one on none.
    pub allowed_annotations: Option<Vec<String>>,
}

/// A usable handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Its name.
    pub name: String,
    /// The runtime to execute, absolute.
    pub path: PathBuf,
    /// Its `--root`.
    pub root: PathBuf,
    /// What it can do.
    pub features: HandlerFeatures,
    /// Its own runtime default seccomp profile.
    pub seccomp: Option<SeccompProfile>,
    /// Which host devices its privileged containers get.
    pub host_devices: HostDevices,
    /// Annotations it acts on.
    pub allowed_annotations: Vec<String>,
}

/// What the table of handlers is made from.
#[derive(Debug, Clone, Copy)]
pub struct HandlerSources<'a> {
    /// The configured tables.
    pub configured: &'a BTreeMap<String, HandlerConfig>,
    /// `default_runtime`; `None` or empty is the engine's own.
    pub default: Option<&'a str>,
    /// The engine's own OCI runtime.
    pub built_in: &'a Path,
    /// `$PATH`.
    pub search_path: &'a OsStr,
}

impl<'a> HandlerSources<'a> {
    fn default_name(&self) -> &'a str {
        self.default.filter(|name| !name.is_empty()).unwrap_or(BUILT_IN)
    }
}

/// All usable handlers.
#[derive(Debug, Clone)]
pub struct Handlers {
    by_name: BTreeMap<String, Arc<Handler>>,
    default: Arc<Handler>,
}

impl Handlers {
    /// Finds and asks all handlers, at the same time. The second value holds why others were left out.
    ///
    /// # Errors
    /// [`HandlerError::Unknown`] when the default names no handler, [`HandlerError::Default`] when it does not work.
    pub fn probe(sources: HandlerSources<'_>) -> Result<(Self, Vec<HandlerError>), HandlerError> {
        let default_name = sources.default_name();
        let wanted = wanted(&sources);
        let results: Vec<(&String, Result<Handler, HandlerError>)> = std::thread::scope(|scope| {
            let running: Vec<_> = wanted
                .iter()
                .map(|(name, config)| {
                    (name, scope.spawn(|| probe::handler(name, config, sources.search_path)))
                })
                .collect();
            let joined = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            running.into_iter().map(|(name, thread)| (name, joined(thread))).collect()
        });
        let mut by_name = BTreeMap::new();
        let mut left_out = Vec::new();
        for (name, result) in results {
            match result {
                Ok(handler) => drop(by_name.insert(name.clone(), Arc::new(handler))),
                Err(error) if name == default_name => {
                    return Err(HandlerError::Default { name: name.clone(), source: Box::new(error) });
                }
                Err(error) => left_out.push(error),
            }
        }
        match by_name.get(default_name).cloned() {
            Some(default) => Ok((Self { by_name, default }, left_out)),
            None => Err(unknown(default_name, &by_name)),
        }
    }

    /// The handler of a pod; an empty name is the default.
    ///
    /// # Errors
    /// [`HandlerError::Unknown`], which lists the known ones.
    pub fn get(&self, name: &str) -> Result<&Arc<Handler>, HandlerError> {
        if name.is_empty() {
            return Ok(&self.default);
        }
        self.by_name.get(name).ok_or_else(|| unknown(name, &self.by_name))
    }

    /// The handler of pods that name none.
    pub fn default_handler(&self) -> &Arc<Handler> {
        &self.default
    }

    /// All handlers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Handler>> {
        self.by_name.values()
    }
}

fn unknown(name: &str, known: &BTreeMap<String, Arc<Handler>>) -> HandlerError {
    HandlerError::Unknown {
        name: name.chars().take(100).collect(),
        known: known.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// The configured tables, plus those that need none.
fn wanted(sources: &HandlerSources<'_>) -> BTreeMap<String, HandlerConfig> {
    let mut wanted = sources.configured.clone();
    let built_in = wanted.entry(BUILT_IN.to_owned()).or_default();
    built_in.path.get_or_insert_with(|| sources.built_in.to_path_buf());
    built_in.root.get_or_insert_with(|| BUILT_IN_ROOT.into());
    for (name, root) in INSTALLED {
        if !wanted.contains_key(name) && probe::find(name, sources.search_path).is_some() {
            let config = HandlerConfig { root: Some(root.into()), ..HandlerConfig::default() };
            wanted.insert(name.to_owned(), config);
        }
    }
    if let Some(default) = wanted.get_mut(sources.default_name()) {
        let usual = || DEFAULT_ALLOWED_ANNOTATIONS.map(str::to_owned).to_vec();
        default.allowed_annotations.get_or_insert_with(usual);
    }
    wanted
}

#[cfg(test)]
mod tests;
