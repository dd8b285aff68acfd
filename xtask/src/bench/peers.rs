//! Engines started for the measurement alone: ours, and Debian's containerd beside it, on private directories.
//!
//! containerd runs with its defaults, runc behind its shim, and the bridge, host-local and portmap plugins, as most nodes
//! have it. Ours runs with built-in defaults: its own runtime and its own bridge.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use ochre_test_support::engine::Engine as Ochre;
use ochre_test_support::layout::{Entry, Image, Layered, archive};
use ochre_test_support::leftovers;
use serde_json::json;
use tempfile::TempDir;

use super::Engine;
use crate::build::run_command;
use crate::registry::{quiet, registry, wait};

/// The image that both run.
pub(super) const IMAGE: &str = "localhost/bench:latest";

/// Both engines and the registry; ended and swept with the value.
pub(super) struct Peers {
    /// What to measure.
    pub(super) engines: Vec<Engine>,
    /// A name that both can pull.
    pub(super) pull: String,
    ochre: Ochre,
    children: Vec<Child>,
    directory: TempDir,
}

impl Peers {
    /// Starts both with the programs in `programs`.
    pub(super) fn start(programs: &Path, layer_mib: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ochre-bench-").tempdir()?;
        let ours = directory.path().join("ochre");
        std::fs::create_dir(&ours)?;
        let (registry, host) = registry(directory.path())?;
        let conf = format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n");
        std::fs::write(ours.join("registries.conf"), conf)?;
        let ochre = Ochre::start(&programs.join("ochre"), &ours, None)?;
        import_here(programs, &ochre, &busybox()?)?;
        let (containerd, socket) = containerd(directory.path())?;
        let mut peers = Self {
            engines: vec![
                Engine {
                    name: "containerd".into(),
                    socket: socket.clone(),
                    processes: vec!["containerd".into(), "containerd-shim-runc-v2".into()],
                },
                Engine {
                    name: "ochre".into(),
                    socket: ochre.socket(),
                    processes: vec!["ochre".into(), "ochre-monitor".into()],
                },
            ],
            pull: format!("{host}/large:latest"),
            ochre,
            children: vec![registry, containerd],
            directory,
        };
        peers.import_there(&socket, &busybox()?, IMAGE)?;
        let pause = Image {
            entries: vec![Entry::File("pause".into(), 0o755, std::fs::read(programs.join("ochre-monitor"))?)],
            config: json!({ "Entrypoint": ["/pause", "pause"] }),
        };
        peers.import_there(&socket, &pause, "localhost/pause:latest")?;
        peers.push_large(layer_mib)?;
        Ok(peers)
    }

    fn import_there(&mut self, socket: &Path, image: &Image, name: &str) -> anyhow::Result<()> {
        let layout = tempfile::tempdir_in(self.directory.path())?;
        image.write_layout(layout.path(), "latest")?;
        let archive = self.directory.path().join("image.tar");
        run_command(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout.path()).arg("."))?;
        let base = name.trim_end_matches(":latest");
        run_command(
            Command::new("ctr")
                .arg("--address")
                .arg(socket)
                .args(["-n", "k8s.io", "images", "import", "--base-name", base])
                .arg(&archive)
                .stdout(Stdio::null()),
        )
    }

    /// One image of four layers, half of it noise that does not compress.
    fn push_large(&self, layer_mib: usize) -> anyhow::Result<()> {
        let work = self.directory.path().join("large");
        std::fs::create_dir(&work)?;
        let mut layers = Vec::new();
        let mut noise = std::fs::File::open("/dev/urandom")?;
        for layer in 0..4 {
            let mut content = vec![0; layer_mib << 20];
            for block in content.chunks_mut(128 << 10) {
                let half = block.len() / 2;
                std::io::Read::read_exact(&mut noise, &mut block[..half])?;
            }
            layers.push(archive(&[Entry::File(format!("layer{layer}.bin"), 0o644, content)])?);
        }
        Layered::new(layers, json!({ "Cmd": ["/none"] })).write_layout(&work, "latest")?;
        run_command(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
                .arg(format!("oci:{}:latest", work.display()))
                .arg(format!("docker://{}", self.pull)),
        )
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.ochre.stop().ok();
        for child in self.children.iter_mut().rev() {
            if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            }
            child.wait().ok();
        }
        leftovers::sweep(self.directory.path());
    }
}

fn busybox() -> anyhow::Result<Image> {
    let program = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"))?;
    let mut entries =
        vec![Entry::Directory("bin".into(), 0o755), Entry::File("bin/busybox".into(), 0o755, program)];
    entries.extend(["sh", "sleep", "true"].map(|name| Entry::Link(format!("bin/{name}"), "busybox".into())));
    Ok(Image { entries, config: json!({ "Cmd": ["/bin/sh"] }) })
}

fn import_here(programs: &Path, engine: &Ochre, image: &Image) -> anyhow::Result<()> {
    let layout = tempfile::tempdir_in(engine.directory())?;
    image.write_layout(layout.path(), "latest")?;
    run_command(
        Command::new(programs.join("ochre"))
            .args(["import", "--config", "", "--name", IMAGE, "--root"])
            .arg(engine.directory().join("root"))
            .arg("--runroot")
            .arg(engine.directory().join("run"))
            .arg(layout.path())
            .stdout(Stdio::null()),
    )
}

fn containerd(directory: &Path) -> anyhow::Result<(Child, PathBuf)> {
    let home = directory.join("containerd");
    let cni = home.join("cni");
    std::fs::create_dir_all(&cni)?;
    let socket = home.join("containerd.sock");
    std::fs::write(cni.join("10-bench.conflist"), json!({
        "cniVersion": "0.4.0", "name": "bench", "plugins": [
            { "type": "bridge", "bridge": "bench0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
              "ipam": { "type": "host-local", "dataDir": home.join("leases"), "ranges": [[{ "subnet": "10.86.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    }).to_string())?;
    let config = home.join("config.toml");
    std::fs::write(
        &config,
        format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n[grpc]\n  address = \"{0}/containerd.sock\"\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"localhost/pause:latest\"\n  restrict_oom_score_adj = true\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/usr/lib/cni\"\n  conf_dir = \"{0}/cni\"\n",
            home.display()
        ),
    )?;
    let child = quiet(Command::new("containerd").arg("--config").arg(&config))
        .spawn()
        .context("starting containerd")?;
    wait("containerd", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
    Ok((child, socket))
}
