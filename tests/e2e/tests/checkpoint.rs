//! Checkpoints: what is in the archive, that the container goes on, and that nothing stays of a failure.
//!
//! CRIU does not work on every kernel, so the runtime of these tests is runc with a `checkpoint` of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, Node, busybox, check_refusal, container, eventually, pod, run};
use tonic::Code;

const CONFIG: &str =
    "[crio.runtime.runtimes.faked]\nruntime_path = \"{dir}/runc\"\nruntime_root = \"{dir}/faked\"\n";

/// runc, but a checkpoint is a file of text, a failure or a long sleep, as the files beside it say.
const RUNTIME: &str = r#"#!/bin/sh
here=$(dirname "$0")
id= images= work= verb= previous=
for word; do
    case "$previous" in --image-path) images=$word;; --work-path) work=$word;; esac
    case "$word" in checkpoint) verb=$word;; esac
    previous=$word id=$word
done
[ "$verb" = checkpoint ] || exec /usr/sbin/runc "$@"
echo "$@" >"$here/arguments"
/usr/sbin/runc --root "$here/faked" state "$id" >"$here/state"
echo "dumping" >"$work/dump.log"
[ -e "$here/slow" ] && { echo $$ >"$here/pid"; exec sleep 1000; }
[ -e "$here/fail" ] && { echo "criu failed: type NOTIFY errno 0" >&2; exit 1; }
echo "pages" >"$images/pages-1.img"
"#;

async fn start() -> anyhow::Result<Node> {
    Node::prepared(CONFIG, |directory| {
        let path = directory.join("runc");
        std::fs::write(&path, RUNTIME)?;
        Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
    })
    .await
}

async fn checkpoint(node: &mut Node, id: &str, location: &Path, timeout: i64) -> Result<(), tonic::Status> {
    let location = location.to_string_lossy().into_owned();
    let request = api::CheckpointContainerRequest { container_id: id.into(), location, timeout };
    node.client.runtime.checkpoint_container(request).await.map(drop)
}

