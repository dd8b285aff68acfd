//! What tests and measurements need on the machine, installed if it is missing.
//!
//! Debian's packages for registries, runtimes, plugins and podman; crictl and critest by the Go toolchain; cargo-deny.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::build::run_command;

/// The version of crictl and critest; the tests compare with what this one prints, and with the specs that it has.
const CRI_TOOLS: &str = "v1.36.0";
const CARGO_DENY: &str = "0.20.2";
/// A program that shows the package is there, and the package.
const PACKAGES: [(&str, &str); 12] = [
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/bin/python3", "python3"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/bin/crun", "crun"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/bin/docker-registry", "docker-registry"),
    ("/usr/bin/skopeo", "skopeo"),
    ("/usr/bin/podman", "podman"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/bin/busybox", "busybox-static"),
];

/// Installs the packages that are missing.
pub(crate) fn packages(extra: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .chain(extra)
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(", "));
    let apt = |arguments: &[&str]| {
        run_command(
            Command::new("apt-get")
                .args(["-o", "DPkg::Lock::Timeout=300", "-qq"])
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)
}

/// The stock crictl, built from the Go module proxy into the target directory.
pub(crate) fn crictl(target: &Path) -> anyhow::Result<PathBuf> {
    cri_tool(target, "crictl", &["build"])
}

/// The conformance suite, likewise: it is a test program.
pub(crate) fn critest(target: &Path) -> anyhow::Result<PathBuf> {
    cri_tool(target, "critest", &["test", "-c"])
}

fn cri_tool(target: &Path, name: &str, verb: &[&str]) -> anyhow::Result<PathBuf> {
    let directory = target.join("tools");
    let program = directory.join(name);
    if !program.exists() {
        println!("building {name} {CRI_TOOLS}");
        std::fs::create_dir_all(&directory)?;
        build_cri_tool(&go()?, name, verb, &program)?;
    }
    Ok(program)
}

/// Builds a tool from its own module, whose go.sum then decides every dependency. A proxy needs to know only this one
/// version: `go install module@version` asks for the list of all.
fn build_cri_tool(go: &Path, name: &str, verb: &[&str], program: &Path) -> anyhow::Result<()> {
    let output = Command::new(go)
        .args(["mod", "download", "-json"])
        .arg(format!("sigs.k8s.io/cri-tools@{CRI_TOOLS}"))
        .current_dir(std::env::temp_dir())
        .output()
        .context("running go")?;
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("go mod download said no JSON")?;
    let Some(source) = answer["Dir"].as_str() else { bail!("go mod download: {answer}") };
    // The module cache is read-only, and go wants to lock the directory it builds in.
    let copy = tempfile::tempdir()?;
    let place = copy.path().join("cri-tools");
    run_command(Command::new("cp").args(["-r", "--no-preserve=mode", source]).arg(&place))?;
    run_command(
        Command::new(go)
            .args(verb)
            .args(["-trimpath", "-o"])
            .arg(program)
            .arg(format!("./cmd/{name}"))
            // Static, for nodes with another C library than this one.
            .env("CGO_ENABLED", "0")
            .current_dir(&place),
    )
}

/// The Go toolchain on the PATH, or where its own installer puts it.
fn go() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("go"))
        .chain(["/usr/local/go/bin/go".into(), "/usr/lib/go/bin/go".into()])
        .find(|program| program.exists());
    if let Some(program) = found {
        return Ok(program);
    }
    packages(&[("/usr/bin/go", "golang-go")])?;
    Ok("/usr/bin/go".into())
}

/// cargo-deny, built into the target directory.
pub(crate) fn cargo_deny(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let program = target.join("tools/bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny {CARGO_DENY}");
        let place = target.join("tools");
        let place = place.to_str().context("the target directory has a name that is not text")?;
        let version = format!("cargo-deny@{CARGO_DENY}");
        crate::build::cargo(root, &["install", "--locked", "--quiet", "--root", place, &version], None)?;
    }
    if !program.exists() {
        bail!("{} is missing after its installation", program.display());
    }
    Ok(program)
}
