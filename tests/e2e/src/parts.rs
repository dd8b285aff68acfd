//! The inner parts of requests that tests change, and short questions to a container.

use anyhow::Context;
use ochre_cri_api as api;

use crate::Node;

/// The handlers that every engine of these tests has.
pub const HANDLERS: [&str; 3] = ["ochre", "runc", "crun"];

/// The security context of a container, made if missing.
pub fn security(config: &mut api::ContainerConfig) -> &mut api::LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

/// The limits of a container, made if missing.
pub fn limits(config: &mut api::ContainerConfig) -> &mut api::LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}

/// The Linux part of a pod, made if missing.
pub fn pod_linux(config: &mut api::PodSandboxConfig) -> &mut api::LinuxPodSandboxConfig {
    config.linux.get_or_insert_default()
}

/// The namespace options of a pod, made if missing.
pub fn pod_namespaces(config: &mut api::PodSandboxConfig) -> &mut api::NamespaceOption {
    let security = pod_linux(config).security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

/// Fails unless the refusal has this code and all these words.
pub fn check_refusal(name: &str, refused: &tonic::Status, code: tonic::Code, words: &[&str]) {
    assert_eq!(refused.code(), code, "{name}: {refused}");
    for word in words {
        assert!(refused.message().contains(word), "{name}: {word:?} is not in {:?}", refused.message());
    }
    assert!(refused.message().len() < 2000, "{name}: a message of {} bytes", refused.message().len());
}

impl Node {
    /// What a shell script in a container prints on both streams, without the white space around it.
    pub async fn said(&mut self, id: &str, script: &str) -> anyhow::Result<String> {
        let answer = self.exec(id, script).await?;
        let mut text = answer.stdout;
        text.extend_from_slice(&answer.stderr);
        Ok(String::from_utf8(text)?.trim().to_owned())
    }

    /// The process id of a running container on the node.
    pub async fn pid(&mut self, id: &str) -> anyhow::Result<i32> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: true };
        let answer = self.client.runtime.container_status(request).await?.into_inner();
        let info = answer.info.get("info").context("no info in a verbose status")?;
        let info: serde_json::Value = serde_json::from_str(info)?;
        let pid = info["pid"].as_i64().filter(|pid| *pid > 0).context("no pid in a verbose status")?;
        Ok(i32::try_from(pid)?)
    }

    /// The directory of a running container's cgroup in the v1 hierarchy of a controller, or the v2 tree.
    pub async fn cgroup(&mut self, id: &str, controller: &str) -> anyhow::Result<std::path::PathBuf> {
        let pid = self.pid(id).await?;
        let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut unified = None;
        for line in table.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            if controllers.split(',').any(|name| name == controller) {
                return Ok(format!("/sys/fs/cgroup/{controller}{path}").into());
            }
            if controllers.is_empty() {
                unified = Some(format!("/sys/fs/cgroup{path}").into());
            }
        }
        unified.context("no cgroup")
    }
}
