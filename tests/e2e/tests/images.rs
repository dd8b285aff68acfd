//! Images from a real registry and from disk: how they come in, what they are called, and what containers see of them.

use std::path::Path;
use std::time::{Duration, Instant};

use ochre_cri_api as api;
use ochre_e2e::{
    BUSYBOX, Gate, Node, Registry, busybox, container, eventually, file_with, pod, programs, run,
};
use ochre_test_support::layout::{Entry, Layered, archive, write_index};
use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use tonic::Code;

/// busybox below the given layers.
fn shell(layers: Vec<Vec<u8>>) -> anyhow::Result<Layered> {
    let busybox = busybox()?;
    let mut all = vec![archive(&busybox.entries)?];
    all.extend(layers);
    Ok(Layered::new(all, busybox.config))
}

/// A layer with one file.
fn note(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(archive(&[Entry::File("note".into(), 0o644, text.as_bytes().to_vec())])?)
}

/// A layer that does not compress.
fn noise(length: usize) -> anyhow::Result<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    Ok(archive(&[Entry::File("noise".into(), 0o644, bytes.take(length).collect())])?)
}

/// Where the registry may be reached without TLS.
fn insecure(host: &str) -> String {
    format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n")
}

async fn node(registries: String) -> anyhow::Result<Node> {
    Node::prepared("", |dir| Ok(std::fs::write(dir.join("registries.conf"), registries)?)).await
}

/// Runs a script in a container of an image; returns what it printed and removes the pod.
async fn output(node: &mut Node, image: &str, script: &str) -> anyhow::Result<String> {
    let config = pod(node, "look");
    let id = node.run_pod(&config).await?;
    let mut config = container("look", &format!("{script}\necho; echo ---"));
    config.image = Some(api::ImageSpec { image: image.into(), ..Default::default() });
    node.launch(&id, config).await?;
    let log = file_with(&node.path("logs/look/look.log"), " F ---").await?;
    node.remove_pod(&id).await?;
    std::fs::remove_dir_all(node.path("logs/look"))?;
    let lines = log.lines().filter_map(|line| Some(line.splitn(4, ' ').nth(3)?.to_owned()));
    let text = lines.filter(|line| line != "---").collect::<Vec<_>>().join("\n");
    Ok(text.trim_end().to_owned())
}

#[tokio::test]
async fn oci_and_docker_images_with_gzip_zstd_and_plain_layers_are_pulled_and_run() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let cases: [(&str, bool, &[&str], &str); 4] = [
        ("oci-gzip", true, &["--format", "oci"], "vnd.oci.image.layer.v1.tar+gzip"),
        ("v2s2-gzip", true, &["--format", "v2s2"], "vnd.docker.image.rootfs.diff.tar.gzip"),
        (
            "oci-zstd",
            true,
            &["--format", "oci", "--dest-compress-format", "zstd"],
            "vnd.oci.image.layer.v1.tar+zstd",
        ),
        ("oci-plain", false, &["--preserve-digests"], "vnd.oci.image.layer.v1.tar"),
    ];
    for (tag, gzip, options, media_type) in cases {
        let mut image = shell(vec![note(tag)?])?;
        image.gzip = gzip;
        registry.push_layered(&image, &format!("formats:{tag}"), options)?;
        let manifest = registry.manifest(&format!("formats:{tag}"))?;
        assert_eq!(
            manifest["layers"][1]["mediaType"],
            format!("application/{media_type}"),
            "the test pushed another form"
        );
        let name = format!("{}/formats:{tag}", registry.host());
        let id = node.pull(&name).await?;
        assert_eq!(manifest["config"]["digest"], format!("sha256:{id}"));
        assert_eq!(output(&mut node, &name, "cat /note").await?, tag);
    }
    node.finish()
}

