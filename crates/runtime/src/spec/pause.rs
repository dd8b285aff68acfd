//! The pod's own process: it holds a shared PID namespace open and reaps what its containers orphan.
//!
//! It runs the engine's built-in `/pause` from a directory with nothing else in it: no capability, no new privileges,
//! read-only root, the default seccomp filter, and an OOM score that makes the kernel take it last.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxNamespaceType, LinuxResources, Mount, Process, Spec, User};

use ochre_types::SandboxId;

use crate::clamp::Warning;
use crate::config::{NamespaceMode, SandboxConfig};

use super::capabilities::{CapabilitySet, Sets};
use super::devices::everything;
use super::namespaces::{has_user_namespace, mappings, namespace};
use super::{
    Error, NamespacePaths, NodeDefaults, annotations, bare_linux, empty, mounts, process, root_of, seccomp,
};

/// CRI-O's score for it: below every container, above the daemon.
const OOM_SCORE_ADJ: i64 = -998;
/// The least weight cgroup v1 knows.
const CPU_SHARES: u64 = 2;

/// What the pause process of a pod is made from.
#[derive(Debug, Clone, Copy)]
pub struct PauseInput<'a> {
    /// The pod.
    pub id: &'a SandboxId,
    /// The pod as asked for.
    pub sandbox: &'a SandboxConfig,
    /// Directory with the program `/pause` in it.
    pub rootfs: &'a Path,
    /// `cgroupsPath`, ready-made for the cgroup driver.
    pub cgroups_path: &'a str,
    /// Namespaces to join; the PID namespace is always its own.
    pub namespaces: &'a NamespacePaths,
    /// The node.
    pub node: &'a NodeDefaults,
}

/// Builds the specification of a pod's pause process, and what was lowered for it.
///
/// # Errors
/// None of the request's making; see [`Error`].
pub fn pause(input: &PauseInput<'_>) -> Result<(Spec, Vec<Warning>), Error> {
    let mut warnings = Vec::new();
    let score = process::oom_score_adj(OOM_SCORE_ADJ, &input.node.held, &mut warnings)?;
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(User::default())
        .set_args(Some(vec!["/pause".to_owned(), "pause".to_owned()]))
        .set_env(Some(Vec::new()))
        .set_cwd("/".into())
        .set_capabilities(Some(Sets::NONE.to_oci()))
        .set_rlimits(None)
        .set_no_new_privileges(Some(true))
        .set_oom_score_adj(Some(score));

    let mut cpu = LinuxCpu::default();
    cpu.set_shares(Some(CPU_SHARES));
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu)).set_devices(Some(vec![everything(false)]));
    let mut linux = bare_linux(input.cgroups_path);
    linux
        .set_namespaces(Some(namespaces(input)))
        .set_resources(Some(resources))
        .set_seccomp(Some(seccomp::runtime_default(CapabilitySet::EMPTY)));
    if let Some(user) = &input.sandbox.namespaces.user
        && has_user_namespace(&input.sandbox.namespaces)
    {
        linux.set_uid_mappings(Some(mappings(&user.uids))).set_gid_mappings(Some(mappings(&user.gids)));
    }

    let mut spec = empty("1.0.2");
    spec.set_root(Some(root_of(input.rootfs, true)))
        .set_process(Some(process))
        .set_mounts(Some(kernel_mounts()))
        .set_annotations(Some(annotations::of_pause(input.id.as_str(), &input.sandbox.metadata.namespace)))
        .set_linux(Some(linux));
    Ok((spec, warnings))
}

fn namespaces(input: &PauseInput<'_>) -> Vec<oci_spec::runtime::LinuxNamespace> {
    let (options, paths) = (&input.sandbox.namespaces, input.namespaces);
    let mut list = vec![namespace(LinuxNamespaceType::Mount, None), namespace(LinuxNamespaceType::Pid, None)];
    let joined = [
        (LinuxNamespaceType::Network, options.network, &paths.network),
        (LinuxNamespaceType::Ipc, options.ipc, &paths.ipc),
        (LinuxNamespaceType::Uts, options.network, &paths.uts),
    ];
    for (kind, mode, path) in joined {
        if path.is_some() || mode != NamespaceMode::Node {
            list.push(namespace(kind, path.clone()));
        }
    }
    if has_user_namespace(options) {
        list.push(namespace(LinuxNamespaceType::User, paths.user.clone()));
    }
    list
}

/// What OCI runtimes need to set a process up; the process itself needs nothing.
fn kernel_mounts() -> Vec<Mount> {
    let options = |list: &[&str]| list.iter().map(|option| (*option).to_owned()).collect();
    vec![
        mounts::mount(Path::new("/proc"), "proc", Path::new("proc"), options(&["nosuid", "noexec", "nodev"])),
        mounts::mount(
            Path::new("/dev"),
            "tmpfs",
            Path::new("tmpfs"),
            options(&["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
        ),
    ]
}
