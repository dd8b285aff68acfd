//! `cargo xtask demo`: the engine's main job, shown on private directories that are gone afterwards.
//!
//! No configuration, no registry, no installed runtime, no CNI plugins: the image is made here as an OCI layout, the
//! runtime and the network are the engine's own. A pod of two containers runs over the CRI: a web server, and a client
//! that fetches its page over the pod's loopback.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ochre_client::Client;
use ochre_cri_api as api;
use ochre_test_support::engine::Engine;
use ochre_test_support::layout::{Entry, Image};
use ochre_test_support::leftovers;
use serde_json::json;

const IMAGE: &str = "localhost/ochre-demo:latest";
const PORT: &str = "8080";
/// How long the client may take to fetch the page.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the demonstration with the programs in `programs`.
pub(crate) fn run(programs: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("ochre-demo-").tempdir()?;
    let before = Traces::now()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut steps = Steps::default();
    let engine = steps
        .time("start the engine", || Ok(Engine::start(&programs.join("ochre"), scratch.path(), None)?))?;
    let result = runtime.block_on(show(programs, &engine, &mut steps));
    if result.is_err() {
        eprintln!("--- the engine's log ---\n{}", std::fs::read_to_string(engine.log()).unwrap_or_default());
    }
    result?;
    steps.time("stop the engine", || {
        let mut engine = engine;
        Ok(engine.stop()?)
    })?;
    steps.print();
    before.compare(scratch.path())
}

async fn show(programs: &Path, engine: &Engine, steps: &mut Steps) -> anyhow::Result<()> {
    let image_id = steps.time("make and import the image", || import(programs, engine))?;
    println!("image        {IMAGE}  {}", &image_id[..12]);
    let mut client = Client::connect(&engine.socket()).await?;
    let pod_config = pod_config(engine);
    let began = Instant::now();
    let request = api::RunPodSandboxRequest { config: Some(pod_config.clone()), ..Default::default() };
    let pod = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    steps.add("run the pod", began);
    let web = start(&mut client, &pod, &pod_config, "web", &["/ochre-demo", "serve", PORT], steps).await?;
    let fetch =
        start(&mut client, &pod, &pod_config, "client", &["/ochre-demo", "fetch", PORT], steps).await?;
    std::fs::write(engine.directory().join(leftovers::IDS), format!("{pod}\n{web}\n{fetch}\n"))?;
    let log = engine.directory().join("logs/client.log");
    wait_for(&log, "the page says").await?;
    describe(&mut client, engine, &pod).await?;
    exec(&mut client, &web, steps).await?;
    stats(&mut client).await?;
    tear_down(&mut client, &pod, &[web, fetch], steps).await
}