#[tokio::test]
async fn an_index_gives_the_image_for_this_machine_or_says_that_there_is_none() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let push = |images: &[Layered], name: &str| -> anyhow::Result<Vec<String>> {
        let layout = tempfile::tempdir()?;
        let ids = write_index(images, layout.path(), "latest")?;
        registry.copy(&format!("oci:{}:latest", layout.path().display()), name, &["--all"])?;
        Ok(ids)
    };
    let own = shell(vec![note("own")?])?;
    let foreign = |name: &str| Layered { architecture: name.into(), ..own.clone() };
    let ids = push(&[foreign("s390x"), own.clone(), foreign("ppc64le")], "multi:1")?;
    push(&[foreign("s390x"), foreign("ppc64le")], "multi:foreign")?;

    let name = format!("{}/multi", registry.host());
    assert_eq!(node.pull(&format!("{name}:1")).await?, ids[1]);
    let image = node.image(&ids[1]).await?.unwrap();
    let index = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}:1")])?;
    let index: Value = serde_json::from_str(&index)?;
    let chosen = index["manifests"][1]["digest"].as_str().unwrap();
    assert!(image.repo_digests.contains(&format!("{name}@{chosen}")), "{image:?}");
    assert_eq!(image.repo_digests.len(), 2, "the index and the manifest: {image:?}");

    let refused = node.pull(&format!("{name}:foreign")).await.unwrap_err();
    let words = ["s390x", "ppc64le", "multi:foreign"];
    assert!(words.iter().all(|word| refused.message().contains(word)), "{refused}");
    assert_eq!(node.images().await?.len(), 2);
    node.finish()
}

