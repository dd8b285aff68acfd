//! A pod's life with each OCI runtime: the engine's own, and Debian's runc and crun.

use ochre_cri_api as api;
use ochre_e2e::{Node, container, eventually, file_with, pod, pod_sharing_pids};

/// Runs a life with one handler.
async fn life(handler: &str) -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "life");
    let id = node.run_pod_with(&config, handler).await?;
    let app = node
        .launch(
            &id,
            container("app", "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 0.05; done"),
        )
        .await?;
    let done = node.launch(&id, container("done", "echo bye; exit 3")).await?;

    let log = file_with(&node.path("logs/life/app.log"), " stderr F err").await?;
    let line = log.lines().find(|line| line.contains(" stdout F out")).unwrap_or_default();
    assert!(line.split(' ').next().is_some_and(|time| time.contains('T')), "{log}");

    let ended = node.exited(&done).await?;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (3, "Error"));
    assert!(ended.created_at <= ended.started_at && ended.started_at <= ended.finished_at);

    let exec = node.exec(&app, "echo $IMAGE; echo oops >&2; exit 5").await?;
    assert_eq!(
        (exec.stdout.as_slice(), exec.stderr.as_slice(), exec.exit_code),
        (&b"busybox\n"[..], &b"oops\n"[..], 5)
    );

    node.stop_container(&app, 10).await?;
    let stopped = node.status(&app).await?;
    assert_eq!((stopped.exit_code, stopped.state), (7, api::ContainerState::ContainerExited as i32));
    // Again, and unknown ids: success, as CRI asks.
    node.stop_container(&app, 10).await?;
    node.stop_container(&"0".repeat(64), 0).await?;

    node.remove_container(&done).await?;
    node.remove_container(&done).await?;
    assert_eq!(node.status(&done).await.unwrap_err().code(), tonic::Code::NotFound);
    node.remove_pod(&id).await?;
    node.remove_pod(&id).await?;
    let left = node.client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
    assert!(left.containers.is_empty());
    node.finish()
}

#[tokio::test]
async fn a_pod_lives_and_leaves_nothing_with_the_engines_own_runtime() -> anyhow::Result<()> {
    life("ochre").await
}

#[tokio::test]
async fn a_pod_lives_and_leaves_nothing_with_runc() -> anyhow::Result<()> {
    life("runc").await
}

#[tokio::test]
async fn a_pod_lives_and_leaves_nothing_with_crun() -> anyhow::Result<()> {
    life("crun").await
}

