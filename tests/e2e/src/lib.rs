//! What the system tests share: an engine of one's own, a busybox image, requests, and the look at what is left.
//!
//! The tests are started by `cargo xtask test`, which builds the programs, tells where they are (`OCHRE_PROGRAMS`,
//! `OCHRE_CRICTL`) and gives the whole run a network and a mount namespace of its own. They run one after the other:
//! every engine uses the node's one built-in bridge.

pub mod bench;
mod forge;
mod gate;
mod image;
mod parent;
mod parts;
mod present;
mod pull;
mod registry;
mod request;
pub mod session;
#[cfg(target_arch = "x86_64")]
pub mod system_calls;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ochre_client::Client;
use ochre_test_support::engine::Engine;
use ochre_test_support::leftovers;
use tempfile::TempDir;

pub use gate::Gate;
pub use image::{BUSYBOX, busybox};
pub use parent::{Parent, with_systemd};
pub use parts::{HANDLERS, check_refusal, limits, pod_linux, pod_namespaces, security};
pub use present::Present;
pub use registry::Registry;
pub use request::{container, pod, pod_sharing_pids};
pub use volumes::{Tmpfs, bind, of_image, traces};

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The directory of the engine's programs.
pub fn programs() -> PathBuf {
    match std::env::var_os("OCHRE_PROGRAMS") {
        Some(path) => path.into(),
        None => panic!("OCHRE_PROGRAMS is not set: run these tests with `cargo xtask test`"),
    }
}

/// The stock crictl.
pub fn crictl() -> PathBuf {
    match std::env::var_os("OCHRE_CRICTL") {
        Some(path) => path.into(),
        None => panic!("OCHRE_CRICTL is not set: run these tests with `cargo xtask test`"),
    }
}

/// A running engine with the busybox image in its store.
pub struct Node {
    /// The engine.
    pub engine: Engine,
    /// A client of it.
    pub client: Client,
    directory: TempDir,
}

impl Node {
    /// Starts an engine with built-in defaults.
    pub async fn start() -> anyhow::Result<Self> {
        Self::configured("").await
    }

    /// Starts an engine with this text of a crio.conf; `{dir}` in it stands for the private directory.
    pub async fn configured(configuration: &str) -> anyhow::Result<Self> {
        Self::prepared(configuration, |_| Ok(())).await
    }

    /// As [`Node::configured`]; `prepare` puts files into the private directory before the engine starts. A
    /// `registries.conf` there takes the place of the node's.
    pub async fn prepared(
        configuration: &str,
        prepare: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ochre-e2e-").tempdir()?;
        prepare(directory.path())?;
        let text = configuration.replace("{dir}", &directory.path().to_string_lossy());
        let engine = Engine::start(
            &programs().join("ochre"),
            directory.path(),
            Some(&text).filter(|t| !t.is_empty()).map(String::as_str),
        )?;
        let client = Client::connect(&engine.socket()).await?;
        let node = Self { engine, client, directory };
        node.import(&busybox()?, BUSYBOX)?;
        Ok(node)
    }

    /// The private directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Imports a home-made image under a name; returns its id.
    pub fn import(&self, image: &ochre_test_support::layout::Image, name: &str) -> anyhow::Result<String> {
        let layout = tempfile::tempdir_in(self.directory.path())?;
        let id = image.write_layout(layout.path(), "latest")?;
        self.import_layout(layout.path(), name)?;
        Ok(id)
    }

    /// Imports a home-made image of any number of layers under a name; returns its id.
    pub fn import_layered(
        &self,
        image: &ochre_test_support::layout::Layered,
        name: &str,
    ) -> anyhow::Result<String> {
        let layout = tempfile::tempdir_in(self.directory.path())?;
        let id = image.write_layout(layout.path(), "latest")?;
        self.import_layout(layout.path(), name)?;
        Ok(id)
    }

    fn import_layout(&self, layout: &Path, name: &str) -> anyhow::Result<()> {
        let output = Command::new(programs().join("ochre"))
            .args(["import", "--config", "", "--root"])
            .arg(self.path("root"))
            .arg("--runroot")
            .arg(self.path("run"))
            .args(["--name", name])
            .arg(layout)
            .output()?;
        if !output.status.success() {
            bail!("ochre import: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Runs the stock crictl against it.
    pub fn crictl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let endpoint = format!("unix://{}", self.engine.socket().display());
        let config = self.path("crictl.yaml");
        std::fs::write(&config, "timeout: 30\n")?;
        Ok(Command::new(crictl())
            .arg("--config")
            .arg(config)
            .args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint])
            .args(arguments)
            .output()?)
    }

    /// Runs crictl, which must succeed; returns what it printed, without the white space around it.
    pub fn crictl_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.crictl(arguments)?;
        if !output.status.success() {
            bail!("crictl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The engine's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.engine.log()).unwrap_or_default()
    }

    /// Stops the engine; fails when anything is left of its pods: processes, mounts, namespaces, bridge ports.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.engine.stop()?;
        let mut left = leftovers::find(self.directory.path());
        let ended = Instant::now();
        while left.only_scopes_of_monitors() && ended.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            left = leftovers::find(self.directory.path());
        }
        if !left.is_empty() {
            bail!("left behind: {left:?}\n{}", self.log());
        }
        for folder in ["run/ochre/pods", "root/ochre/pods"] {
            let path = self.path(folder);
            let names: Vec<_> =
                std::fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
            if !names.is_empty() {
                bail!("left behind in {folder}: {names:?}\n{}", self.log());
            }
        }
        let ports = bridge_ports()?;
        if !ports.is_empty() {
            bail!("left behind on the bridge: {ports:?}");
        }
        Ok(())
    }
}

/// Interfaces of pods on this node. Asked of the kernel by `ip`: sysfs shows those of the namespace that mounted it.
fn bridge_ports() -> anyhow::Result<Vec<String>> {
    let links = run("ip", &["-o", "link", "show", "type", "veth"])?;
    Ok(links.lines().map(str::to_owned).collect())
}

/// Waits until `probe` gives something.
pub async fn eventually<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            bail!("{what}: not within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A file's text once it contains `needle`.
pub async fn file_with(path: &Path, needle: &str) -> anyhow::Result<String> {
    let what = format!("{} containing {needle:?}", path.display());
    eventually(&what, async || Ok(std::fs::read_to_string(path).ok().filter(|text| text.contains(needle))))
        .await
}

/// Runs a program, which must succeed; returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