#[tokio::test]
async fn one_image_goes_by_tag_digest_id_and_the_beginning_of_its_id() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    let id = registry.push_layered(&shell(vec![note("names")?])?, "team/app:1", &[])?;
    registry.copy(
        &format!("docker://{}/team/app:1", registry.host()),
        "other/app:2",
        &["--src-tls-verify=false"],
    )?;
    let (app, other) = (format!("{}/team/app", registry.host()), format!("{}/other/app", registry.host()));
    let digest = run(
        "skopeo",
        &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{app}:1")],
    )?;
    let digest = digest.trim();

    assert_eq!(node.pull(&format!("{app}@{digest}")).await?, id);
    let image = node.image(&id).await?.unwrap();
    assert_eq!(
        (image.repo_tags.as_slice(), image.repo_digests.as_slice()),
        (&[][..], &[format!("{app}@{digest}")][..])
    );
    assert_eq!(node.pull(&format!("{app}:1")).await?, id);
    assert_eq!(node.pull(&format!("{app}:1@{digest}")).await?, id, "tag and digest: the digest counts");
    assert_eq!(node.pull(&format!("{other}:2")).await?, id);

    let image = node.image(&format!("{app}:1")).await?.unwrap();
    let mut tags = image.repo_tags.clone();
    tags.sort();
    assert_eq!(tags, [format!("{other}:2"), format!("{app}:1")]);
    assert!(image.repo_digests.contains(&format!("{app}@{digest}")), "{image:?}");
    assert!(image.repo_digests.contains(&format!("{other}@{digest}")), "{image:?}");
    assert!(image.size > 500_000 && image.id == id && !image.id.starts_with("sha256:"), "{image:?}");
    let forms = [
        id.clone(),
        format!("sha256:{id}"),
        id[..12].to_owned(),
        format!("{app}@{digest}"),
        format!("{other}:2"),
    ];
    for form in &forms {
        assert_eq!(node.image(form).await?.map(|image| image.id).as_ref(), Some(&id), "{form}");
        let filter =
            api::ImageFilter { image: Some(api::ImageSpec { image: form.clone(), ..Default::default() }) };
        let listed = node
            .client
            .image
            .list_images(api::ListImagesRequest { filter: Some(filter) })
            .await?
            .into_inner();
        assert_eq!(listed.images.len(), 1, "{form}");
    }
    for (short, long) in [("busybox", BUSYBOX), ("busybox:latest", BUSYBOX)] {
        assert!(
            node.image(short).await?.is_some_and(|image| image.repo_tags.contains(&long.to_owned())),
            "{short}"
        );
    }
    assert_eq!(node.image("busybox:other").await?, None);
    assert_eq!(node.image(&format!("{app}:none")).await?, None);

    // What containers say of it.
    let config = pod(&node, "names");
    let pod = node.run_pod(&config).await?;
    let mut config = container("app", "sleep 1000");
    config.image = Some(api::ImageSpec { image: id.clone(), ..Default::default() });
    let app_id = node.launch(&pod, config).await?;
    let status = node.status(&app_id).await?;
    assert_eq!(
        (status.image_id.as_str(), status.image_ref.as_str()),
        (id.as_str(), image.repo_digests[0].as_str())
    );
    let listed =
        node.client.runtime.list_containers(api::ListContainersRequest::default()).await?.into_inner();
    assert_eq!(listed.containers[0].image_id, id);

    // In use: it stays, and the answer says who uses it.
    let refused = node.remove_image(&format!("{app}:1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(&id) && refused.message().contains(&app_id), "{refused}");
    assert!(node.image(&format!("{app}:1")).await?.is_some());
    node.remove_pod(&pod).await?;
    // By one tag, all of them go.
    node.remove_image(&format!("{app}:1")).await?;
    for form in &forms {
        assert_eq!(node.image(form).await?, None, "{form}");
        node.remove_image(form).await?;
    }
    assert_eq!(node.images().await?.len(), 1);
    node.finish()
}

#[tokio::test]
async fn a_verbose_status_shows_the_configuration_and_crictl_understands_all_of_it() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let node = node(insecure(&registry.host())).await?;
    let mut image = shell(vec![])?;
    image.config["Labels"] = json!({ "maker": "ochre" });
    image.config["User"] = json!("1000:1000");
    let id = registry.push_layered(&image, "verbose:1", &[])?;
    let name = format!("{}/verbose:1", registry.host());
    assert!(node.crictl_ok(&["pull", &name])?.contains(&id));
    let shown: Value = serde_json::from_str(&node.crictl_ok(&["inspecti", &name])?)?;
    assert_eq!((&shown["status"]["id"], &shown["status"]["repoTags"]), (&json!(id), &json!([name])));
    assert_eq!(shown["status"]["uid"]["value"], "1000", "{shown}");
    assert_eq!(shown["info"]["imageSpec"]["config"]["Labels"]["maker"], "ochre", "{shown}");
    let listed = node.crictl_ok(&["images", "--no-trunc"])?;
    assert!(listed.contains(&id) && listed.contains("localhost/busybox"), "{listed}");
    let filesystem: Value = serde_json::from_str(&node.crictl_ok(&["imagefsinfo"])?)?;
    let used =
        filesystem["status"]["imageFilesystems"][0]["usedBytes"]["value"].as_str().unwrap().parse::<u64>()?;
    assert!(used > 500_000, "{filesystem}");
    node.crictl_ok(&["rmi", &name])?;
    assert!(!node.crictl_ok(&["images", "--no-trunc"])?.contains(&id));
    node.finish()
}

/// Name and password of the closed registry; the hash is bcrypt's.
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuuV7fpPozvyqJfnY19y0802WTlXUm6Rjy\n";
const CREDENTIALS: &str = "alice:s3cret-pass";
const CREDENTIALS_BASE64: &str = "YWxpY2U6czNjcmV0LXBhc3M=";

