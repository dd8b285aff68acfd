//! The store is containers/storage's: what ochre puts there, podman and skopeo use, and the other way round. And nothing
//! that a crash interrupts stays in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;
use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, Gate, Node, Registry, busybox, container, eventually, file_with, pod, run};
use ochre_test_support::layout::{Entry, Layered, archive};

/// busybox below the given layers.
fn image(layers: Vec<Vec<u8>>) -> anyhow::Result<Layered> {
    let busybox = busybox()?;
    let mut all = vec![archive(&busybox.entries)?];
    all.extend(layers);
    Ok(Layered::new(all, busybox.config))
}

/// A layer with one file.
fn note(name: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(archive(&[Entry::File(name.into(), 0o644, text.as_bytes().to_vec())])?)
}

/// A layer of some size that does not compress.
fn noise(name: &str, length: usize) -> anyhow::Result<Vec<u8>> {
    let seed =
        name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    Ok(archive(&[Entry::File(name.into(), 0o644, bytes.take(length).collect())])?)
}

fn insecure(host: &str) -> String {
    format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n")
}

async fn node(registries: String) -> anyhow::Result<Node> {
    Node::prepared("", |dir| Ok(std::fs::write(dir.join("registries.conf"), registries)?)).await
}

/// podman on the engine's own store.
fn podman(node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
    // podman's own limits are higher than what a machine may grant.
    let conf = node.path("containers.conf");
    std::fs::write(&conf, "[containers]\ndefault_ulimits = []\n[engine]\nevents_logger = \"none\"\n")?;
    let output = Command::new("podman")
        .arg("--root")
        .arg(node.path("root"))
        .arg("--runroot")
        .arg(node.path("run"))
        .arg("--tmpdir")
        .arg(node.path("libpod"))
        .args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"])
        .args(arguments)
        .env("CONTAINERS_CONF", conf)
        .output()?;
    if !output.status.success() {
        bail!("podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a script in podman, in a cgroup that is gone afterwards; returns what it printed.
async fn podman_run(node: &Node, runtime: &str, image: &str, script: &str) -> anyhow::Result<String> {
    let parent = format!("ochre-e2e-{}", std::process::id());
    let slashed = format!("/{parent}");
    let command = ["--runtime", runtime, "run", "--rm", "--network", "none", "--cgroup-parent", &slashed];
    let ran = podman(node, &[&command[..], &[image, "/bin/sh", "-c", script]].concat())?;
    // What podman starts to clean up may take longer than podman, and makes the cgroups again if they are gone.
    let needle = node.path("libpod").to_string_lossy().into_owned();
    eventually("podman's end", async || {
        let processes = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path().join("cmdline"));
        let mut lines = processes
            .filter_map(|path| Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned()));
        Ok((!lines.any(|line| line.contains(&needle))).then_some(()))
    })
    .await?;
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path());
    for path in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        remove_groups(&path.join(&parent))?;
    }
    Ok(ran)
}

fn remove_groups(group: &Path) -> std::io::Result<()> {
    if !group.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(group)? {
        remove_groups(&entry?.path())?;
    }
    // Two names may lead to one hierarchy.
    std::fs::remove_dir(group).or_else(|error| if group.exists() { Err(error) } else { Ok(()) })
}

/// The store in skopeo's words.
fn place(node: &Node, name: &str) -> String {
    format!(
        "containers-storage:[overlay@{}+{}]{name}",
        node.path("root").display(),
        node.path("run").display()
    )
}

/// Runs a script in a container of an image; returns what it printed.
async fn output(node: &mut Node, image: &str, script: &str) -> anyhow::Result<String> {
    let config = pod(node, "look");
    let id = node.run_pod(&config).await?;
    let mut config = container("look", &format!("{script}\necho; echo ---"));
    config.image = Some(api::ImageSpec { image: image.into(), ..Default::default() });
    node.launch(&id, config).await?;
    let log = file_with(&node.path("logs/look/look.log"), " F ---").await?;
    node.remove_pod(&id).await?;
    std::fs::remove_dir_all(node.path("logs/look"))?;
    let lines = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).filter(|line| *line != "---");
    Ok(lines.collect::<Vec<_>>().join("\n").trim_end().to_owned())
}

