//! The pod network of a node: what is configured, whether it is usable, and the verbs of the other files.
//!
//! ```text
//!                 first file that loads, or the one named ──→ Cni      (ready when its plugins are there and, for
//!  network_dir ──┤                                                      version 1.1, answer STATUS)
//!                 no file at all, built-in network enabled ─→ Native   (ready)
//!                 otherwise ────────────────────────────────→ NotReady (with the reason)
//! ```
//!
//! A thread watches the directories and publishes a new [`Selection`]; reading it never waits for anything slow.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::cni::Version;
use crate::cni::chain;
use crate::cni::conf::{Loaded, NetworkList, NetworkName, load_dir};
use crate::cni::exec::Deadline;
use crate::config::Config;
use crate::error::{Error, NotReady, chain as words};
use crate::hostport::{self, HostPorts};
use crate::native::{self, Native};
use crate::record::Records;
use crate::state_dir;
use crate::watch::Watcher;

/// How long a plugin may think about STATUS.
const STATUS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The pod network. Cheap to clone; the watcher ends with the last clone.
#[derive(Debug, Clone)]
pub struct Network {
    pub(crate) shared: Arc<Shared>,
    /// Ends its thread when dropped.
    _watcher: Arc<Watcher>,
}

/// What the verbs and the watcher work with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) native: Native,
    pub(crate) host_ports: HostPorts,
    pub(crate) records: Records,
    selected: RwLock<Arc<Selection>>,
}

/// The network in use and how it came to be.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) network: Selected,
    files: Vec<Loaded>,
    /// Why the selected network cannot be used now.
    unusable: Option<NotReady>,
}

/// The network in use.
#[derive(Debug)]
pub(crate) enum Selected {
    /// A configured one.
    Cni(Arc<NetworkList>),
    /// The built-in one.
    Native,
    /// None.
    Nothing(NotReady),
}

impl Network {
    /// Loads the configurations and the records of an earlier life, and starts to watch.
    ///
    /// # Errors
    /// The state directory cannot be used, or the directories cannot be watched. Bad configurations are no error here:
    /// [`Network::status`] tells of them.
    pub fn open(config: Config) -> Result<Self, Error> {
        state_dir::start_boot(&config.state_dir)
            .map_err(|source| Error::State { path: config.state_dir.clone(), source })?;
        let shared = Shared {
            native: Native::open(config.native.clone(), &config.state_dir)?,
            host_ports: HostPorts::open(&config.state_dir, config.native.table(hostport::TABLE))?,
            records: Records::open(&config.state_dir)?,
            selected: RwLock::new(Arc::new(Selection::nothing())),
            config,
        };
        let shared = Arc::new(shared);
        // Watching starts before reading: a change in between is seen by one or the other.
        let watcher = Watcher::start(Arc::clone(&shared))?;
        Ok(Self { shared, _watcher: Arc::new(watcher) })
    }

    /// The network pods are connected to now. Answers from memory.
    ///
    /// # Errors
    /// Why there is none.
    pub fn status(&self) -> Result<NetworkName, NotReady> {
        let selection = self.shared.selection();
        if let Some(reason) = &selection.unusable {
            return Err(reason.clone());
        }
        match &selection.network {
            Selected::Cni(list) => Ok(list.name.clone()),
            Selected::Native => {
                NetworkName::parse(native::NAME).map_err(|fault| NotReady { reason: words(&fault) })
            }
            Selected::Nothing(reason) => Err(reason.clone()),
        }
    }

    /// Everything known about the network, for a verbose status.
    pub fn describe(&self) -> Value {
        let selection = self.shared.selection();
        let config = &self.shared.config;
        let files: Vec<Value> = selection
            .files
            .iter()
            .map(|loaded| match &loaded.list {
                Ok(list) => json!({"file": loaded.file, "name": list.name.as_str(), "config": list.value}),
                Err(fault) => json!({"file": loaded.file, "error": words(fault)}),
            })
            .collect();
        let status = self.status();
        json!({
            "ready": status.is_ok(),
            "network": status.as_ref().map(NetworkName::as_str).ok(),
            "reason": status.as_ref().err().map(|not_ready| &not_ready.reason),
            "networkDir": config.network_dir,
            "pluginDirs": config.plugin_dirs,
            "defaultNetwork": config.default_network,
            "files": files,
            "builtIn": {
                "enabled": config.native.enabled,
                "bridge": config.native.bridge,
                "subnets": config.native.subnets.iter().map(|subnet| subnet.to_string()).collect::<Vec<_>>(),
            },
        })
    }

