//! Requests with what every test needs filled in.

use std::io::Write;

use ochre_cri_api as api;
use ochre_test_support::leftovers;

use crate::{BUSYBOX, Node};

fn namespaces(pid: api::NamespaceMode) -> Option<api::NamespaceOption> {
    Some(api::NamespaceOption { pid: pid as i32, ..Default::default() })
}

fn pod_with(node: &Node, name: &str, pid: api::NamespaceMode) -> api::PodSandboxConfig {
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.into(),
            uid: format!("{name}-uid"),
            namespace: "e2e".into(),
            attempt: 0,
        }),
        log_directory: node.path(&format!("logs/{name}")).to_string_lossy().into_owned(),
        linux: Some(api::LinuxPodSandboxConfig {
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: namespaces(pid),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A pod as the kubelet asks for it: each container has its own PID namespace.
pub fn pod(node: &Node, name: &str) -> api::PodSandboxConfig {
    pod_with(node, name, api::NamespaceMode::Container)
}

/// A pod whose containers share a PID namespace.
pub fn pod_sharing_pids(node: &Node, name: &str) -> api::PodSandboxConfig {
    pod_with(node, name, api::NamespaceMode::Pod)
}

/// A busybox container that runs a shell script and logs to `<name>.log`.
pub fn container(name: &str, script: &str) -> api::ContainerConfig {
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: BUSYBOX.into(), ..Default::default() }),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        log_path: format!("{name}.log"),
        linux: Some(api::LinuxContainerConfig {
            security_context: Some(api::LinuxContainerSecurityContext {
                namespace_options: namespaces(api::NamespaceMode::Container),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Node {
    /// Runs a pod; returns its id.
    pub async fn run_pod(&mut self, config: &api::PodSandboxConfig) -> Result<String, tonic::Status> {
        self.run_pod_with(config, "").await
    }

    /// Runs a pod with a handler; returns its id.
    pub async fn run_pod_with(
        &mut self,
        config: &api::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, tonic::Status> {
        let request =
            api::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
        let id = self.client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        Ok(self.noted(id))
    }

    /// Makes a container; returns its id.
    pub async fn create(&mut self, pod: &str, config: api::ContainerConfig) -> Result<String, tonic::Status> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.into(),
            config: Some(config),
            sandbox_config: None,
        };
        let id = self.client.runtime.create_container(request).await?.into_inner().container_id;
        Ok(self.noted(id))
    }

    /// Notes an id on file, so that its processes and groups are found whatever the engine believes.
    fn noted(&self, id: String) -> String {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.path(leftovers::IDS));
        file.and_then(|mut file| writeln!(file, "{id}")).expect("the test's own directory is writable");
        id
    }

    /// Starts a container.
    pub async fn start_container(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = api::StartContainerRequest { container_id: id.into() };
        self.client.runtime.start_container(request).await.map(drop)
    }

    /// Makes and starts a container; returns its id.
    pub async fn launch(&mut self, pod: &str, config: api::ContainerConfig) -> Result<String, tonic::Status> {
        let id = self.create(pod, config).await?;
        self.start_container(&id).await?;
        Ok(id)
    }

    /// A container's status.
    pub async fn status(&mut self, id: &str) -> Result<api::ContainerStatus, tonic::Status> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = self.client.runtime.container_status(request).await?.into_inner();
        answer.status.ok_or_else(|| tonic::Status::internal("no status in the answer"))
    }

    /// Waits until a container has ended; returns its status.
    pub async fn exited(&mut self, id: &str) -> anyhow::Result<api::ContainerStatus> {
        crate::eventually("the container's end", async || {
            let status = self.status(id).await?;
            Ok(Some(status).filter(|status| status.state == api::ContainerState::ContainerExited as i32))
        })
        .await
    }

    /// Runs a shell script in a container.
    pub async fn exec(&mut self, id: &str, script: &str) -> Result<api::ExecSyncResponse, tonic::Status> {
        let request = api::ExecSyncRequest {
            container_id: id.into(),
            cmd: vec!["/bin/sh".into(), "-c".into(), script.into()],
            timeout: 10,
        };
        Ok(self.client.runtime.exec_sync(request).await?.into_inner())
    }

    /// Stops a container.
    pub async fn stop_container(&mut self, id: &str, timeout: i64) -> Result<(), tonic::Status> {
        let request = api::StopContainerRequest { container_id: id.into(), timeout };
        self.client.runtime.stop_container(request).await.map(drop)
    }

    /// Removes a container.
    pub async fn remove_container(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = api::RemoveContainerRequest { container_id: id.into() };
        self.client.runtime.remove_container(request).await.map(drop)
    }

    /// Stops and removes a pod.
    pub async fn remove_pod(&mut self, id: &str) -> Result<(), tonic::Status> {
        self.client
            .runtime
            .stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: id.into() })
            .await?;
        self.client
            .runtime
            .remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: id.into() })
            .await?;
        Ok(())
    }
}
