//! `cargo xtask bench`: measures any CRI endpoint, or several side by side in one run.
//!
//! Every engine gets the same requests in interleaved rounds, so that a noisy moment of the machine falls on all of them.
//! Medians and tails of every RPC in a pod's life, whole lives per second, ExecSync, lists and stats with many containers,
//! memory of every process that belongs to the engine, and pulls.

mod lives;
mod memory;
mod report;

use std::path::PathBuf;

use anyhow::Context;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An engine as NAME=SOCKET or NAME=SOCKET,PROCESS[,PROCESS…]: the socket, and the names of the processes whose
    /// memory counts (the daemon first). The first engine is what the others are compared with.
    #[arg(long = "engine", required = true)]
    engines: Vec<String>,
    /// The image to run; it must be there or be pullable, and have /bin/sleep and /bin/true.
    #[arg(long, default_value = "localhost/bench:latest")]
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
}

/// One engine under measurement.
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) processes: Vec<String>,
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engines = arguments.engines.iter().map(|text| parse(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = report::Report::new(engines.iter().map(|engine| engine.name.clone()).collect());
    runtime.block_on(async {
        for (column, engine) in engines.iter().enumerate() {
            report.number("daemon at rest, RSS KiB", column, memory::daemon_rss(engine)?);
        }
        lives::latencies(&engines, arguments, &mut report).await?;
        for workers in [1, 4, 8] {
            lives::throughput(&engines, arguments, workers, &mut report).await?;
        }
        for (column, engine) in engines.iter().enumerate() {
            lives::many_pods(engine, column, arguments, &mut report).await?;
        }
        if let Some(image) = &arguments.pull {
            lives::pulls(&engines, image, &mut report).await?;
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