    /// Removes the bridge and all tables of the firewall that this crate makes. For a node without pods of this engine;
    /// everything stays while another engine's pods are connected to the bridge. State files stay.
    ///
    /// # Errors
    /// The kernel's refusals.
    pub fn teardown(&self) -> Result<(), Error> {
        if self.shared.native.teardown()? {
            self.shared.host_ports.teardown()?;
        }
        Ok(())
    }
}

impl Shared {
    pub(crate) fn selection(&self) -> Arc<Selection> {
        Arc::clone(&self.selected.read())
    }

    /// Reads the directories for the first time. A network of version 1.1 is not ready before it has said so.
    pub(crate) fn load(&self) {
        let mut selection = select(&self.config);
        if let (None, Some(list)) = (&selection.unusable, selection.list_with_status()) {
            let reason = format!("network {}: its plugins have not answered STATUS yet", list.name);
            selection.unusable = Some(NotReady { reason });
        }
        self.publish(selection);
    }

    /// Reads the directories again; what was published before counts until the plugins have answered.
    pub(crate) fn reload(&self) -> Asked {
        let mut selection = select(&self.config);
        let asked = selection.ask(&self.config);
        self.publish(selection);
        asked
    }

    fn publish(&self, selection: Selection) {
        *self.selected.write() = Arc::new(selection);
    }
}

/// How a network took the question for its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It cannot be asked.
    Never,
    /// It is ready.
    Ready,
    /// It is not.
    Refused,
}

impl Selection {
    fn nothing() -> Self {
        let reason = "the configuration has not been read yet".to_owned();
        Self { network: Selected::Nothing(NotReady { reason }), files: Vec::new(), unusable: None }
    }

    /// The selected network if its plugins can be asked for their status.
    fn list_with_status(&self) -> Option<&Arc<NetworkList>> {
        match &self.network {
            Selected::Cni(list) if list.version >= Version::STATUS => Some(list),
            Selected::Cni(_) | Selected::Native | Selected::Nothing(_) => None,
        }
    }

    /// Asks the plugins of a 1.1 network whether they are ready.
    fn ask(&mut self, config: &Config) -> Asked {
        let Some(list) = self.list_with_status() else { return Asked::Never };
        let answer = chain::status(list, &config.plugin_dirs, Deadline::after(STATUS_TIMEOUT));
        self.unusable = answer
            .err()
            .map(|error| NotReady { reason: format!("network {}: {}", list.name, words(&error)) });
        if self.unusable.is_some() { Asked::Refused } else { Asked::Ready }
    }

    /// The reason not to use the selected network.
    pub(crate) fn usable(&self) -> Result<(), NotReady> {
        self.unusable.clone().map_or(Ok(()), Err)
    }
}

fn select(config: &Config) -> Selection {
    let dir = config.network_dir.display();
    let files = match load_dir(&config.network_dir) {
        Ok(files) => files,
        Err(fault) => {
            let reason = format!("network directory {dir} {}", words(&fault));
            return Selection {
                network: Selected::Nothing(NotReady { reason }),
                files: Vec::new(),
                unusable: None,
            };
        }
    };
    let wanted = |list: &&NetworkList| {
        config.default_network.as_ref().is_none_or(|name| list.name.as_str() == name.as_str())
    };
    let found = files.iter().filter_map(|loaded| loaded.list.as_ref().ok()).find(wanted).cloned();
    if let Some(list) = found {
        // Not the next file instead: pods would land in another network while an installer is still at work.
        let unusable = chain::missing_plugin(&list, &config.plugin_dirs)
            .map(|error| NotReady { reason: format!("network {}: {}", list.name, words(&error)) });
        return Selection { network: Selected::Cni(Arc::new(list)), files, unusable };
    }
    let native = config.default_network.as_ref().is_none_or(|name| name == native::NAME);
    if files.is_empty() && native && config.native.enabled {
        return Selection { network: Selected::Native, files, unusable: native::unusable(&config.native) };
    }
    let reason = why_nothing(config, &files);
    Selection { network: Selected::Nothing(NotReady { reason }), files, unusable: None }
}

fn why_nothing(config: &Config, files: &[Loaded]) -> String {
    let dir = config.network_dir.display();
    let faults: Vec<String> = files
        .iter()
        .filter_map(|loaded| {
            loaded.list.as_ref().err().map(|fault| format!("{} {}", loaded.file.display(), words(fault)))
        })
        .collect();
    let faults = if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) };
    match &config.default_network {
        Some(name) => format!("no network named {name:?} in {dir}{faults}"),
        None => format!("no usable network configuration in {dir}{faults}"),
    }
}
