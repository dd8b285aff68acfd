//! Pods and containers as the API shows them.

use ochre_cri_api as api;
use ochre_pod::config::SandboxConfig;
use ochre_pod::{Container, ContainerState, ExitReason, Made, Sandbox, SandboxState};

use super::container::mount_to_api;
use super::{resources, security, signal};

pub(crate) fn sandbox_metadata(config: &SandboxConfig) -> api::PodSandboxMetadata {
    api::PodSandboxMetadata {
        name: config.metadata.name.clone(),
        uid: config.metadata.uid.clone(),
        namespace: config.metadata.namespace.clone(),
        attempt: config.metadata.attempt,
    }
}

fn sandbox_state(state: &SandboxState) -> i32 {
    let state = match state {
        SandboxState::Ready(_) => api::PodSandboxState::SandboxReady,
        SandboxState::Creating
        | SandboxState::Stopping(_)
        | SandboxState::Stopped
        | SandboxState::Removing => api::PodSandboxState::SandboxNotready,
    };
    state as i32
}

/// A row of ListPodSandbox.
pub(crate) fn sandbox_row(sandbox: &Sandbox) -> api::PodSandbox {
    api::PodSandbox {
        id: sandbox.id.to_string(),
        metadata: Some(sandbox_metadata(&sandbox.config)),
        state: sandbox_state(&sandbox.state()),
        created_at: sandbox.created_at.nanos(),
        labels: sandbox.config.labels.clone(),
        annotations: sandbox.config.annotations.clone(),
        runtime_handler: sandbox.config.handler.clone(),
    }
}

/// PodSandboxStatus.
pub(crate) fn sandbox(sandbox: &Sandbox) -> api::PodSandboxStatus {
    sandbox_in(sandbox, &sandbox.state())
}

/// PodSandboxStatus in a state that it may have left since.
pub(crate) fn sandbox_in(sandbox: &Sandbox, state: &SandboxState) -> api::PodSandboxStatus {
    let ips: Vec<String> =
        state.live().map(|l| l.ips.iter().map(ToString::to_string).collect()).unwrap_or_default();
    let mut ips = ips.into_iter();
    api::PodSandboxStatus {
        id: sandbox.id.to_string(),
        metadata: Some(sandbox_metadata(&sandbox.config)),
        state: sandbox_state(state),
        created_at: sandbox.created_at.nanos(),
        network: Some(api::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| api::PodIp { ip }).collect(),
        }),
        linux: Some(api::LinuxPodSandboxStatus {
            namespaces: Some(api::Namespace {
                options: Some(security::namespaces_to_api(&sandbox.config.namespaces)),
            }),
        }),
        labels: sandbox.config.labels.clone(),
        annotations: sandbox.config.annotations.clone(),
        runtime_handler: sandbox.config.handler.clone(),
    }
}

pub(crate) fn container_metadata(container: &Container) -> api::ContainerMetadata {
    api::ContainerMetadata {
        name: container.config.metadata.name.clone(),
        attempt: container.config.metadata.attempt,
    }
}

/// CRI's four states are a projection of the engine's.
pub(crate) fn container_state(state: &ContainerState) -> api::ContainerState {
    match state {
        ContainerState::Creating => api::ContainerState::ContainerUnknown,
        ContainerState::Created(_) => api::ContainerState::ContainerCreated,
        ContainerState::Running { .. } => api::ContainerState::ContainerRunning,
        ContainerState::Stopping { .. } if state.is_running() => api::ContainerState::ContainerRunning,
        ContainerState::Stopping { .. } => api::ContainerState::ContainerCreated,
        ContainerState::Exited { .. } | ContainerState::Removing { .. } => {
            api::ContainerState::ContainerExited
        }
    }
}

fn image_spec(container: &Container) -> api::ImageSpec {
    api::ImageSpec {
        image: container.config.image.clone(),
        user_specified_image: container.config.user_specified_image.clone(),
        ..Default::default()
    }
}

/// A row of ListContainers; `made` is there for every visible container.
pub(crate) fn container_row(container: &Container, made: &Made) -> api::Container {
    api::Container {
        id: container.id.to_string(),
        pod_sandbox_id: container.sandbox.id.to_string(),
        metadata: Some(container_metadata(container)),
        image: Some(image_spec(container)),
        image_ref: made.image_reference.clone(),
        state: container_state(&container.state()) as i32,
        created_at: container.created_at.nanos(),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        image_id: made.image_id.to_string(),
    }
}