#[tokio::test]
async fn what_ochre_pulled_shows_in_podman_mounts_and_runs_there() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let layers = vec![
        archive(&[
            Entry::Directory("dir".into(), 0o755),
            Entry::File("dir/gone".into(), 0o644, b"lower".to_vec()),
            Entry::File("note".into(), 0o644, b"lower".to_vec()),
        ])?,
        archive(&[
            Entry::File("dir/.wh.gone".into(), 0o644, Vec::new()),
            Entry::File("dir/kept".into(), 0o644, b"upper".to_vec()),
            Entry::File("note".into(), 0o644, b"upper".to_vec()),
        ])?,
    ];
    let id = registry.push_layered(&image(layers)?, "team/app:1", &[])?;
    let name = format!("{}/team/app:1", registry.host());
    node.pull(&name).await?;

    let listed = podman(&node, &["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"])?;
    assert!(listed.lines().any(|line| line == format!("sha256:{id} {name}")), "{listed}");
    assert!(listed.contains("localhost/busybox:latest"), "{listed}");

    let mount = PathBuf::from(podman(&node, &["image", "mount", &name])?);
    assert_eq!(std::fs::read_to_string(mount.join("note"))?, "upper");
    assert!(mount.join("dir/kept").exists() && !mount.join("dir/gone").exists());
    podman(&node, &["image", "unmount", &name])?;

    // It runs there with both runtimes, while a container of ours runs on the same layers.
    let config = pod(&node, "both");
    let pod = node.run_pod(&config).await?;
    let mut config = container("app", "sleep 1000");
    config.image = Some(api::ImageSpec { image: name.clone(), ..Default::default() });
    let app = node.launch(&pod, config).await?;
    for runtime in ["runc", "crun"] {
        let script = "cat note; ls dir; echo $IMAGE; echo mine > /note; cat /note";
        let ran = podman_run(&node, runtime, &name, script).await?;
        assert_eq!(ran, "upperkept\nbusybox\nmine", "{runtime}");
    }
    assert_eq!(node.exec(&app, "cat /note").await?.stdout, b"upper");
    node.remove_pod(&pod).await?;

    // What goes out again has the digests that came in.
    let out = node.path("out");
    run(
        "skopeo",
        &["copy", "-q", "--insecure-policy", &place(&node, &name), &format!("oci:{}:1", out.display())],
    )?;
    assert!(out.join("blobs/sha256").join(&id).exists(), "the configuration is the same to the byte");

    podman(&node, &["rmi", &name])?;
    assert_eq!(node.image(&name).await?, None, "removed there, gone here");
    node.finish()
}

