//! Lives of pods: one container each, in the engine's own network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ochre_client::Client;
use ochre_cri_api as api;

use super::report::Report;
use super::{Arguments, Engine, memory};

/// How long the throughput of one number of workers is measured.
const THROUGHPUT: Duration = Duration::from_secs(8);
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// The pod and container that every measurement uses.
fn pod() -> api::PodSandboxConfig {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("bench-{}-{number}", std::process::id());
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            uid: name.clone(),
            name,
            namespace: "bench".into(),
            attempt: 0,
        }),
        linux: Some(api::LinuxPodSandboxConfig {
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn namespaces() -> api::NamespaceOption {
    api::NamespaceOption { pid: api::NamespaceMode::Container as i32, ..Default::default() }
}

fn container(image: &str) -> api::ContainerConfig {
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "main".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: image.into(), ..Default::default() }),
        command: vec!["/bin/sleep".into(), "100000".into()],
        linux: Some(api::LinuxContainerConfig {
            security_context: Some(api::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

struct Up {
    pod: String,
    container: String,
}

/// Makes a pod ready; hands the duration of each step to `note`.
async fn up(client: &mut Client, image: &str, note: &mut impl FnMut(&str, Duration)) -> anyhow::Result<Up> {
    let config = pod();
    let whole = Instant::now();
    let began = Instant::now();
    let request = api::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    let pod = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    note("RunPodSandbox", began.elapsed());
    let began = Instant::now();
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(container(image)),
        sandbox_config: Some(config),
    };
    let container = client.runtime.create_container(request).await?.into_inner().container_id;
    note("CreateContainer", began.elapsed());
    let began = Instant::now();
    client.runtime.start_container(api::StartContainerRequest { container_id: container.clone() }).await?;
    note("StartContainer", began.elapsed());
    note("pod ready (three above)", whole.elapsed());
    Ok(Up { pod, container })
}

/// Takes a pod down; hands the duration of each step to `note`.
async fn down(client: &mut Client, up: Up, note: &mut impl FnMut(&str, Duration)) -> anyhow::Result<()> {
    let whole = Instant::now();
    let began = Instant::now();
    let request = api::StopContainerRequest { container_id: up.container.clone(), timeout: 0 };
    client.runtime.stop_container(request).await?;
    note("StopContainer", began.elapsed());
    let began = Instant::now();
    client.runtime.remove_container(api::RemoveContainerRequest { container_id: up.container }).await?;
    note("RemoveContainer", began.elapsed());
    let began = Instant::now();
    client.runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: up.pod.clone() }).await?;
    note("StopPodSandbox", began.elapsed());
    let began = Instant::now();
    client.runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: up.pod }).await?;
    note("RemovePodSandbox", began.elapsed());
    note("pod torn down (four above)", whole.elapsed());
    Ok(())
}

/// Every RPC of a life, one life at a time, the engines in turns.
pub(super) async fn latencies(
    engines: &[Engine],
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for engine in engines {
        let mut client = Client::connect(&engine.socket).await?;
        // A first life that nobody counts fills caches on every side.
        let warm = up(&mut client, &arguments.image, &mut |_, _| {}).await?;
        down(&mut client, warm, &mut |_, _| {}).await?;
        clients.push(client);
    }
    for _ in 0..arguments.lives {
        for (column, client) in clients.iter_mut().enumerate() {
            let alive =
                up(client, &arguments.image, &mut |row, time| report.sample(row, column, time)).await?;
            exec(client, &alive.container, column, report).await?;
            down(client, alive, &mut |row, time| report.sample(row, column, time)).await?;
        }
    }
    Ok(())
}

async fn exec(
    client: &mut Client,
    container: &str,
    column: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..3 {
        let began = Instant::now();
        let request = api::ExecSyncRequest {
            container_id: container.into(),
            cmd: vec!["/bin/true".into()],
            timeout: 10,
        };
        let answer = client.runtime.exec_sync(request).await?.into_inner();
        anyhow::ensure!(answer.exit_code == 0, "exec failed: {}", String::from_utf8_lossy(&answer.stderr));
        report.sample("ExecSync true", column, began.elapsed());
    }
    Ok(())
}

/// Whole lives per second with some workers.
pub(super) async fn throughput(
    engines: &[Engine],
    arguments: &Arguments,
    workers: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (column, engine) in engines.iter().enumerate() {
        let done = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..workers {
            let mut client = Client::connect(&engine.socket).await?;
            let (done, image) = (Arc::clone(&done), arguments.image.clone());
            tasks.push(tokio::spawn(async move {
                while began.elapsed() < THROUGHPUT {
                    let alive = up(&mut client, &image, &mut |_, _| {}).await?;
                    down(&mut client, alive, &mut |_, _| {}).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        report.number(&format!("lives per second, {workers} workers"), column, rate);
    }
    Ok(())
}

/// Memory per idle pod, lists and stats with many pods.
pub(super) async fn many_pods(
    engine: &Engine,
    column: usize,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut client = Client::connect(&engine.socket).await?;
    let before = memory::proportional(engine);
    let mut alive = Vec::new();
    for _ in 0..arguments.pods {
        alive.push(up(&mut client, &arguments.image, &mut |_, _| {}).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let growth = memory::proportional(engine) - before;
    report.number("memory per idle pod, PSS KiB", column, growth / arguments.pods as f64);
    for _ in 0..50 {
        let began = Instant::now();
        client.runtime.list_containers(api::ListContainersRequest::default()).await?;
        report.sample(&format!("ListContainers, {} pods", arguments.pods), column, began.elapsed());
        let began = Instant::now();
        client.runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await?;
        report.sample(&format!("ListPodSandbox, {} pods", arguments.pods), column, began.elapsed());
    }
    for _ in 0..10 {
        let began = Instant::now();
        client.runtime.list_container_stats(api::ListContainerStatsRequest::default()).await?;
        report.sample(&format!("ListContainerStats, {} pods", arguments.pods), column, began.elapsed());
    }
    for one in alive {
        down(&mut client, one, &mut |_, _| {}).await?;
    }
    Ok(())
}

/// Pulls of an image that is not there.
pub(super) async fn pulls(engines: &[Engine], image: &str, report: &mut Report) -> anyhow::Result<()> {
    let spec = || Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
    for _ in 0..3 {
        for (column, engine) in engines.iter().enumerate() {
            let mut client = Client::connect(&engine.socket).await?;
            client.image.remove_image(api::RemoveImageRequest { image: spec() }).await?;
            let began = Instant::now();
            client.image.pull_image(api::PullImageRequest { image: spec(), ..Default::default() }).await?;
            report.sample("PullImage", column, began.elapsed());
        }
    }
    Ok(())
}