/// Fails unless the container runs and its process counts on.
async fn runs_on(node: &mut Node, id: &str) -> anyhow::Result<()> {
    let count = async |node: &mut Node| {
        let said = node.exec(id, "cat /count").await?;
        anyhow::Ok(String::from_utf8(said.stdout)?.trim().parse::<u64>().unwrap_or(0))
    };
    let before = count(node).await?;
    eventually("a process that goes on", async || Ok((count(node).await? > before).then_some(()))).await
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const COUNTER: &str =
    "echo hello; rm /etc/group; echo new >/new; while :; do echo $((n=n+1)) >/count; sleep 0.05; done";

#[tokio::test]
async fn an_archive_has_everything_and_the_container_goes_on() -> anyhow::Result<()> {
    let mut node = start().await?;
    let config = pod(&node, "kept");
    let id = node.run_pod_with(&config, "faked").await?;
    let one = node.launch(&id, container("one", COUNTER)).await?;
    runs_on(&mut node, &one).await?;
    let archive = node.path("out/one.tar");
    std::fs::create_dir(node.path("out"))?;
    // By the stock client, over an older archive.
    std::fs::write(&archive, "old")?;
    let export = format!("--export={}", archive.display());
    assert_eq!(node.crictl_ok(&["checkpoint", &export, &one])?, one);
    assert_eq!(std::fs::metadata(&archive)?.mode() & 0o777, 0o600);
    assert_eq!(names(&node.path("out")), ["one.tar"]);
    // The runtime met a paused container, which runs again now.
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(node.path("state"))?)?;
    assert_eq!(state["status"], "paused");
    runs_on(&mut node, &one).await?;
    let arguments = std::fs::read_to_string(node.path("arguments"))?;
    for word in ["checkpoint --file-locks", "--image-path", "--work-path", "--leave-running"] {
        assert!(arguments.contains(word), "{arguments}");
    }

    let out = node.path("unpacked");
    std::fs::create_dir(&out)?;
    run("tar", &["-xpf", &archive.to_string_lossy(), "-C", &out.to_string_lossy()])?;
    assert_eq!(
        names(&out),
        [
            "bind.mounts",
            "checkpoint",
            "config.dump",
            "deleted.files",
            "dump.log",
            "io.kubernetes.cri-o.LogPath",
            "rootfs-diff.tar",
            "spec.dump",
        ]
    );
    let text = |name: &str| std::fs::read_to_string(out.join(name));
    let json = |name: &str| anyhow::Ok(serde_json::from_str::<serde_json::Value>(&text(name)?)?);
    assert_eq!(text("checkpoint/pages-1.img")?, "pages\n");
    assert_eq!(text("dump.log")?, "dumping\n");
    assert!(text("io.kubernetes.cri-o.LogPath")?.contains("stdout F hello"));
    assert_eq!(json("deleted.files")?, serde_json::json!(["/etc/group"]));
    assert_eq!(json("spec.dump")?["process"]["args"][2], COUNTER);
    let about = json("config.dump")?;
    assert_eq!((&about["id"], &about["rootfsImage"]), (&one.as_str().into(), &BUSYBOX.into()));
    assert_eq!(about["runtime"], "faked");
    let changed = run("tar", &["-tf", &out.join("rootfs-diff.tar").to_string_lossy()])?;
    assert!(changed.lines().any(|line| line == "new") && !changed.contains("etc/group"), "{changed}");
    assert_eq!(names(&node.path("root/ochre/checkpoints")), Vec::<String>::new());
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_failure_is_told_and_leaves_the_container_as_it_was() -> anyhow::Result<()> {
    let mut node = start().await?;
    let config = pod(&node, "failing");
    let id = node.run_pod_with(&config, "faked").await?;
    let one = node.launch(&id, container("one", COUNTER)).await?;
    std::fs::create_dir(node.path("out"))?;
    let archive = node.path("out/one.tar");
    std::fs::write(node.path("fail"), "")?;
    let failed = checkpoint(&mut node, &one, &archive, 0).await.unwrap_err();
    check_refusal(
        "CRIU fails",
        &failed,
        Code::Internal,
        &[&one, "exit status: 1", "criu failed: type NOTIFY"],
    );
    runs_on(&mut node, &one).await?;
    std::fs::remove_file(node.path("fail"))?;
    std::fs::write(node.path("slow"), "")?;
    let began = std::time::Instant::now();
    let late = checkpoint(&mut node, &one, &archive, 1).await.unwrap_err();
    check_refusal("CRIU hangs", &late, Code::DeadlineExceeded, &[&one, "not done after 1 s"]);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    runs_on(&mut node, &one).await?;
    assert_eq!(names(&node.path("out")), Vec::<String>::new());
    assert_eq!(names(&node.path("root/ochre/checkpoints")), Vec::<String>::new());
    for location in ["relative.tar", "/nonexistent/x.tar", "/", "/tmp/../x.tar"] {
        let refused = checkpoint(&mut node, &one, Path::new(location), 1).await.unwrap_err();
        check_refusal(location, &refused, Code::InvalidArgument, &["location", &one]);
    }
    let unknown = checkpoint(&mut node, "nobody", &archive, 1).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    node.stop_container(&one, 0).await?;
    let stopped = checkpoint(&mut node, &one, &archive, 1).await.unwrap_err();
    check_refusal("a stopped container", &stopped, Code::FailedPrecondition, &[&one, "must be running"]);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_container_that_a_killed_engine_left_paused_runs_on() -> anyhow::Result<()> {
    let mut node = start().await?;
    let config = pod(&node, "left");
    let id = node.run_pod_with(&config, "faked").await?;
    let one = node.launch(&id, container("one", COUNTER)).await?;
    std::fs::create_dir(node.path("out"))?;
    std::fs::write(node.path("slow"), "")?;
    let (mut client, location) =
        (node.client.clone(), node.path("out/one.tar").to_string_lossy().into_owned());
    let request = api::CheckpointContainerRequest { container_id: one.clone(), location, timeout: 100 };
    let caller = tokio::spawn(async move { client.runtime.checkpoint_container(request).await.is_err() });
    let pid = ochre_e2e::file_with(&node.path("pid"), "\n").await?;
    node.engine.kill()?;
    assert!(caller.await?);
    run("kill", &["-9", pid.trim()])?;
    // As if the kill had come later, in the middle of packing.
    std::fs::write(node.path("out").join(format!("one.tar.{}.part", &one[..12])), "half an archive")?;
    std::fs::write(node.path("out/other.tar.part"), "somebody else's")?;
    node.engine.start_again()?;
    node.client = Client::connect(&node.engine.socket()).await?;
    runs_on(&mut node, &one).await?;
    assert_eq!(names(&node.path("out")), ["other.tar.part"]);
    assert_eq!(names(&node.path("root/ochre/checkpoints")), Vec::<String>::new());
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn where_there_are_no_checkpoints_the_answer_says_why() -> anyhow::Result<()> {
    let mut node = start().await?;
    let config = pod(&node, "built-in");
    let id = node.run_pod_with(&config, "ochre").await?;
    let one = node.launch(&id, container("one", COUNTER)).await?;
    let archive = node.path("one.tar");
    let refused = checkpoint(&mut node, &one, &archive, 1).await.unwrap_err();
    check_refusal("handler ochre", &refused, Code::FailedPrecondition, &[&one, "handler ochre", "runc"]);
    // The real thing, on whatever kernel this is: an archive, or CRIU's words and a container that runs on.
    let mut config = config;
    config.metadata.as_mut().unwrap().attempt = 1;
    let real = node.run_pod_with(&config, "runc").await?;
    let two = node.launch(&real, container("two", COUNTER)).await?;
    match checkpoint(&mut node, &two, &archive, 30).await {
        Ok(()) => {
            println!("CRIU works here");
            assert!(archive.exists());
        }
        Err(status) => {
            println!("CRIU does not work here: {status}");
            assert!([Code::Internal, Code::FailedPrecondition].contains(&status.code()), "{status}");
            assert!(status.message().contains("criu"), "{status}");
            assert!(!archive.exists());
        }
    }
    runs_on(&mut node, &two).await?;
    node.remove_pod(&id).await?;
    node.remove_pod(&real).await?;
    node.finish()?;

    let mut node = Node::configured("[crio.runtime]\nenable_criu_support = false\n").await?;
    let config = pod(&node, "off");
    let id = node.run_pod_with(&config, "runc").await?;
    let one = node.launch(&id, container("one", COUNTER)).await?;
    let refused = checkpoint(&mut node, &one, &archive, 1).await.unwrap_err();
    check_refusal(
        "the option",
        &refused,
        Code::FailedPrecondition,
        &["crio.runtime.enable_criu_support is off"],
    );
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn nothing_is_made_from_a_checkpoint() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut image = busybox()?;
    image.config["Labels"] = serde_json::json!({ "io.kubernetes.cri-o.annotations.checkpoint.name": "web" });
    node.import(&image, "example.test/checkpoint:1")?;
    let config = pod(&node, "restored");
    let id = node.run_pod(&config).await?;
    for from in ["/var/lib/kubelet/checkpoints/web.tar", "example.test/checkpoint:1"] {
        let mut config = container("one", "true");
        config.image = Some(api::ImageSpec { image: from.into(), ..Default::default() });
        let refused = node.create(&id, config).await.unwrap_err();
        check_refusal(from, &refused, Code::FailedPrecondition, &[from, "crio.runtime.enable_criu_support"]);
    }
    let left = node.client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
    assert_eq!(left.containers.len(), 0);
    for pod in [api::CheckpointPodRequest { pod_sandbox_id: id.clone(), ..Default::default() }] {
        let refused = node.client.runtime.checkpoint_pod(pod).await.unwrap_err();
        check_refusal("a pod", &refused, Code::Unimplemented, &["CheckpointPod"]);
    }
    node.remove_pod(&id).await?;
    node.finish()
}
