//! The busybox of the conformance images, from Debian's sources with a configuration of our own.
//!
//! Debian's own static busybox will not do: its shell runs applets inside itself, and it lacks `pgrep` and `ipcs`. apt
//! checks where the sources come from; they are fetched with a source list of their own and leave the node's alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::build::run_command;
use crate::tools;

/// What a build needs besides the Rust toolchain's linker.
const PACKAGES: [(&str, &str); 3] =
    [("/usr/bin/gcc", "gcc"), ("/usr/bin/make", "make"), ("/usr/bin/bzip2", "bzip2")];

/// The program, built into the target directory unless it is there for this configuration.
pub(super) fn build(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let configuration = std::fs::read_to_string(root.join("tests/critest/busybox.config"))?;
    let directory = target.join("tools");
    let program = directory.join("busybox");
    let built_with = directory.join("busybox.config");
    if program.exists() && std::fs::read_to_string(&built_with).is_ok_and(|text| text == configuration) {
        return Ok(program);
    }
    println!("building busybox");
    tools::packages(&PACKAGES)?;
    let scratch = tempfile::tempdir()?;
    let source = fetch(scratch.path())?;
    compile(&source, &configuration)?;
    std::fs::create_dir_all(&directory)?;
    std::fs::copy(source.join("busybox"), &program)?;
    std::fs::write(built_with, configuration)?;
    Ok(program)
}

/// Downloads and unpacks the upstream archive of Debian's source package; returns its directory.
fn fetch(scratch: &Path) -> anyhow::Result<PathBuf> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no suite")?;
    let list = scratch.join("sources.list");
    std::fs::write(&list, format!("deb-src http://deb.debian.org/debian {suite} main\n"))?;
    for name in ["lists/partial", "cache/archives/partial", "source"] {
        std::fs::create_dir_all(scratch.join(name))?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"]);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", scratch.join(value).display()));
        }
        run_command(command.args(arguments).current_dir(scratch))
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "busybox"])?;
    let archive = std::fs::read_dir(scratch)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".orig.tar.bz2"))
        .context("apt-get source has brought no upstream archive")?;
    let source = scratch.join("source");
    run_command(
        Command::new("tar").arg("-xjf").arg(archive).arg("-C").arg(&source).arg("--strip-components=1"),
    )?;
    Ok(source)
}

fn compile(source: &Path, configuration: &str) -> anyhow::Result<()> {
    make(source, &["allnoconfig"])?;
    let nothing = std::fs::read_to_string(source.join(".config"))?;
    std::fs::write(source.join(".config"), merge(&nothing, configuration))?;
    make(source, &["oldconfig"])?;
    let result = std::fs::read_to_string(source.join(".config"))?;
    let refused: Vec<_> = symbols(configuration)
        .filter(|(_, line)| line.starts_with("CONFIG_") && !result.lines().any(|other| other == *line))
        .map(|(_, line)| line)
        .collect();
    if !refused.is_empty() {
        bail!("this busybox does not take {refused:?}");
    }
    let jobs = std::thread::available_parallelism()?.to_string();
    make(source, &["-j", &jobs])
}

/// `make`, with the default for whatever it asks.
fn make(source: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    run_command(
        Command::new("sh")
            .args([
                "-c",
                "yes '' | make \"$@\" > make.log 2>&1 || { tail -n 30 make.log >&2; exit 1; }",
                "sh",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .current_dir(source),
    )
}

/// The lines of a configuration that set a symbol or unset it, with the symbol's name.
fn symbols(configuration: &str) -> impl Iterator<Item = (&str, &str)> {
    configuration.lines().filter_map(|line| {
        let name = line.strip_prefix("# ").unwrap_or(line);
        name.starts_with("CONFIG_").then(|| (name.split([' ', '=']).next().unwrap_or(name), line))
    })
}

/// `base` with the symbols that `over` names as `over` has them.
fn merge(base: &str, over: &str) -> String {
    let named: Vec<_> = symbols(over).collect();
    let kept = symbols(base).filter(|(name, _)| named.iter().all(|(other, _)| other != name));
    kept.map(|(_, line)| line)
        .chain(named.iter().map(|(_, line)| *line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_symbols_take_the_place_of_the_others() {
        let base = "# made by a program\n# CONFIG_A is not set\nCONFIG_AB=y\n# CONFIG_C is not set\n";
        let over = "# Why.\nCONFIG_A=y\n# CONFIG_AB is not set\n";
        assert_eq!(merge(base, over), "# CONFIG_C is not set\nCONFIG_A=y\n# CONFIG_AB is not set\n");
    }
}
