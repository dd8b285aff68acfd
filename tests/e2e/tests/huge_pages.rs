//! Limits of huge pages and of swap, as the kernel has them: with every handler, at the creation and after an update.
//!
//! On cgroup v1 the hugetlb controller is mounted for the test where it is not; where there is none, a limit is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use ochre_cri_api as api;
use ochre_e2e::{HANDLERS, Node, check_refusal, container, limits, pod};
use tonic::Code;

const MIB: i64 = 1 << 20;
const TOP: &str = "/sys/fs/cgroup";

fn v2() -> bool {
    Path::new(TOP).join("cgroup.controllers").exists()
}

/// The hugetlb hierarchy, in the mount namespace of this run.
struct Hugetlb {
    path: PathBuf,
    mounted: bool,
}

impl Hugetlb {
    /// `None` where this machine has no such controller.
    fn find() -> anyhow::Result<Option<Self>> {
        if v2() {
            let controllers = std::fs::read_to_string(Path::new(TOP).join("cgroup.controllers"))?;
            let found = controllers.split_whitespace().any(|name| name == "hugetlb");
            return Ok(found.then(|| Self { path: TOP.into(), mounted: false }));
        }
        let path = Path::new(TOP).join("hugetlb");
        if path.join("cgroup.procs").exists() {
            return Ok(Some(Self { path, mounted: false }));
        }
        std::fs::create_dir_all(&path)?;
        let place = path.to_string_lossy();
        let mount =
            Command::new("mount").args(["-t", "cgroup", "-o", "hugetlb", "cgroup", &place]).status()?;
        if !mount.success() {
            std::fs::remove_dir(&path)?;
            return Ok(None);
        }
        Ok(Some(Self { path, mounted: true }))
    }
}

impl Drop for Hugetlb {
    fn drop(&mut self) {
        if self.mounted {
            Command::new("umount").arg(&self.path).status().ok();
            std::fs::remove_dir(&self.path).ok();
        }
    }
}

/// A size of huge pages that this kernel has, as the kubelet writes it.
fn page_size() -> anyhow::Result<Option<&'static str>> {
    let known = |size: &&str| {
        let kilobytes = if *size == "2MB" { "2048" } else { "1048576" };
        Path::new("/sys/kernel/mm/hugepages").join(format!("hugepages-{kilobytes}kB")).is_dir()
    };
    Ok(["2MB", "1GB"].iter().find(|size| known(size)).copied())
}

fn huge(size: &str, limit: u64) -> api::HugepageLimit {
    api::HugepageLimit { page_size: size.into(), limit }
}

async fn update(
    node: &mut Node,
    id: &str,
    resources: api::LinuxContainerResources,
) -> Result<(), tonic::Status> {
    let request = api::UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(resources),
        ..Default::default()
    };
    node.client.runtime.update_container_resources(request).await.map(drop)
}

/// A limit as the kernel has it.
async fn read(node: &mut Node, id: &str, controller: &str, (v1, on_v2): (&str, &str)) -> anyhow::Result<i64> {
    let file = node.cgroup(id, controller).await?.join(if v2() { on_v2 } else { v1 });
    let text =
        std::fs::read_to_string(&file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    Ok(text.trim().parse()?)
}

#[tokio::test]
async fn a_limit_of_huge_pages_is_the_kernels_with_every_handler() -> anyhow::Result<()> {
    let (Some(_hugetlb), Some(size)) = (Hugetlb::find()?, page_size()?) else { return refused().await };
    let files = (format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.max"));
    let files = (files.0.as_str(), files.1.as_str());
    let page = if size == "2MB" { 2 * MIB } else { 1024 * MIB };
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut asked = container("huge", "sleep 10000");
        limits(&mut asked).hugepage_limits = vec![huge(size, (4 * page).unsigned_abs())];
        let app = node.launch(&id, asked).await?;
        assert_eq!(read(&mut node, &app, "hugetlb", files).await?, 4 * page, "{handler}");
        let told = node.status(&app).await?.resources.and_then(|resources| resources.linux);
        assert_eq!(told.unwrap_or_default().hugepage_limits, [huge(size, (4 * page).unsigned_abs())]);

        let mut none = container("none", "sleep 10000");
        limits(&mut none).hugepage_limits = vec![huge(size, 0)];
        let none = node.launch(&id, none).await?;
        assert_eq!(read(&mut node, &none, "hugetlb", files).await?, 0, "{handler}");

        let mut bad = container("bad", "true");
        limits(&mut bad).hugepage_limits = vec![huge("2MiB/../..", 1)];
        let refused = node.create(&id, bad).await.unwrap_err();
        check_refusal(handler, &refused, Code::InvalidArgument, &["bad", "huge page size"]);
        node.remove_pod(&id).await?;
    }
    node.finish()
}

/// Without the controller a limit would be a promise that nobody keeps; that there be none is no promise.
async fn refused() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "without");
    let id = node.run_pod(&config).await?;
    let mut asked = container("huge", "sleep 10000");
    limits(&mut asked).hugepage_limits = vec![huge("2MB", 2 << 20)];
    let refused = node.create(&id, asked.clone()).await.unwrap_err();
    check_refusal("no hugetlb", &refused, Code::InvalidArgument, &["huge", "hugetlb cgroup controller"]);
    limits(&mut asked).hugepage_limits = vec![huge("2MB", 0)];
    node.launch(&id, asked).await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_limit_of_huge_pages_that_nothing_would_keep_is_refused() -> anyhow::Result<()> {
    if !v2() && !Path::new(TOP).join("hugetlb/cgroup.procs").exists() {
        refused().await?;
    }
    Ok(())
}

#[tokio::test]
async fn swap_is_limited_with_memory_where_the_kernel_counts_it() -> anyhow::Result<()> {
    // Version 1 counts memory and swap together, version 2 swap alone.
    let both = |memory: i64, swap: i64| if v2() { swap - memory } else { swap };
    let counted = v2() || Path::new(TOP).join("memory/memory.memsw.limit_in_bytes").exists();
    if !counted {
        return Ok(());
    }
    let files = ("memory.memsw.limit_in_bytes", "memory.swap.max");
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        for (name, swap, expected) in [("some", 96 * MIB, 96 * MIB), ("none", 0, 64 * MIB)] {
            let mut asked = container(name, "sleep 10000");
            limits(&mut asked).memory_limit_in_bytes = 64 * MIB;
            limits(&mut asked).memory_swap_limit_in_bytes = swap;
            let app = node.launch(&id, asked).await?;
            let found = read(&mut node, &app, "memory", files).await?;
            assert_eq!(found, both(64 * MIB, expected), "{handler} {name}");
            let more = api::LinuxContainerResources {
                memory_limit_in_bytes: 80 * MIB,
                memory_swap_limit_in_bytes: 128 * MIB,
                ..Default::default()
            };
            update(&mut node, &app, more).await?;
            let found = read(&mut node, &app, "memory", files).await?;
            assert_eq!(found, both(80 * MIB, 128 * MIB), "{handler} {name}, updated");
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}
