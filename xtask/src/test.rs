//! `cargo xtask test`: everything, fast tests first. `--quick` stops before the ones that need the built engine.

use std::path::Path;
use std::process::Command;

use crate::build::{self, cargo, run_command, target_dir};
use crate::tally::Tally;
use crate::{critest, e2e, gen_api, tools};

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
    let mut tally = Tally::default();
    let tests = ["test", "--workspace", "--exclude", "ochre-e2e", "--locked", "--no-fail-fast"];
    tally.run(build::cargo_command(root).args(tests))?;
    if !quick {
        let programs = build::run(root)?;
        e2e::run(root, &programs, &[], &mut tally)?;
        critest::run(root, &critest::Arguments::with_programs(programs), &mut tally)?;
        deny(root, &tools::cargo_deny(root, &target_dir(root))?)?;
    }
    tally.print();
    Ok(())
}

/// Licences, sources and the direction of imports always; advisories where their database can be had.
fn deny(root: &Path, program: &Path) -> anyhow::Result<()> {
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--all-features").args(arguments).current_dir(root);
        command
    };
    run_command(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    if !deny(&["fetch", "db"]).output()?.status.success() {
        println!("advisories were not checked: their database cannot be reached from here");
        return Ok(());
    }
    run_command(&mut deny(&["check", "advisories"]))
}
