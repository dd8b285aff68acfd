//! `cargo xtask e2e`: the system tests, in a network and a mount namespace of their own.
//!
//! The node's own network, mounts and bridge never see them, and whatever a failed test leaves goes with the namespaces.
//! On a machine with cgroup v1 in hybrid mode, controllers that are left in the v2 tree are mounted first: crun refuses
//! such a machine otherwise.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::build::{run_command, target_dir};
use crate::tally::Tally;
use crate::tools;

/// Runs the tests against the programs in `programs`; `arguments` go to the test programs.
pub(crate) fn run(
    root: &Path,
    programs: &Path,
    arguments: &[String],
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let crictl = tools::crictl(&target_dir(root))?;
    let programs = programs.canonicalize().with_context(|| format!("finding {}", programs.display()))?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // Compiled out here, where the registries of crates can be reached.
    run_command(
        Command::new(&cargo).args(["test", "--no-run", "-p", "ochre-e2e", "--locked"]).current_dir(root),
    )?;
    let namespaces = Namespaces::prepare()?;
    tally.run(
        namespaces
            .command(&cargo)
            .args([
                "test",
                "-p",
                "ochre-e2e",
                "--locked",
                "--offline",
                "--no-fail-fast",
                "--",
                "--test-threads",
                "1",
            ])
            .args(arguments)
            .current_dir(root)
            .env("OCHRE_PROGRAMS", &programs)
            .env("OCHRE_CRICTL", &crictl),
    )
}

/// A network, mounts and System V objects of one's own, with what every OCI runtime needs to be content.
pub(crate) struct Namespaces {
    left_over: Vec<String>,
}

impl Namespaces {
    /// Looks at what the machine has.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        Ok(Self { left_over: left_over_controllers()? })
    }

    /// A program that will run in them.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut script =
            String::from("set -e\nmount --make-rprivate /\nmount --make-rshared /\nip link set lo up\n");
        for controller in &self.left_over {
            let place = format!("/sys/fs/cgroup/{controller}");
            script.push_str(&format!(
                "mkdir -p {place}\nmountpoint -q {place} || mount -t cgroup -o {controller} none {place}\n"
            ));
        }
        script.push_str("exec \"$@\"\n");
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--ipc", "sh", "-c", &script, "sh"]).arg(program);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for controller in &self.left_over {
            // Gone with the namespace, but for the empty directory; another run may still use it.
            std::fs::remove_dir(format!("/sys/fs/cgroup/{controller}")).ok();
        }
    }
}

/// Controllers of a hybrid machine that no v1 hierarchy has taken.
fn left_over_controllers() -> anyhow::Result<Vec<String>> {
    let unified = Path::new("/sys/fs/cgroup/unified/cgroup.controllers");
    if !unified.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(unified)?;
    let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if names.iter().any(|name| !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')) {
        bail!("strange controllers: {text}");
    }
    Ok(names)
}
