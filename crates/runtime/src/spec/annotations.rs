//! Annotations of a spec: what CRI-O's users find in `config.json`, and nothing a pod says unless the node allows it.
//!
//! A pod's or container's annotation can steer an OCI runtime (`org.systemd.property.*` sets properties of systemd
//! units: CVE-2024-3154). They are kept as data in one JSON value; as annotations of their own only those pass whose
//! prefix the node's configuration allows, never a reserved one.

use std::collections::{BTreeMap, HashMap};

use crate::config::{NamespaceMode, SecurityProfile};

use super::{ContainerInput, Error};

/// Prefix of the keys that CRI-O writes.
const PREFIX: &str = "io.kubernetes.cri-o.";
/// Prefixes that never pass from a pod, whatever the configuration says.
const RESERVED: [&str; 4] = [
    "io.kubernetes.cri-o.",
    "io.container.manager",
    "org.systemd.property.",
    "org.opencontainers.image.stopsignal",
];

/// The annotations of a container.
///
/// # Errors
/// [`Error::Json`] when a value cannot be written, which no request can cause.
pub(super) fn annotations(
    input: &ContainerInput<'_>,
    stop_signal: i32,
) -> Result<HashMap<String, String>, Error> {
    let (sandbox, container) = (input.sandbox, input.container);
    let (pod, own) = (&sandbox.metadata, &container.metadata);
    let name = format!("k8s_{}_{}_{}_{}_{}", own.name, pod.name, pod.namespace, pod.uid, own.attempt);
    let pod_name = format!("k8s_{}_{}_{}_{}", pod.name, pod.namespace, pod.uid, pod.attempt);
    let node_network = container.security.namespaces.network == NamespaceMode::Node;
    let seccomp = match &container.security.seccomp {
        Some(SecurityProfile::RuntimeDefault) => "runtime/default".to_owned(),
        Some(SecurityProfile::Localhost(path)) => format!("localhost/{path}"),
        None | Some(SecurityProfile::Unconfined) => "unconfined".to_owned(),
    };
    let shown = |path: &Option<std::path::PathBuf>| path.as_deref().map(|p| p.to_string_lossy().into_owned());
    let mut entries: BTreeMap<&str, String> = BTreeMap::from([
        ("Annotations", json("annotations", &container.annotations)?),
        ("CgroupParent", sandbox.cgroup_parent.clone()),
        ("ContainerID", input.id.to_string()),
        ("ContainerName", name.clone()),
        ("ContainerType", "container".to_owned()),
        ("HostNetwork", node_network.to_string()),
        ("HostnamePath", input.files.hostname.to_string_lossy().into_owned()),
        ("Image", container.image.clone()),
        ("ImageName", container.user_specified_image.clone()),
        ("KubeName", own.name.clone()),
        ("Labels", json("labels", &container.labels)?),
        ("LogPath", container.log_path.clone()),
        ("Metadata", json("metadata", &serde_json::json!({ "name": own.name, "attempt": own.attempt }))?),
        ("MountPoint", input.rootfs.to_string_lossy().into_owned()),
        ("Name", name),
        ("Namespace", pod.namespace.clone()),
        ("PrivilegedRuntime", container.security.privileged.to_string()),
        ("ResolvPath", input.files.resolv_conf.to_string_lossy().into_owned()),
        ("RuntimeHandler", sandbox.handler.clone()),
        ("SandboxID", input.sandbox_id.to_string()),
        ("SandboxName", pod_name),
        ("SeccompProfilePath", seccomp),
        ("Stdin", container.stdin.to_string()),
        ("StdinOnce", container.stdin_once.to_string()),
        ("TTY", container.tty.to_string()),
        ("Volumes", json("volumes", &volumes(input))?),
    ]);
    entries.extend(shown(&input.files.shm).map(|path| ("ShmPath", path)));
    let mut annotations: HashMap<String, String> =
        entries.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect();
    annotations.insert("io.container.manager".into(), "cri-o".into());
    annotations.insert("org.opencontainers.image.stopSignal".into(), stop_signal.to_string());
    for (key, value) in sandbox.annotations.iter().chain(&container.annotations) {
        if passes(key, &input.node.passed_annotations) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    Ok(annotations)
}

/// The annotations of a pod's own process.
pub(super) fn of_pause(sandbox_id: &str, namespace: &str) -> HashMap<String, String> {
    let entries = [("ContainerType", "sandbox"), ("SandboxID", sandbox_id), ("Namespace", namespace)];
    let mut annotations: HashMap<String, String> =
        entries.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.to_owned())).collect();
    annotations.insert("io.container.manager".into(), "cri-o".into());
    annotations
}

/// Whether a pod's annotation may become an annotation of the spec. Letters count whatever their case, since a
/// runtime may compare them that way.
fn passes(key: &str, allowed: &[String]) -> bool {
    let lower = key.to_lowercase();
    let reserved = RESERVED.iter().any(|prefix| lower.starts_with(prefix));
    let plain = key.bytes().all(|b| b.is_ascii_graphic());
    plain && !reserved && allowed.iter().any(|prefix| !prefix.is_empty() && key.starts_with(prefix.as_str()))
}

fn volumes(input: &ContainerInput<'_>) -> Vec<serde_json::Value> {
    let mounts = input.container.mounts.iter();
    mounts
        .map(|mount| {
            serde_json::json!({
                "container_path": mount.container_path,
                "host_path": mount.host_path,
                "readonly": mount.readonly,
            })
        })
        .collect()
}

fn json(what: &'static str, value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Json { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_prefixes_pass_and_reserved_ones_never() {
        let allowed =
            ["run.oci.".to_owned(), "org.systemd.property.".to_owned(), "io.".to_owned(), String::new()];
        for (key, expected) in [
            ("run.oci.handler", true),
            ("io.example/x", true),
            ("example.com/x", false),
            ("org.systemd.property.SuccessAction", false),
            ("Org.Systemd.Property.SuccessAction", false),
            ("io.kubernetes.cri-o.SandboxID", false),
            ("IO.kubernetes.cri-o.SandboxID", false),
            ("io.container.manager", false),
            ("run.oci.\u{212a}", false),
            ("run.oci.a\nb", false),
        ] {
            assert_eq!(passes(key, &allowed), expected, "{key:?}");
        }
        assert!(!passes("run.oci.handler", &[]));
    }
}
