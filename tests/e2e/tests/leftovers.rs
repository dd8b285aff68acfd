//! What a failed creation leaves when a plugin does not take its work back: kept, tried again, and in nobody's way.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::{Node, container, eventually, pod};

/// An address for everybody; fails to give or to take it back while a file beside it says so.
const PLUGIN: &str = r#"#!/bin/sh
here=$(dirname "$0")
cat >/dev/null
failure() { echo '{"cniVersion":"1.0.0","code":100,"msg":"'"$1"'"}'; exit 1; }
case "$CNI_COMMAND" in
    ADD) [ -e "$here/no-add" ] && failure "nothing to give"
         echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"address":"10.97.0.2/24","interface":0}]}' ;;
    DEL) echo "$CNI_CONTAINERID" >>"$here/deletions"
         [ -e "$here/no-del" ] && failure "nothing is taken back" ;;
    VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
esac
exit 0
"#;

struct Scene {
    node: Node,
}

impl Scene {
    async fn start() -> anyhow::Result<Self> {
        let configuration = "[crio.network]\nplugin_dirs = [\"{dir}/plugins\"]\n";
        let node = Node::prepared(configuration, |directory| {
            std::fs::create_dir(directory.join("cni"))?;
            let list = r#"{"cniVersion":"1.0.0","name":"stubborn","plugins":[{"type":"stubborn"}]}"#;
            std::fs::write(directory.join("cni/10-stubborn.conflist"), list)?;
            let plugin = directory.join("plugins/stubborn");
            std::fs::create_dir(directory.join("plugins"))?;
            std::fs::write(&plugin, PLUGIN)?;
            Ok(std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755))?)
        });
        Ok(Self { node: node.await? })
    }

    fn refuse(&self, what: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.node.path("plugins").join(what), "")?)
    }

    fn allow(&self, what: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.node.path("plugins").join(what))?)
    }

    /// The pods that have a record.
    fn records(&self) -> anyhow::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.node.path("root/ochre/pods"))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn record(&self, id: &str) -> PathBuf {
        self.node.path("root/ochre/pods").join(id).join("pod.json")
    }

    fn deletions(&self, id: &str) -> anyhow::Result<usize> {
        let text = std::fs::read_to_string(self.node.path("plugins/deletions"))?;
        Ok(text.lines().filter(|line| *line == id).count())
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.node.engine.kill()?;
        self.node.engine.start_again()?;
        self.node.client = Client::connect(&self.node.engine.socket()).await?;
        Ok(())
    }

    /// A creation that fails and cannot be undone; the id of what is left.
    async fn leave(&mut self, config: &api::PodSandboxConfig) -> anyhow::Result<String> {
        let before = self.records()?;
        self.refuse("no-add")?;
        self.refuse("no-del")?;
        let refused = self.node.run_pod(config).await.unwrap_err();
        assert!(refused.message().contains("nothing to give"), "{refused}");
        let new: Vec<_> = self.records()?.into_iter().filter(|id| !before.contains(id)).collect();
        let [left] = new.as_slice() else { anyhow::bail!("one record was expected: {new:?}") };
        assert!(std::fs::read_to_string(self.record(left))?.contains("Undoing"));
        self.allow("no-add")?;
        Ok(left.clone())
    }

    async fn listed(&mut self) -> anyhow::Result<Vec<(String, i32)>> {
        let request = api::ListPodSandboxRequest::default();
        let pods = self.node.client.runtime.list_pod_sandbox(request).await?.into_inner().items;
        Ok(pods.into_iter().map(|pod| (pod.id, pod.state)).collect())
    }
}

#[tokio::test]
async fn a_retry_undoes_again_what_the_failed_creation_left() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let config = pod(&scene.node, "again");
    let left = scene.leave(&config).await?;
    assert_eq!(scene.listed().await?, []);
    let before = scene.deletions(&left)?;
    scene.allow("no-del")?;
    let id = scene.node.run_pod(&config).await?;
    assert_eq!(scene.deletions(&left)?, before + 1);
    assert_eq!(scene.records()?, std::slice::from_ref(&id));
    scene.node.remove_pod(&id).await?;
    scene.node.finish()
}

#[tokio::test]
async fn what_is_left_shuts_out_no_live_pod_and_goes_at_the_start_that_can_undo_it() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let config = pod(&scene.node, "live");
    let mut all = vec![scene.leave(&config).await?, scene.leave(&config).await?];
    // A retry works although nothing can be undone yet.
    let id = scene.node.run_pod(&config).await?;
    let app = scene.node.launch(&id, container("app", "sleep 10000")).await?;
    let ready = vec![(id.clone(), api::PodSandboxState::SandboxReady as i32)];
    all.push(id.clone());
    all.sort();
    for _ in 0..3 {
        scene.restart().await?;
        assert_eq!(scene.listed().await?, ready);
        assert_eq!(scene.node.status(&app).await?.state, api::ContainerState::ContainerRunning as i32);
        let mut records = scene.records()?;
        records.sort();
        assert_eq!(records, all);
    }
    scene.allow("no-del")?;
    scene.restart().await?;
    assert_eq!(scene.listed().await?, ready);
    assert_eq!(scene.records()?, std::slice::from_ref(&id));
    scene.node.remove_pod(&id).await?;
    scene.node.finish()
}

#[tokio::test]
async fn what_is_left_is_undone_at_the_next_start_without_any_retry() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let config = pod(&scene.node, "gone");
    let left = scene.leave(&config).await?;
    scene.restart().await?;
    assert_eq!(scene.records()?, [left]);
    scene.allow("no-del")?;
    scene.restart().await?;
    eventually("an empty folder of records", async || Ok(scene.records()?.is_empty().then_some(()))).await?;
    scene.node.finish()
}