#[tokio::test]
async fn a_closed_registry_opens_to_credentials_of_the_request_and_of_the_auth_file() -> anyhow::Result<()> {
    let registry = Registry::start_closed(HTPASSWD)?;
    let id = registry.push_layered(
        &shell(vec![note("closed")?])?,
        "closed/app:1",
        &["--dest-creds", CREDENTIALS],
    )?;
    let name = format!("{}/closed/app:1", registry.host());
    let mut open = node(insecure(&registry.host())).await?;
    let given = |username: &str, password: &str| {
        Some(api::AuthConfig { username: username.into(), password: password.into(), ..Default::default() })
    };
    for auth in [None, given("alice", "wrong")] {
        let refused = open.pull_with(&name, auth).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains(&name) && !refused.message().contains("wrong"), "{refused}");
    }
    assert_eq!(open.pull_with(&name, given("alice", "s3cret-pass")).await?, id);
    open.remove_image(&id).await?;
    let encoded = api::AuthConfig { auth: CREDENTIALS_BASE64.into(), ..Default::default() };
    assert_eq!(open.pull_with(&name, Some(encoded)).await?, id);
    assert!(!open.log().contains("s3cret-pass") && !open.log().contains(CREDENTIALS_BASE64));
    open.finish()?;

    let auths = json!({ "auths": { registry.host(): { "auth": CREDENTIALS_BASE64 } } });
    let registries = insecure(&registry.host());
    let mut with_file = Node::prepared("[crio.image]\nglobal_auth_file = \"{dir}/auth.json\"\n", |dir| {
        std::fs::write(dir.join("auth.json"), auths.to_string())?;
        Ok(std::fs::write(dir.join("registries.conf"), registries)?)
    })
    .await?;
    assert_eq!(with_file.pull(&name).await?, id);
    // Credentials of the request win over those of the file.
    assert_eq!(
        with_file.pull_with(&name, given("alice", "wrong")).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    with_file.finish()
}

#[tokio::test]
async fn registries_conf_decides_where_a_name_leads() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let host = registry.host();
    let mut node = node(format!(
        r#"
unqualified-search-registries = ["registry.k8s.io"]
[[registry]]
prefix = "registry.k8s.io"
location = "unreachable.invalid"
[[registry.mirror]]
location = "127.0.0.1:1"
insecure = true
[[registry.mirror]]
location = "{host}/mirror"
insecure = true
[[registry]]
prefix = "example.com/moved"
location = "{host}/place"
insecure = true
[[registry]]
prefix = "*.example.org"
location = "{host}"
insecure = true
[[registry]]
prefix = "registry.k8s.io/forbidden"
location = "{host}"
insecure = true
blocked = true
"#
    ))
    .await?;
    let mirrored = registry.push_layered(&shell(vec![note("mirrored")?])?, "mirror/app:1", &[])?;
    let moved = registry.push_layered(&shell(vec![note("moved")?])?, "place/deep/app:1", &[])?;
    let wild = registry.push_layered(&shell(vec![note("wild")?])?, "team/app:1", &[])?;
    for (name, id) in [
        ("registry.k8s.io/app:1", &mirrored),
        ("example.com/moved/deep/app:1", &moved),
        ("deep.sub.example.org/team/app:1", &wild),
    ] {
        assert_eq!(node.pull(name).await?, *id, "{name}");
        let image = node.image(id).await?.unwrap();
        assert_eq!(image.repo_tags, [name], "the name asked for, not where it came from");
        assert!(
            image.repo_digests.iter().all(|digest| digest.starts_with(name.rsplit_once(':').unwrap().0)),
            "{image:?}"
        );
    }
    node.remove_image(&mirrored).await?;
    assert_eq!(
        node.pull("app:1").await?,
        mirrored,
        "a short name is looked for in the registries to be searched"
    );

    let before = node.images().await?.len();
    let blocked = node.pull("registry.k8s.io/forbidden/app:1").await.unwrap_err();
    assert_eq!(blocked.code(), Code::PermissionDenied, "{blocked}");
    assert!(
        blocked.message().contains("blocked") && blocked.message().contains("registry.k8s.io/forbidden"),
        "{blocked}"
    );
    // Not marked as insecure: the registry does not speak TLS, so this fails instead of going on without.
    let plain = node.pull(&format!("{host}/team/app:1")).await.unwrap_err();
    assert!(plain.message().starts_with("RegistryUnavailable"), "{plain}");
    assert_eq!(node.images().await?.len(), before);
    node.finish()
}

