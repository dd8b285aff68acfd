//! `cargo xtask build`: the engine's programs, side by side in `target/release`.
//!
//! The daemon is an ordinary program. Monitor and runtime are static and not relocatable: they run once per pod and once
//! per verb, where every dirty page and every microsecond of the dynamic linker counts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";
/// Package and program of each static part.
const STATIC_PROGRAMS: [(&str, &str); 3] = [
    ("ochre-monitor", "ochre-monitor"),
    ("ochre-runtime-bin", "ochre-runtime"),
    ("ochre-demo", "ochre-demo"),
];

/// Builds everything; returns the directory of the programs.
pub(crate) fn run(root: &Path) -> anyhow::Result<PathBuf> {
    let target = target_dir(root);
    let programs = target.join("release");
    cargo(root, &["build", "--release", "--locked", "-p", "ochre"], None)?;
    let host = host()?;
    let mut arguments = vec!["build", "--release", "--locked", "--target", &host];
    for (package, _) in STATIC_PROGRAMS {
        arguments.extend(["-p", package]);
    }
    cargo(root, &arguments, Some(STATIC))?;
    for (_, program) in STATIC_PROGRAMS {
        let built = target.join(&host).join("release").join(program);
        let place = programs.join(program);
        // A running program cannot be written to, but it can be replaced.
        let fresh = place.with_extension("new");
        std::fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
        std::fs::rename(&fresh, &place)?;
    }
    Ok(programs)
}

/// Where cargo builds.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(root: &Path, arguments: &[&str], rustflags: Option<&str>) -> anyhow::Result<()> {
    let mut command = cargo_command(root);
    command.args(arguments);
    if let Some(flags) = rustflags {
        command.env("RUSTFLAGS", flags);
    }
    run_command(&mut command)
}

/// Cargo, to be run in the workspace.
pub(crate) fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command and fails with its line when it fails.
pub(crate) fn run_command(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("running rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(line.to_owned())
}