#[tokio::test]
async fn what_podman_and_skopeo_put_there_runs_in_ochre() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let layout = node.path("layout");
    let id = image(vec![note("note", "by skopeo")?])?.write_layout(&layout, "x")?;
    let from = format!("oci:{}:x", layout.display());
    run("skopeo", &["copy", "-q", "--insecure-policy", &from, &place(&node, "example.com/by/skopeo:1")])?;
    let seen = node.image("example.com/by/skopeo:1").await?.unwrap();
    assert_eq!(
        (seen.id.as_str(), seen.repo_tags.as_slice()),
        (id.as_str(), &["example.com/by/skopeo:1".to_owned()][..])
    );
    assert_eq!(output(&mut node, "example.com/by/skopeo:1", "cat /note").await?, "by skopeo");

    // podman build is buildah; without RUN it needs no network and no runtime.
    let context = node.path("context");
    std::fs::create_dir(&context)?;
    std::fs::write(context.join("built"), "by podman")?;
    std::fs::write(
        context.join("Containerfile"),
        "FROM example.com/by/skopeo:1\nCOPY built /built\nENV WHO=podman\nWORKDIR /made\nUSER app\n",
    )?;
    podman(
        &node,
        &["build", "-q", "--layers=false", "-t", "localhost/by/podman:2", &context.to_string_lossy()],
    )?;
    let built = podman(&node, &["image", "inspect", "--format", "{{.Id}}", "localhost/by/podman:2"])?;
    assert_eq!(node.image("localhost/by/podman:2").await?.map(|image| image.id), Some(built));
    let ran = output(
        &mut node,
        "localhost/by/podman:2",
        "cat /note; echo; cat /built; echo; echo $WHO; pwd; id -u",
    )
    .await?;
    assert_eq!(ran, "by skopeo\nby podman\npodman\n/made\n1000");

    // A tag that podman gives is a name here; removal here takes it away there.
    podman(&node, &["tag", "localhost/by/podman:2", "localhost/renamed:3"])?;
    assert!(node.image("localhost/renamed:3").await?.is_some());
    node.remove_image("localhost/renamed:3").await?;
    let listed = podman(&node, &["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    assert!(
        !listed.contains("renamed") && !listed.contains("by/podman") && listed.contains("by/skopeo:1"),
        "{listed}"
    );

    // What one has in use, the other does not remove.
    podman(
        &node,
        &["create", "--name", "theirs", "--network", "none", "example.com/by/skopeo:1", "/bin/sh"],
    )?;
    let mount = PathBuf::from(podman(&node, &["mount", "theirs"])?);
    assert_eq!(std::fs::read_to_string(mount.join("note"))?, "by skopeo");
    let refused = node.remove_image("example.com/by/skopeo:1").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(node.image(&id).await?.is_some());
    podman(&node, &["umount", "theirs"])?;
    podman(&node, &["rm", "theirs"])?;
    node.remove_image(&id).await?;
    assert_eq!(podman(&node, &["images", "--format", "{{.Repository}}"])?, "localhost/busybox");
    node.finish()
}

#[tokio::test]
async fn ochre_and_skopeo_write_the_same_store_at_the_same_time() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let shared = noise("shared", 1 << 20)?;
    let mut ids = Vec::new();
    for number in 0..6 {
        let own = noise(&format!("own-{number}"), 200_000)?;
        ids.push(registry.push_layered(
            &image(vec![shared.clone(), own])?,
            &format!("many:{number}"),
            &[],
        )?);
    }
    let mut skopeos = Vec::new();
    let mut pulls = Vec::new();
    for number in 0..6 {
        // Each image by both; names differ, layers and ids do not.
        let (name, theirs) =
            (format!("{}/many:{number}", registry.host()), format!("example.com/theirs:{number}"));
        let arguments = ["copy", "-q", "--insecure-policy", "--src-tls-verify=false"].map(str::to_owned);
        let ends = [format!("docker://{name}"), place(&node, &theirs)];
        skopeos.push(Command::new("skopeo").args(arguments.into_iter().chain(ends)).spawn()?);
        let mut client = node.client.clone();
        pulls.push(tokio::spawn(async move {
            let image = Some(api::ImageSpec { image: name, ..Default::default() });
            client.image.pull_image(api::PullImageRequest { image, ..Default::default() }).await
        }));
    }
    let mut failed = Vec::new();
    for (number, pull) in pulls.into_iter().enumerate() {
        match pull.await? {
            Ok(answer) => assert_eq!(answer.into_inner().image_ref, ids[number]),
            Err(error) => failed.push(format!("{number}: {error}")),
        }
    }
    assert_eq!(failed, Vec::<String>::new());
    for mut skopeo in skopeos {
        assert!(tokio::task::spawn_blocking(move || skopeo.wait()).await??.success());
    }
    for (number, id) in ids.iter().enumerate() {
        let image = node.image(id).await?.unwrap();
        let mut names = image.repo_tags.clone();
        names.sort();
        assert_eq!(
            names,
            [format!("{}/many:{number}", registry.host()), format!("example.com/theirs:{number}")]
        );
        let script = format!("wc -c < /shared; wc -c < /own-{number}");
        assert_eq!(output(&mut node, id, &script).await?, "1048576\n200000");
    }
    let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    assert_eq!(podman(&node, &names)?.lines().count(), 13, "two names each, and busybox");
    for id in &ids {
        node.remove_image(id).await?;
    }
    assert_eq!(podman(&node, &names)?, "localhost/busybox:latest");
    node.finish()
}

