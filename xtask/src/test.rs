//! `cargo xtask test`: everything, fast tests first. `--quick` stops before the ones that need the built engine.

use std::path::Path;
use std::process::Command;

use crate::build::{self, cargo, run_command, target_dir};
use crate::{e2e, gen_api, tools};

/// Installs what is needed and runs all tests.
pub(crate) fn run(root: &Path, quick: bool) -> anyhow::Result<()> {
    gen_api::run(root, true)?;
    cargo(root, &["fmt", "--all", "--check"], None)?;
    tools::packages(&[])?;
    cargo(
        root,
        &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"],
        None,
    )?;
    cargo(root, &["test", "--workspace", "--exclude", "ochre-e2e", "--locked"], None)?;
    if quick {
        return Ok(());
    }
    let programs = build::run(root)?;
    e2e::run(root, &programs, &[])?;
    let deny = tools::cargo_deny(root, &target_dir(root))?;
    run_command(Command::new(deny).args(["--all-features", "check"]).current_dir(root))
}