#[tokio::test]
async fn the_file_system_is_told_at_once_while_a_slow_pull_runs() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let id = registry.push_layered(&shell(vec![noise(4 << 20)?])?, "slow:1", &[])?;
    let gate = Gate::start(registry.host(), 1 << 20)?;
    let mut node = node(insecure(&gate.host())).await?;
    let name = format!("{}/slow:1", gate.host());
    let mut puller = node.client.clone();
    let request = api::PullImageRequest {
        image: Some(api::ImageSpec { image: name.clone(), ..Default::default() }),
        ..Default::default()
    };
    let pull = tokio::spawn(async move { puller.image.pull_image(request).await });
    eventually("a layer that waits", async || Ok(Some(()).filter(|()| gate.held() > 0))).await?;
    eventually("the usage, busybox included", async || {
        let began = Instant::now();
        let answer = node.client.image.image_fs_info(api::ImageFsInfoRequest {}).await?.into_inner();
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        Ok(Some(())
            .filter(|()| answer.image_filesystems[0].used_bytes.is_some_and(|used| used.value > 500_000)))
    })
    .await?;
    assert_eq!(node.image(&name).await?, None, "nothing is visible before it is complete");
    assert!(!pull.is_finished());
    gate.open();
    assert_eq!(pull.await??.into_inner().image_ref, id);
    assert!(node.image(&name).await?.is_some());
    node.finish()
}

/// A directory as GNU tar packs it, with attributes and holes.
fn packed(directory: &Path) -> anyhow::Result<Vec<u8>> {
    let tar = tempfile::NamedTempFile::new()?;
    let (tar, from) = (tar.path().to_string_lossy().into_owned(), directory.to_string_lossy().into_owned());
    let options =
        ["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse", "--sort=name", "--numeric-owner"];
    run("tar", &[&options[..], &["-cf", &tar, "-C", &from, "."]].concat())?;
    Ok(std::fs::read(tar)?)
}

