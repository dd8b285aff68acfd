//! Ids that name nothing, or more than one thing.

use ochre_cri_api as api;
use ochre_e2e::{Node, check_refusal, container, pod, pod_namespaces};
use tonic::Code;

#[tokio::test]
async fn unknown_ids_are_not_found_except_where_the_goal_is_reached() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    // Sixteen hexadecimal digits begin all ids: with seventeen pods two share the first one.
    let mut pods = Vec::new();
    for number in 0..17 {
        let mut config = pod(&node, &format!("pod{number}"));
        pod_namespaces(&mut config).network = api::NamespaceMode::Node as i32;
        pods.push(node.run_pod(&config).await?);
    }
    for unknown in ["f".repeat(64), "no such thing".into(), "../../etc".into(), "x".repeat(1 << 20)] {
        let id = || unknown.clone();
        let runtime = &mut node.client.runtime;
        let named = &unknown[..unknown.len().min(64)];
        macro_rules! not_found {
            ($($verb:ident($request:expr);)*) => {
                $(check_refusal(stringify!($verb), &runtime.$verb($request).await.unwrap_err(), Code::NotFound, &[named]);)*
            };
        }
        let config = Some(container("app", "true"));
        not_found! {
            pod_sandbox_status(api::PodSandboxStatusRequest { pod_sandbox_id: id(), verbose: false });
            pod_sandbox_stats(api::PodSandboxStatsRequest { pod_sandbox_id: id() });
            create_container(api::CreateContainerRequest { pod_sandbox_id: id(), config, sandbox_config: None });
            start_container(api::StartContainerRequest { container_id: id() });
            container_status(api::ContainerStatusRequest { container_id: id(), verbose: true });
            container_stats(api::ContainerStatsRequest { container_id: id() });
            reopen_container_log(api::ReopenContainerLogRequest { container_id: id() });
            exec_sync(api::ExecSyncRequest { container_id: id(), cmd: vec!["true".into()], timeout: 1 });
            update_container_resources(api::UpdateContainerResourcesRequest { container_id: id(), ..Default::default() });
        }
        runtime.stop_container(api::StopContainerRequest { container_id: id(), timeout: 0 }).await?;
        runtime.remove_container(api::RemoveContainerRequest { container_id: id() }).await?;
        runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: id() }).await?;
        runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: id() }).await?;
        let filter = Some(api::PodSandboxFilter { id: id(), ..Default::default() });
        assert!(
            runtime
                .list_pod_sandbox(api::ListPodSandboxRequest { filter })
                .await?
                .into_inner()
                .items
                .is_empty()
        );
        let filter = Some(api::ContainerFilter { id: id(), ..Default::default() });
        assert!(
            runtime
                .list_containers(api::ListContainersRequest { filter })
                .await?
                .into_inner()
                .containers
                .is_empty()
        );
    }
    let shared = pods
        .iter()
        .map(|id| &id[..1])
        .find(|digit| pods.iter().filter(|id| id.starts_with(digit)).count() > 1);
    let shared = shared.unwrap().to_owned();
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: shared.clone(), verbose: false };
    let refused = node.client.runtime.pod_sandbox_status(request).await.unwrap_err();
    check_refusal("ambiguous", &refused, Code::InvalidArgument, &[&format!("{shared:?}"), "ambiguous"]);
    // Nothing is removed by a prefix that could mean another pod.
    let request = api::RemovePodSandboxRequest { pod_sandbox_id: shared };
    node.client.runtime.remove_pod_sandbox(request).await.unwrap_err();
    for pod in pods {
        node.remove_pod(&pod[..20]).await?;
    }
    node.finish()
}