#[tokio::test]
async fn a_layer_whose_members_replace_each_other_runs_on_both_sides() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let twice = archive(&[
        Entry::File("twice".into(), 0o644, b"first".to_vec()),
        Entry::File("twice".into(), 0o600, b"second".to_vec()),
    ])?;
    registry.push_layered(&image(vec![twice])?, "twice:1", &[])?;
    let name = format!("{}/twice:1", registry.host());
    let splits = |node: &Node| node.stored().iter().filter(|path| path.ends_with(".tar-split.gz")).count();
    let before = splits(&node);
    node.pull(&name).await?;
    registry.push_layered(&image(vec![note("once", "once")?])?, "once:1", &[])?;
    node.pull(&format!("{}/once:1", registry.host())).await?;
    assert_eq!(
        splits(&node),
        before + 1,
        "such an archive cannot be put together again, so nothing says how; that of the other image can"
    );
    assert_eq!(output(&mut node, &name, "cat /twice").await?, "second");
    let ran = podman_run(&node, "runc", &name, "cat /twice").await?;
    assert_eq!(ran, "second");
    let committed = ["create", "--name", "copy", "--network", "none", &name, "/bin/sh"];
    podman(&node, &committed)?;
    podman(&node, &["commit", "-q", "--squash", "copy", "localhost/squashed:1"])?;
    podman(&node, &["rm", "copy"])?;
    assert_eq!(output(&mut node, "localhost/squashed:1", "cat /twice").await?, "second");
    node.finish()
}

#[tokio::test]
async fn a_pull_that_kill_9_interrupts_leaves_nothing_and_the_next_one_works() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let layers = vec![noise("one", 3 << 20)?, note("two", "two")?, noise("three", 3 << 20)?];
    let id = registry.push_layered(&image(layers)?, "killed:1", &[])?;
    let gate = Gate::start(registry.host(), 2 << 20)?;
    let mut node = node(insecure(&gate.host())).await?;
    let name = format!("{}/killed:1", gate.host());
    // What the store makes once for all containers is there from now on.
    output(&mut node, BUSYBOX, "true").await?;
    let before = node.stored();
    let mut client = node.client.clone();
    let image = Some(api::ImageSpec { image: name.clone(), ..Default::default() });
    let pull = tokio::spawn(async move {
        client.image.pull_image(api::PullImageRequest { image, ..Default::default() }).await.map(drop)
    });
    eventually("a layer half-way", async || Ok(Some(()).filter(|()| gate.held() > 0))).await?;
    eventually("something unpacked", async || Ok(Some(()).filter(|()| node.stored().len() > before.len())))
        .await?;
    node.engine.kill()?;
    assert!(pull.await?.is_err());
    assert_ne!(node.stored(), before, "the test is about what was half-made");
    // Others see none of it.
    assert!(!podman(&node, &["images"])?.contains("killed"));

    node.engine.start_again()?;
    node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
    assert_eq!(node.stored(), before);
    assert_eq!(node.images().await?.len(), 1);
    gate.open();
    assert_eq!(node.pull(&name).await?, id);
    assert_eq!(output(&mut node, &name, "cat /two; wc -c < /three").await?, "two3145728");

    // A restart keeps what is complete, names and all.
    let images = node.images().await?;
    for kill in [true, false] {
        if kill {
            node.engine.kill()?
        } else {
            node.engine.stop()?
        }
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        assert_eq!(node.images().await?, images);
    }
    node.remove_image(&name).await?;
    assert_eq!(node.stored(), before, "no layer leaks");
    node.finish()
}