fn import(programs: &Path, engine: &Engine) -> anyhow::Result<String> {
    let layout = engine.directory().join("layout");
    let program = std::fs::read(programs.join("ochre-demo"))?;
    let image = Image {
        entries: vec![
            Entry::File("ochre-demo".into(), 0o755, program),
            Entry::Directory("etc".into(), 0o755),
            Entry::File("etc/passwd".into(), 0o644, b"root:x:0:0:root:/:/sbin/nologin\n".to_vec()),
        ],
        config: json!({ "Cmd": ["/ochre-demo", "say", "hello"], "WorkingDir": "/" }),
    };
    let id = image.write_layout(&layout, "latest")?;
    let output = Command::new(programs.join("ochre"))
        .args(["import", "--config", "", "--root"])
        .arg(engine.directory().join("root"))
        .arg("--runroot")
        .arg(engine.directory().join("run"))
        .args(["--name", IMAGE])
        .arg(&layout)
        .output()?;
    if !output.status.success() {
        bail!("ochre import failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(id)
}

fn pod_config(engine: &Engine) -> api::PodSandboxConfig {
    let name = api::PodSandboxMetadata {
        name: "demo".into(),
        uid: "demo-uid".into(),
        namespace: "default".into(),
        attempt: 0,
    };
    api::PodSandboxConfig {
        metadata: Some(name),
        hostname: "demo".into(),
        log_directory: engine.directory().join("logs").to_string_lossy().into_owned(),
        linux: Some(api::LinuxPodSandboxConfig {
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(api::NamespaceOption {
                    pid: api::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn start(
    client: &mut Client,
    pod: &str,
    pod_config: &api::PodSandboxConfig,
    name: &str,
    command: &[&str],
    steps: &mut Steps,
) -> anyhow::Result<String> {
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: IMAGE.into(), ..Default::default() }),
        command: command.iter().map(ToString::to_string).collect(),
        log_path: format!("{name}.log"),
        linux: Some(api::LinuxContainerConfig {
            security_context: Some(api::LinuxContainerSecurityContext {
                namespace_options: Some(api::NamespaceOption {
                    pid: api::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                seccomp: Some(api::SecurityProfile::default()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let began = Instant::now();
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.into(),
        config: Some(config),
        sandbox_config: Some(pod_config.clone()),
    };
    let id = client.runtime.create_container(request).await?.into_inner().container_id;
    steps.add(&format!("create container {name}"), began);
    let began = Instant::now();
    client.runtime.start_container(api::StartContainerRequest { container_id: id.clone() }).await?;
    steps.add(&format!("start container {name}"), began);
    Ok(id)
}

async fn wait_for(log: &Path, text: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while !std::fs::read_to_string(log).unwrap_or_default().contains(text) {
        if began.elapsed() > PATIENCE {
            bail!("{} does not say {text:?} after {PATIENCE:?}", log.display());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn describe(client: &mut Client, engine: &Engine, pod: &str) -> anyhow::Result<()> {
    let request = api::PodSandboxStatusRequest { pod_sandbox_id: pod.into(), verbose: false };
    let status =
        client.runtime.pod_sandbox_status(request).await?.into_inner().status.context("no pod status")?;
    println!(
        "pod          {}  ip {}",
        &pod[..12],
        status.network.map(|network| network.ip).unwrap_or_default()
    );
    let list = client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
    for container in list.containers {
        let name = container.metadata.map(|metadata| metadata.name).unwrap_or_default();
        let state = api::ContainerState::try_from(container.state).map_or("?", |state| state.as_str_name());
        println!("container    {}  {name:<8} {state}", &container.id[..12]);
        let log = std::fs::read_to_string(engine.directory().join(format!("logs/{name}.log")))?;
        for line in log.lines() {
            println!("  log        {line}");
        }
    }
    Ok(())
}

async fn exec(client: &mut Client, container: &str, steps: &mut Steps) -> anyhow::Result<()> {
    let began = Instant::now();
    let request = api::ExecSyncRequest {
        container_id: container.into(),
        cmd: ["/ochre-demo", "say", "hello", "from", "an", "exec"].map(str::to_owned).to_vec(),
        timeout: 10,
    };
    let output = client.runtime.exec_sync(request).await?.into_inner();
    steps.add("exec in container web", began);
    print!("exec         exit code {}: {}", output.exit_code, String::from_utf8_lossy(&output.stdout));
    Ok(())
}

async fn stats(client: &mut Client) -> anyhow::Result<()> {
    let list =
        client.runtime.list_container_stats(api::ListContainerStatsRequest::default()).await?.into_inner();
    for stats in list.stats {
        let attributes = stats.attributes.unwrap_or_default();
        let name = attributes.metadata.map(|metadata| metadata.name).unwrap_or_default();
        let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).map_or(0, |value| value.value);
        let memory = stats.memory.and_then(|memory| memory.working_set_bytes).map_or(0, |value| value.value);
        println!("stats        {name:<8} cpu {:.1} ms, memory {} KiB", cpu as f64 / 1e6, memory / 1024);
    }
    Ok(())
}

async fn tear_down(
    client: &mut Client,
    pod: &str,
    containers: &[String],
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let began = Instant::now();
    for id in containers {
        let request = api::StopContainerRequest { container_id: id.clone(), timeout: 0 };
        client.runtime.stop_container(request).await?;
    }
    steps.add("stop both containers", began);
    let began = Instant::now();
    client.runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: pod.into() }).await?;
    steps.add("stop the pod", began);
    let began = Instant::now();
    client.runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: pod.into() }).await?;
    steps.add("remove the pod", began);
    client
        .image
        .remove_image(api::RemoveImageRequest {
            image: Some(api::ImageSpec { image: IMAGE.into(), ..Default::default() }),
        })
        .await?;
    Ok(())
}

/// How long each step took.
#[derive(Default)]
struct Steps(Vec<(String, Duration)>);

impl Steps {
    fn add(&mut self, name: &str, began: Instant) {
        self.0.push((name.to_owned(), began.elapsed()));
    }

    fn time<T>(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        let result = step()?;
        self.add(name, began);
        Ok(result)
    }

    fn print(&self) {
        println!("\ntimes");
        for (name, time) in &self.0 {
            println!("  {name:<26} {:>8.1} ms", time.as_secs_f64() * 1000.0);
        }
    }
}

/// What engines leave behind on a node when they are careless.
struct Traces {
    links: usize,
}

impl Traces {
    fn now() -> anyhow::Result<Self> {
        Ok(Self { links: links()? })
    }

    /// Fails unless everything is as it was.
    fn compare(&self, directory: &Path) -> anyhow::Result<()> {
        let now = Self::now()?;
        let left = leftovers::find(directory);
        let pinned = std::fs::read_dir(directory.join("ns/netns")).map_or(0, Iterator::count);
        let leases = addresses(&directory.join("run"));
        println!("\nleft behind");
        println!("  processes           {}", left.processes.len());
        println!("  mounts              {}", left.mounts.len());
        println!("  network namespaces  {pinned}");
        println!("  cgroups             {}", left.cgroups.len());
        println!("  network interfaces  {}", now.links.saturating_sub(self.links));
        println!("  addresses           {leases}");
        if !left.is_empty() || pinned > 0 || leases > 0 || now.links > self.links {
            bail!("something is left behind: {left:?}");
        }
        println!("nothing.");
        Ok(())
    }
}

fn links() -> anyhow::Result<usize> {
    let links = std::fs::read_dir("/sys/class/net")?.flatten();
    Ok(links.count())
}

/// Address leases of the built-in network.
fn addresses(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += addresses(&entry.path());
        } else if entry.file_name().to_string_lossy().parse::<std::net::IpAddr>().is_ok() {
            count += 1;
        }
    }
    count
}
