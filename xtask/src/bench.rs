//! `cargo xtask bench`: measures any CRI endpoint, or several side by side in one run.
//!
//! Every engine gets the same requests in interleaved rounds, so that a noisy moment of the machine falls on all of them.
//! Medians and tails of every RPC in a pod's life, whole lives per second, ExecSync, lists and stats with many containers,
//! memory of every process that belongs to the engine, and pulls.

mod lives;
mod memory;
mod peers;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::{build, tools};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An engine as NAME=SOCKET or NAME=SOCKET,PROCESS[,PROCESS…]: the socket, and the names of the processes whose
    /// memory counts (the daemon first). The first engine is what the others are compared with.
    /// Without any, ours and Debian's containerd are started for the measurement, on private directories and in a
    /// network namespace of their own.
    #[arg(long = "engine")]
    engines: Vec<String>,
    /// The image to run; it must be there, and have /bin/sleep and /bin/true.
    #[arg(long, default_value = peers::IMAGE)]
    image: String,
    /// Lives per engine and round of the latency part.
    #[arg(long, default_value_t = 30)]
    lives: usize,
    /// Idle pods for memory, lists and stats.
    #[arg(long, default_value_t = 50)]
    pods: usize,
    /// An image to pull and remove, three times per engine.
    #[arg(long)]
    pull: Option<String>,
    /// Size of each of the four layers of the image that is pulled from a registry on loopback, MiB.
    #[arg(long, default_value_t = 64)]
    layer_mib: usize,
    /// Set in the run inside the namespaces.
    #[arg(long, hide = true)]
    programs: Option<PathBuf>,
}

/// One engine under measurement.
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) processes: Vec<String>,
}

/// Measures and prints.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.engines.is_empty() {
        let engines = arguments.engines.iter().map(|text| parse(text)).collect::<anyhow::Result<Vec<_>>>()?;
        return measure(&engines, arguments, arguments.pull.as_deref());
    }
    let Some(programs) = &arguments.programs else { return in_namespaces(root) };
    let peers = peers::Peers::start(programs, arguments.layer_mib)?;
    measure(&peers.engines, arguments, Some(&peers.pull))
}

/// Builds the engine and starts this program again with a network and mounts of its own.
fn in_namespaces(root: &Path) -> anyhow::Result<()> {
    tools::packages(&[("/usr/bin/containerd", "containerd")])?;
    let programs = build::run(root)?;
    let script = "mount --make-rprivate / && ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", script, "sh"]).arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--programs").arg(programs);
    build::run_command(&mut command)
}

fn measure(engines: &[Engine], arguments: &Arguments, pull: Option<&str>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = report::Report::new(engines.iter().map(|engine| engine.name.clone()).collect());
    runtime.block_on(async {
        for (column, engine) in engines.iter().enumerate() {
            report.number("daemon at rest, RSS KiB", column, memory::daemon_rss(engine)?);
        }
        lives::latencies(engines, arguments, &mut report).await?;
        for workers in [1, 4, 8] {
            lives::throughput(engines, arguments, workers, &mut report).await?;
        }
        for (column, engine) in engines.iter().enumerate() {
            lives::many_pods(engine, column, arguments, &mut report).await?;
        }
        if let Some(image) = pull {
            lives::pulls(engines, image, &mut report).await?;
        }
        anyhow::Ok(())
    })?;
    report.print();
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<Engine> {
    let (name, rest) = text.split_once('=').context("an engine is NAME=SOCKET[,PROCESS…]")?;
    let mut parts = rest.split(',');
    let socket = parts.next().unwrap_or_default();
    let socket = socket.strip_prefix("unix://").unwrap_or(socket).into();
    Ok(Engine { name: name.to_owned(), socket, processes: parts.map(str::to_owned).collect() })
}