#[tokio::test]
async fn what_layers_say_of_files_is_what_a_container_sees() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let [lower, upper, top] = ["lower", "upper", "top"].map(|name| directory.path().join(name));
    let long = format!("{}/{}", "d".repeat(120), "ä".repeat(60));
    let write = |root: &Path, name: &str, text: &str| -> anyhow::Result<()> {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap())?;
        Ok(std::fs::write(path, text)?)
    };
    for name in ["dir/keep", "dir/gone", "opaque/old", "turned/file", "tool", "first", &long] {
        write(&lower, name, name)?;
    }
    std::fs::hard_link(lower.join("first"), lower.join("second"))?;
    rustix::fs::setxattr(lower.join("tool"), "user.color", b"ochre", XattrFlags::empty())?;
    // cap_net_raw=ep, as setcap writes it (capabilities(7), VFS_CAP_REVISION_2).
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    rustix::fs::setxattr(lower.join("tool"), "security.capability", &capability, XattrFlags::empty())?;
    std::os::unix::fs::chown(lower.join("first"), Some(1000), Some(2000))?;
    std::fs::set_permissions(lower.join("first"), std::os::unix::fs::PermissionsExt::from_mode(0o4751))?;
    let hole = std::fs::File::create(lower.join("hole"))?;
    hole.set_len(64 << 20)?;
    std::os::unix::fs::FileExt::write_all_at(&hole, b"middle", 32 << 20)?;
    for (root, name) in [
        (&upper, "dir/.wh.gone"),
        (&upper, "opaque/.wh..wh..opq"),
        (&upper, "opaque/new"),
        (&upper, "turned"),
        (&top, "dir/gone"),
        (&top, ".wh.second"),
    ] {
        write(root, name, "later")?;
    }
    let layers =
        [&lower, &upper, &top].map(|path| packed(path)).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let registry = Registry::start()?;
    let mut node = node(insecure(&registry.host())).await?;
    for (tag, count) in [("two", 2), ("three", 3)] {
        registry.push_layered(&shell(layers[..count].to_vec())?, &format!("files:{tag}"), &[])?;
        node.pull(&format!("{}/files:{tag}", registry.host())).await?;
    }
    let script = format!(
        "cd /; ls dir opaque; cat turned; echo; stat -c '%u:%g %a %h' first; ls second; stat -c '%s %b' hole; \
         dd if=hole bs=6 skip=32M count=1 iflag=skip_bytes 2>/dev/null || tail -c +33554433 hole | head -c 6; echo; cat {long}; echo"
    );
    let two = output(&mut node, &format!("{}/files:two", registry.host()), &script).await?;
    let lines: Vec<_> = two.lines().collect();
    assert_eq!(
        lines[..9],
        ["dir:", "keep", "", "opaque:", "new", "later", "1000:2000 4751 2", "second", lines[8]],
        "{two}"
    );
    let (size, blocks) = lines[8].split_once(' ').unwrap();
    assert!(size == "67108864" && blocks.parse::<u64>()? < 1024, "holes stay holes: {two}");
    assert_eq!(lines[9..], ["middle", &long], "{two}");
    let three = output(
        &mut node,
        &format!("{}/files:three", registry.host()),
        "cd /; cat dir/gone; ls dir second 2>&1",
    )
    .await?;
    assert!(
        three.starts_with("laterls: second: No such file or directory") && three.contains("gone\nkeep"),
        "{three}"
    );

    let config = pod(&node, "attributes");
    let pod = node.run_pod(&config).await?;
    let mut config = container("app", "sleep 1000");
    config.image =
        Some(api::ImageSpec { image: format!("{}/files:two", registry.host()), ..Default::default() });
    node.launch(&pod, config).await?;
    let left = ochre_test_support::leftovers::find(&node.path("root"));
    let merged =
        left.mounts.iter().find(|mount| mount.ends_with("merged")).expect("the container's root is mounted");
    let attribute = |name: &str| -> anyhow::Result<Vec<u8>> {
        let mut buffer = vec![0; 256];
        let length = rustix::fs::getxattr(merged.join("tool"), name, &mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    };
    assert_eq!(attribute("user.color")?, b"ochre");
    assert_eq!(attribute("security.capability")?, capability);
    node.remove_pod(&pod).await?;
    node.finish()
}

#[tokio::test]
async fn a_container_without_wishes_runs_what_the_image_says() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut image = busybox()?;
    image.config = json!({
        "User": "app", "WorkingDir": "/made/for/it", "Volumes": { "/data/here": {} }, "StopSignal": "SIGUSR1",
        "Env": ["PATH=/bin", "FROM_IMAGE=yes", "OVER=image"], "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["trap 'echo usr1; exit 5' USR1; id -u; id -G; pwd; echo $FROM_IMAGE $OVER; ls -d /data/here; echo ready; while :; do sleep 0.05; done"],
    });
    node.import(&image, "localhost/config:1")?;
    let config = pod(&node, "config");
    let pod = node.run_pod(&config).await?;
    let mut config = container("app", "");
    config.command.clear();
    config.image = Some(api::ImageSpec { image: "localhost/config:1".into(), ..Default::default() });
    config.envs = vec![api::KeyValue { key: "OVER".into(), value: "kubelet".into() }];
    let app = node.launch(&pod, config.clone()).await?;
    let log = node.path("logs/config/app.log");
    let text = file_with(&log, " ready").await?;
    let lines: Vec<_> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    assert_eq!(lines, ["1000", "1000 2000", "/made/for/it", "yes kubelet", "/data/here", "ready"]);
    node.stop_container(&app, 10).await?;
    assert_eq!(node.status(&app).await?.exit_code, 5, "the image's stop signal reached it");
    // Arguments take the place of Cmd and leave the entrypoint; a command takes the place of both.
    for (name, command, args, expected) in [
        ("args", vec![], vec!["echo args $0", "zero"], "args zero"),
        ("command", vec!["/bin/echo"], vec![], ""),
    ] {
        config.metadata = Some(api::ContainerMetadata { name: name.into(), attempt: 0 });
        config.log_path = format!("{name}.log");
        config.command = command.into_iter().map(str::to_owned).collect();
        config.args = args.into_iter().map(str::to_owned).collect();
        let id = node.launch(&pod, config.clone()).await?;
        assert_eq!(node.exited(&id).await?.exit_code, 0);
        let text = file_with(&node.path(&format!("logs/config/{name}.log")), " F ").await?;
        assert_eq!(text.trim_end_matches('\n').split(" F ").nth(1), Some(expected));
    }
    node.remove_pod(&pod).await?;
    node.finish()
}

