//! The engine may go away at any time: containers, logs and exit codes do not need it.

use std::time::Duration;

use ochre_cri_api as api;
use ochre_e2e::{Node, container, eventually, file_with, pod};

#[tokio::test]
async fn containers_write_and_exit_while_the_engine_is_down_and_all_is_known_afterwards() -> anyhow::Result<()>
{
    for kill in [false, true] {
        let mut node = Node::start().await?;
        let config = pod(&node, "down");
        let id = node.run_pod(&config).await?;
        let writer = node
            .launch(&id, container("writer", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done"))
            .await?;
        let ending = node.launch(&id, container("ending", "sleep 0.3; echo last words; exit 42")).await?;
        let created = node.create(&id, container("created", "echo started later")).await?;
        if kill {
            node.engine.kill()?;
        } else {
            node.engine.stop()?;
        }
        file_with(&node.path("logs/down/ending.log"), "last words").await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;

        let ended = node.exited(&ending).await?;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (42, "Error"));
        assert!(ended.finished_at > ended.started_at);
        let running = node.status(&writer).await?;
        assert_eq!(running.state, api::ContainerState::ContainerRunning as i32);
        assert_eq!(node.status(&created).await?.state, api::ContainerState::ContainerCreated as i32);
        node.start_container(&created).await?;
        assert_eq!(node.exited(&created).await?.exit_code, 0);
        let exec = node.exec(&writer, "echo still here").await?;
        assert_eq!(exec.stdout, b"still here\n");
        node.stop_container(&writer, 0).await?;

        let log = std::fs::read_to_string(node.path("logs/down/writer.log"))?;
        let numbers: Vec<usize> =
            log.lines().filter_map(|line| line.rsplit(' ').next()).filter_map(|n| n.parse().ok()).collect();
        assert!(numbers.len() > 15, "{}", numbers.len());
        assert!(numbers.iter().copied().eq(0..numbers.len()), "no line is lost or doubled");

        let status = node
            .client
            .runtime
            .pod_sandbox_status(api::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false })
            .await?
            .into_inner();
        assert!(!status.status.unwrap().network.unwrap().ip.is_empty());
        node.remove_pod(&id).await?;
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_monitor_that_is_killed_is_replaced_and_its_container_goes_on() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "monitor");
    let id = node.run_pod(&config).await?;
    let app = node
        .launch(
            &id,
            container("app", "trap 'exit 9' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"),
        )
        .await?;
    let log = node.path("logs/monitor/app.log");
    file_with(&log, " F 3").await?;
    let needle = node.path("run").to_string_lossy().into_owned();
    let monitors: Vec<_> = ochre_test_support::leftovers::find(&node.path(""))
        .processes
        .into_iter()
        .filter(|(_, line)| line.contains("ochre-monitor") && line.contains(&needle))
        .collect();
    let [(pid, _)] = monitors.as_slice() else { anyhow::bail!("one monitor was expected: {monitors:?}") };
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(*pid).unwrap(),
        rustix::process::Signal::KILL,
    )?;
    let before = std::fs::read_to_string(&log)?.lines().count();
    eventually("further lines of the log", async || {
        Ok(Some(())
            .filter(|()| std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > before + 5)))
    })
    .await?;
    assert_eq!(node.status(&app).await?.state, api::ContainerState::ContainerRunning as i32);
    node.stop_container(&app, 5).await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_creation_that_kill_9_interrupts_is_undone_or_finished() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for round in 0..12_u64 {
        let config = pod(&node, &format!("crash-{round}"));
        let mut client = node.client.clone();
        let request = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let run = tokio::spawn(async move { client.runtime.run_pod_sandbox(request).await.map(drop) });
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        node.engine.kill()?;
        drop(run.await);
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        let id = node.run_pod(&config).await?;
        let app = node.launch(&id, container("app", "echo fine")).await?;
        assert_eq!(node.exited(&app).await?.exit_code, 0);
        node.remove_pod(&id).await?;
    }
    node.finish()
}