#[tokio::test]
async fn containers_share_a_pid_namespace_when_the_pod_says_so() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod_sharing_pids(&node, "shared");
    let id = node.run_pod(&config).await?;
    let mut first = container("first", "sleep 1000");
    let mut second = container("second", "sleep 2000");
    for one in [&mut first, &mut second] {
        let security = one.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
        security.unwrap().namespace_options = Some(api::NamespaceOption::default());
    }
    node.launch(&id, first).await?;
    let second = node.launch(&id, second).await?;
    // The pause process has the least weight there is: on a busy machine it takes its time to become what it is.
    eventually("both processes in sight", async || {
        let seen = node.exec(&second, "cat /proc/*/cmdline | tr '\\0' ' '").await?;
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        Ok(Some(()).filter(|()| seen.contains("sleep 1000") && seen.contains("/pause pause")))
    })
    .await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_container_can_join_the_pid_namespace_of_another_one() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "target");
    let id = node.run_pod(&config).await?;
    let target = node.launch(&id, container("target", "sleep 1234")).await?;
    let mut guest = container("guest", "cat /proc/1/cmdline | tr '\\0' ' '");
    let security = guest.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).unwrap();
    security.namespace_options = Some(api::NamespaceOption {
        pid: api::NamespaceMode::Target as i32,
        target_id: target.clone(),
        ..Default::default()
    });
    let mut lost = guest.clone();
    let guest = node.launch(&id, guest).await?;
    node.exited(&guest).await?;
    file_with(&node.path("logs/target/guest.log"), "sleep 1234").await?;
    lost.metadata = Some(api::ContainerMetadata { name: "lost".into(), attempt: 0 });
    let security = lost.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).unwrap();
    security.namespace_options.as_mut().unwrap().target_id = "0".repeat(64);
    let refused = node.create(&id, lost).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn retries_get_the_same_pod_and_container() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "retry");
    let (first, second) = {
        let (mut a, mut b) = (node.client.clone(), node.client.clone());
        let request = || api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        tokio::join!(async { a.runtime.run_pod_sandbox(request()).await }, async {
            b.runtime.run_pod_sandbox(request()).await
        })
    };
    let id = first?.into_inner().pod_sandbox_id;
    assert_eq!(id, second?.into_inner().pod_sandbox_id);
    let app = node.create(&id, container("app", "sleep 1000")).await?;
    assert_eq!(app, node.create(&id, container("app", "sleep 1000")).await?);
    // The same name for something else is refused.
    let other = node.create(&id, container("app", "sleep 5")).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::AlreadyExists, "{other}");
    let mut changed = config.clone();
    changed.hostname = "other".into();
    assert_eq!(node.run_pod(&changed).await.unwrap_err().code(), tonic::Code::AlreadyExists);
    // A caller that gives up does not stop the work: the retry finds it done.
    let hasty = pod(&node, "hasty");
    let request = api::RunPodSandboxRequest { config: Some(hasty.clone()), ..Default::default() };
    let mut impatient = node.client.clone();
    drop(
        tokio::time::timeout(
            std::time::Duration::from_micros(300),
            impatient.runtime.run_pod_sandbox(request),
        )
        .await,
    );
    let hasty = node.run_pod(&hasty).await?;
    for pod in [id, hasty] {
        node.remove_pod(&pod).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_second_stop_with_less_grace_shortens_the_first() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "grace");
    let id = node.run_pod(&config).await?;
    let stubborn = node
        .launch(&id, container("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
        .await?;
    file_with(&node.path("logs/grace/stubborn.log"), "ready").await?;
    let mut patient = node.client.clone();
    let request = api::StopContainerRequest { container_id: stubborn.clone(), timeout: 86_400 };
    let first = tokio::spawn(async move { patient.runtime.stop_container(request).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!first.is_finished());
    node.stop_container(&stubborn, 0).await?;
    first.await??;
    let status = node.status(&stubborn).await?;
    assert_eq!(status.exit_code, 137);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn an_exec_that_times_out_leaves_no_process() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "exec");
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, container("app", "sleep 1000")).await?;
    let request = api::ExecSyncRequest {
        container_id: app.clone(),
        cmd: ["/bin/sh", "-c", "sleep 4321 & setsid sleep 4321 & sleep 4321"].map(str::to_owned).to_vec(),
        timeout: 1,
    };
    let refused = node.client.runtime.exec_sync(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
    eventually("the end of every sleep", async || {
        let seen = node.exec(&app, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await?;
        Ok(Some(()).filter(|()| !String::from_utf8_lossy(&seen.stdout).contains("sleep 4321 ")))
    })
    .await?;
    // A background child that keeps the pipes open does not keep the call.
    let began = std::time::Instant::now();
    let answer = node.exec(&app, "echo here; sleep 600 &").await?;
    assert_eq!(answer.stdout, b"here\n");
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "the call waited for the background child");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn exec_output_is_cut_at_16_mib_and_the_command_goes_on() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "flood");
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, container("app", "sleep 1000")).await?;
    let answer = node.exec(&app, "head -c 20000000 /dev/zero; echo done >&2; exit 4").await?;
    assert_eq!((answer.stdout.len(), answer.exit_code), (16 << 20, 4));
    assert_eq!(answer.stderr, b"done\n");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn what_the_kernel_kills_for_memory_is_oomkilled() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "oom");
    let id = node.run_pod(&config).await?;
    for handler_independent in ["hog"] {
        let mut hog = container(handler_independent, "x=$(yes | head -c 100000000); echo ${#x}");
        let linux = hog.linux.as_mut().unwrap();
        linux.resources = Some(api::LinuxContainerResources {
            memory_limit_in_bytes: 16 << 20,
            memory_swap_limit_in_bytes: 16 << 20,
            ..Default::default()
        });
        let hog = node.launch(&id, hog).await?;
        let ended = node.exited(&hog).await?;
        assert_eq!((ended.reason.as_str(), ended.exit_code), ("OOMKilled", 137), "{ended:?}");
    }
    node.remove_pod(&id).await?;
    node.finish()
}