/// `ochre import`; its standard output, or its standard error.
fn import(node: &Node, path: &Path, name: Option<&str>) -> anyhow::Result<Result<String, String>> {
    let mut command = std::process::Command::new(programs().join("ochre"));
    command
        .args(["import", "--config", "", "--root"])
        .arg(node.path("root"))
        .arg("--runroot")
        .arg(node.path("run"));
    let output = command.args(name.iter().flat_map(|name| ["--name", name])).arg(path).output()?;
    Ok(match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
        false => Err(String::from_utf8(output.stderr)?),
    })
}

#[tokio::test]
async fn a_layout_or_an_archive_from_disk_shows_at_once() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let layout = node.path("layout");
    let id =
        shell(vec![note("from disk")?, noise(3 << 20)?])?.write_layout(&layout, "docker.io/team/app:3")?;
    assert_eq!(import(&node, &layout, None)?, Ok(id.clone()));
    assert_eq!(node.image(&id).await?.unwrap().repo_tags, ["docker.io/team/app:3"], "the name in the index");
    assert_eq!(import(&node, &layout, Some("short"))?, Ok(id.clone()));
    assert_eq!(node.image("localhost/short:latest").await?.unwrap().id, id, "a short name means localhost");
    node.remove_image(&id).await?;

    let (from, file) = (format!("oci:{}:docker.io/team/app:3", layout.display()), node.path("app.tar"));
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--insecure-policy",
            &from,
            &format!("oci-archive:{}:example.com/app:4", file.display()),
        ],
    )?;
    assert_eq!(import(&node, &file, None)?, Ok(id.clone()));
    assert_eq!(node.image("example.com/app:4").await?.unwrap().id, id);
    assert_eq!(output(&mut node, "example.com/app:4", "cat /note").await?, "from disk");
    assert_eq!(import(&node, &file, Some("example.com/other:5"))?, Ok(id.clone()));
    assert_eq!(node.image(&id).await?.unwrap().repo_tags.len(), 2);

    let images = node.images().await?.len();
    let refused = import(&node, &file, Some("Not A Name"))?.unwrap_err();
    assert!(refused.contains("reference"), "{refused}");
    std::fs::write(node.path("rubbish.tar"), [7; 4096])?;
    let refused = import(&node, &node.path("rubbish.tar"), None)?.unwrap_err();
    assert!(refused.contains("rubbish.tar"), "{refused}");
    let blobs = layout.join("blobs/sha256");
    let largest = std::fs::read_dir(&blobs)?
        .flatten()
        .max_by_key(|entry| entry.metadata().map_or(0, |m| m.len()))
        .unwrap();
    let bytes = std::fs::read(largest.path())?;
    std::fs::write(largest.path(), &bytes[..bytes.len() / 2])?;
    node.remove_image(&id).await?;
    let refused = import(&node, &layout, None)?.unwrap_err();
    assert!(refused.contains(&*largest.file_name().to_string_lossy()), "{refused}");
    assert_eq!(node.images().await?.len(), images - 1);
    assert!(
        std::fs::read_dir(node.path("run/ochre/import"))?.next().is_none(),
        "the unpacked archive is gone"
    );
    node.finish()
}