/// How a container ended, in the API's fields.
struct End {
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    reason: &'static str,
    message: String,
}

fn end(state: &ContainerState) -> End {
    let running = |started_at: i64| End {
        started_at,
        finished_at: 0,
        exit_code: 0,
        reason: "",
        message: String::new(),
    };
    match state {
        ContainerState::Creating | ContainerState::Created(_) => running(0),
        ContainerState::Running { started_at, .. } | ContainerState::Stopping { started_at, .. } => {
            running(started_at.nanos())
        }
        ContainerState::Exited { started_at, exit, reason }
        | ContainerState::Removing { started_at, exit, reason } => {
            let (reason, message) = match reason {
                ExitReason::StartFailed(text) => ("StartError", text.clone()),
                ExitReason::Lost => {
                    ("Error", "the node or the monitor restarted; nobody saw the exit code".to_owned())
                }
                ExitReason::Process if exit.oom_killed => ("OOMKilled", String::new()),
                ExitReason::Process if exit.code == 0 => ("Completed", String::new()),
                ExitReason::Process => ("Error", String::new()),
            };
            // A container that never ran still needs a start before its end, as the kubelet compares the two.
            let finished_at = exit.finished_at.nanos();
            let started_at = if started_at.nanos() == 0 { finished_at } else { started_at.nanos() };
            End { started_at, finished_at, exit_code: exit.code, reason, message }
        }
    }
}

/// ContainerStatus.
pub(crate) fn container(container: &Container, made: &Made) -> api::ContainerStatus {
    container_in(container, made, &container.state())
}

/// ContainerStatus in a state that it may have left since.
pub(crate) fn container_in(
    container: &Container,
    made: &Made,
    state: &ContainerState,
) -> api::ContainerStatus {
    let end = end(state);
    api::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(container_metadata(container)),
        state: container_state(state) as i32,
        created_at: container.created_at.nanos(),
        started_at: end.started_at,
        finished_at: end.finished_at,
        exit_code: end.exit_code,
        image: Some(api::ImageSpec { image: made.image_name.clone(), ..image_spec(container) }),
        image_ref: made.image_reference.clone(),
        reason: end.reason.to_owned(),
        message: end.message,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container
            .config
            .mounts
            .iter()
            .enumerate()
            .map(|(place, mount)| mount_to_api(mount, made.volumes.get(&place)))
            .collect(),
        log_path: made.log_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        resources: Some(api::ContainerResources {
            linux: Some(resources::to_api(&container.resources())),
            windows: None,
        }),
        image_id: made.image_id.to_string(),
        user: Some(api::ContainerUser {
            linux: Some(api::LinuxContainerUser {
                uid: made.uid.into(),
                gid: made.gid.into(),
                supplemental_groups: made.groups.iter().map(|gid| i64::from(*gid)).collect(),
            }),
        }),
        stop_signal: signal::to_api(made.stop_signal),
    }
}

/// Whether an object's labels contain everything that a selector asks for.
pub(crate) fn selected(
    labels: &std::collections::BTreeMap<String, String>,
    selector: &std::collections::BTreeMap<String, String>,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ochre_types::{Exit, Timestamp};

    fn exited(code: i32, oom_killed: bool, reason: ExitReason) -> End {
        let exit = Exit { code, finished_at: Timestamp::from_nanos(9), oom_killed };
        end(&ContainerState::Exited { started_at: Timestamp::from_nanos(5), exit, reason })
    }

    #[test]
    fn reasons_are_those_that_the_kubelet_knows() {
        assert_eq!(exited(0, false, ExitReason::Process).reason, "Completed");
        assert_eq!(exited(3, false, ExitReason::Process).reason, "Error");
        assert_eq!(exited(137, true, ExitReason::Process).reason, "OOMKilled");
        let failed = exited(128, false, ExitReason::StartFailed("no such program".into()));
        assert_eq!((failed.reason, failed.message.as_str()), ("StartError", "no such program"));
    }

    #[test]
    fn a_selector_needs_every_label() {
        let labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into();
        let one = [("a".to_owned(), "1".to_owned())].into();
        let other = [("a".to_owned(), "2".to_owned())].into();
        assert!(
            selected(&labels, &one) && !selected(&labels, &other) && selected(&labels, &Default::default())
        );
    }
}
