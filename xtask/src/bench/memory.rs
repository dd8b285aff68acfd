//! Memory of the processes that belong to an engine, from `/proc/<pid>/smaps_rollup` and `status`.

use anyhow::{Context, bail};

use super::Engine;

/// Process ids whose program has this name.
fn processes(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        if program.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// One field of a file of /proc in KiB.
fn field(pid: i32, file: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Resident memory of the engine's daemon, KiB.
pub(crate) fn daemon_rss(engine: &Engine) -> anyhow::Result<f64> {
    let Some(name) = engine.processes.first() else { bail!("engine {} names no process", engine.name) };
    let pids = processes(name);
    let [pid] = pids.as_slice() else {
        bail!("{} processes are called {name}, one was expected", pids.len())
    };
    field(*pid, "status", "VmRSS").context("no VmRSS")
}

/// Proportional memory of all processes of the engine, KiB.
pub(crate) fn proportional(engine: &Engine) -> f64 {
    let pids = engine.processes.iter().flat_map(|name| processes(name));
    pids.filter_map(|pid| field(pid, "smaps_rollup", "Pss")).sum()
}
