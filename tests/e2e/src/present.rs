//! Everything that a request could leave on a node, to be compared before and after one that is refused.

use std::path::Path;

use ochre_cri_api as api;

use crate::{Node, run};

/// What is there now: of the engine's lists, of its directories, and in the kernel.
#[derive(Debug)]
pub struct Present {
    pods: Vec<String>,
    containers: Vec<String>,
    files: Vec<String>,
    mounts: Vec<String>,
    links: Vec<String>,
    firewall: Vec<String>,
    groups: Vec<String>,
}

impl Present {
    /// Looks at a node whose pods are all below the cgroup `parent`, if one is given.
    ///
    /// # Errors
    /// Of the engine's lists, or of the tools that ask the kernel.
    pub async fn on(node: &mut Node, parent: Option<&str>) -> anyhow::Result<Self> {
        let pods =
            node.client.runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await?.into_inner();
        let all =
            node.client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
        let own = node.path("").display().to_string();
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mut present = Self {
            pods: pods.items.into_iter().map(|pod| pod.id).collect(),
            containers: all.containers.into_iter().map(|container| container.id).collect(),
            files: files(node),
            mounts: table.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect(),
            links: links(&run("ip", &["-o", "-brief", "link"])?),
            firewall: lines(&run("nft", &["-s", "list", "ruleset"])?),
            groups: Vec::new(),
        };
        if let Some(parent) = parent {
            let hierarchies = std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path());
            for top in std::iter::once("/sys/fs/cgroup".into()).chain(hierarchies) {
                directories(&top.join(parent), &mut present.groups);
            }
        }
        for list in [&mut present.pods, &mut present.containers, &mut present.files, &mut present.groups] {
            list.sort();
        }
        Ok(present)
    }

    /// Fails unless a node is as before, at once or when what was going on besides has ended.
    ///
    /// # Errors
    /// As [`Present::on`].
    pub async fn unchanged(
        node: &mut Node,
        parent: Option<&str>,
        before: &Self,
        name: &str,
    ) -> anyhow::Result<()> {
        for _ in 0..50 {
            let now = Self::on(node, parent).await?;
            if format!("{now:?}") == format!("{before:?}") {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self::on(node, parent).await?.same(before, name);
        Ok(())
    }

    /// Fails with the differences only.
    pub fn same(&self, before: &Self, name: &str) {
        for (now, then) in [
            (&self.pods, &before.pods),
            (&self.containers, &before.containers),
            (&self.files, &before.files),
            (&self.mounts, &before.mounts),
            (&self.links, &before.links),
            (&self.firewall, &before.firewall),
            (&self.groups, &before.groups),
        ] {
            let new: Vec<_> = now.iter().filter(|one| !then.contains(one)).collect();
            let gone: Vec<_> = then.iter().filter(|one| !now.contains(one)).collect();
            assert!(new.is_empty() && gone.is_empty(), "{name}: new {new:?}, gone {gone:?}");
        }
    }
}

/// Name and hardware address of each device: the kernel notices up to a second later that a bridge has no carrier.
fn links(text: &str) -> Vec<String> {
    let fields = |line: &str| line.split_whitespace().step_by(2).take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(fields).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Names in the engine's directories, those of its pods as well.
fn files(node: &Node) -> Vec<String> {
    const FOLDERS: [&str; 10] = [
        "run/ochre/pods",
        "root/ochre/pods",
        "root/ochre/network",
        "ns",
        "ns/netns",
        "ns/ipcns",
        "ns/utsns",
        "ns/userns",
        "root/overlay",
        "exits",
    ];
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for folder in FOLDERS {
        found.extend(names(&node.path(folder)));
    }
    for pods in ["run/ochre/pods", "root/ochre/pods"] {
        for pod in names(&node.path(pods)) {
            found.extend(names(&pod));
        }
    }
    found.iter().map(|path| path.display().to_string()).collect()
}

fn directories(path: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path().display().to_string());
            directories(&entry.path(), found);
        }
    }
}
