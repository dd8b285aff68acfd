//! Images and artifacts as volumes, in every handler.

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, Registry, check_refusal, container, of_image, pod, pod_namespaces, security, traces,
};
use ochre_test_support::layout::{Entry, Image, Layered};
use rustix::mount::MountFlags;
use serde_json::json;
use tonic::Code;

/// An image made to be mounted.
const DATA: &str = "localhost/data:latest";

/// Files, a program, and links that lead out of it.
fn data() -> anyhow::Result<Image> {
    let program = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"))?;
    Ok(Image {
        entries: vec![
            Entry::Directory("models".into(), 0o755),
            Entry::Directory("models/small".into(), 0o755),
            Entry::File("models/small/weights".into(), 0o644, b"light".to_vec()),
            Entry::File("busybox".into(), 0o755, program),
            Entry::Link("inside".into(), "/models/small".into()),
            Entry::Link("outside".into(), "../../../../../../../../etc".into()),
            Entry::Link("host".into(), "/etc/passwd".into()),
        ],
        config: json!({}),
    })
}

/// A container that stays until it is removed.
fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

#[tokio::test]
async fn an_image_is_a_read_only_volume_whose_programs_run() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let id = node.import(&data()?, DATA)?;
    let empty = node.import_layered(&Layered::new(Vec::new(), json!({})), "localhost/empty:latest")?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        asked.mounts = vec![
            of_image(DATA, "/whole", ""),
            of_image(&id, "/again", ""),
            of_image(&id[..12], "/part", "models/small"),
            of_image("localhost/data", "/linked", "inside"),
            of_image(DATA, "/file", "models/small/weights"),
            of_image("localhost/empty:latest", "/empty", ""),
        ];
        let app = node.launch(&sandbox, asked.clone()).await.with_context(|| handler.to_owned())?;
        for (script, said) in [
            ("cat /whole/models/small/weights /again/models/small/weights", "lightlight"),
            ("ls /part /linked", "/linked:\nweights\n\n/part:\nweights"),
            ("cat /file; ls -A /empty", "light"),
            ("/whole/busybox echo runs", "runs"),
            ("touch /whole/x 2>/dev/null || echo read-only", "read-only"),
            ("touch /part/x /file 2>/dev/null || echo read-only", "read-only"),
            ("rm /whole/busybox 2>/dev/null || echo read-only", "read-only"),
            ("grep -c ' /whole .*noexec' /proc/mounts", "0"),
        ] {
            assert_eq!(node.said(&app, script).await?, said, "{handler}: {script}");
        }
        let status = node.status(&app).await?;
        let shown: Vec<_> = status.mounts.iter().map(|mount| mount.container_path.as_str()).collect();
        assert_eq!(shown, ["/whole", "/again", "/part", "/linked", "/file", "/empty"], "{handler}");
        for (shown, asked) in status.mounts.iter().zip(&asked.mounts) {
            let mut expected = asked.clone();
            let image = expected.image.as_mut().context("an image")?;
            image.image_ref = if asked.container_path == "/empty" { empty.clone() } else { id.clone() };
            assert_eq!(*shown, expected, "{handler}");
        }
        // Nothing of it stays in the node's table of mounts while the container runs.
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        assert!(!table.contains(&format!("{app}/volumes")), "{handler}");

        let refused = node.remove_image(DATA).await.unwrap_err();
        check_refusal(handler, &refused, Code::FailedPrecondition, &["the image is in use by", &app]);
        assert!(node.image(DATA).await?.is_some());
        node.remove_pod(&sandbox).await?;
    }
    node.remove_image(DATA).await?;
    assert!(node.image(DATA).await?.is_none());
    node.finish()
}

#[tokio::test]
async fn an_image_volume_that_cannot_be_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&data()?, DATA)?;
    let config = pod(&node, "pod");
    let sandbox = node.run_pod_with(&config, "ochre").await?;
    let before = traces(&node);
    let good = of_image(DATA, "/v", "");
    let propagated = api::Mount { propagation: 1, ..good.clone() };
    let cases: [(&str, api::Mount, Code, &[&str]); 11] = [
        (
            "absent image",
            of_image("localhost/none:1", "/v", ""),
            Code::Unknown,
            &["not present", "localhost/none:1"],
        ),
        ("no reference", of_image("Not A Reference", "/v", ""), Code::Unknown, &["Not A Reference"]),
        ("missing part", of_image(DATA, "/v", "models/large"), Code::Unknown, &["models/large"]),
        ("link out of it", of_image(DATA, "/v", "outside/passwd"), Code::Unknown, &["outside/passwd"]),
        ("link to the node", of_image(DATA, "/v", "host"), Code::Unknown, &["host"]),
        ("dots", of_image(DATA, "/v", "../x"), Code::InvalidArgument, &["image_sub_path"]),
        ("absolute part", of_image(DATA, "/v", "/models"), Code::InvalidArgument, &["image_sub_path"]),
        (
            "writable",
            api::Mount { readonly: false, ..good.clone() },
            Code::InvalidArgument,
            &["readonly is false"],
        ),
        (
            "both",
            api::Mount { host_path: "/tmp".into(), ..good.clone() },
            Code::InvalidArgument,
            &["host_path"],
        ),
        ("propagation", propagated, Code::InvalidArgument, &["private propagation"]),
        ("relative target", of_image(DATA, "v", ""), Code::InvalidArgument, &["not absolute"]),
    ];
    for (name, mount, code, words) in cases {
        let mut asked = idle("app");
        // A good volume before the bad one, which must not leave anything either.
        asked.mounts = vec![of_image(DATA, "/good", ""), mount];
        let refused = node.create(&sandbox, asked).await.unwrap_err();
        check_refusal(name, &refused, code, words);
        let agreed = refused.message().starts_with("ImageVolumeMountFailed: ");
        assert_eq!(agreed, code == Code::Unknown, "{name}: {refused}");
        assert_eq!(traces(&node), before, "{name}");
    }
    // Nobody holds the image for a container that never was.
    node.remove_image(DATA).await?;
    node.remove_pod(&sandbox).await?;
    node.finish()
}

#[tokio::test]
async fn image_volumes_survive_the_death_of_the_engine_and_stay_in_use() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&data()?, DATA)?;
    let config = pod(&node, "pod");
    let sandbox = node.run_pod_with(&config, "ochre").await?;
    let mut asked = idle("app");
    asked.mounts = vec![of_image(DATA, "/v", "models")];
    let app = node.launch(&sandbox, asked.clone()).await?;
    node.engine.kill()?;
    // What a crash between the mount and the runtime's copy would leave.
    let left = node.path(&format!("run/ochre/pods/{sandbox}/{app}/volumes/0"));
    rustix::mount::mount("tmpfs", &left, "tmpfs", MountFlags::RDONLY, None)?;
    node.engine.start_again()?;
    node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
    assert_eq!(node.said(&app, "cat /v/small/weights").await?, "light");
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!table.contains(&*left.to_string_lossy()), "left mounted");
    assert_eq!(node.remove_image(DATA).await.unwrap_err().code(), Code::FailedPrecondition);
    let status = node.status(&app).await?;
    assert_eq!(status.mounts.len(), 1);
    assert!(!status.mounts[0].image.as_ref().context("an image")?.image_ref.is_empty());
    node.remove_container(&app).await?;
    node.remove_image(DATA).await?;
    node.remove_pod(&sandbox).await?;
    node.finish()
}

#[tokio::test]
async fn an_artifact_is_pulled_listed_mounted_and_removed_like_an_image() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let files: [(&str, &[u8]); 3] =
        [("model.bin", b"weights"), ("etc/rules.txt", b"rules"), (".hidden", b"h")];
    let digest = registry.push_artifact("models/one", "v1", &files)?;
    let mut node =
        Node::prepared("", |dir| registry.write_conf(&dir.join("registries.conf"), "models.example")).await?;
    let name = format!("{}/models/one:v1", registry.host());
    let id = node.pull(&name).await?;
    assert_eq!(format!("sha256:{id}"), digest);
    assert_eq!(node.pull(&name).await?, id, "again");
    let listed = node.images().await?;
    let row = listed.iter().find(|image| image.id == id).context("not listed")?;
    assert_eq!(row.repo_tags, std::slice::from_ref(&name));
    assert_eq!(row.repo_digests, [format!("{}/models/one@{digest}", registry.host())]);
    assert_eq!(
        row.spec.as_ref().and_then(|spec| spec.annotations.get("of")).map(String::as_str),
        Some("test")
    );
    assert!(row.size > 12 && row.username.is_empty() && row.uid.is_none());
    for text in [&name, &id, &format!("sha256:{id}"), &id[..12], &row.repo_digests[0]] {
        assert_eq!(node.image(text).await?.map(|image| image.id).as_deref(), Some(id.as_str()), "{text}");
    }
    // The layout is one that other tools read.
    check_layout(&node, &digest)?;

    for handler in HANDLERS {
        let config = pod(&node, handler);
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        security(&mut asked).run_as_user = Some(api::Int64Value { value: 1000 });
        asked.mounts = vec![of_image(&id, "/models", ""), of_image(&name, "/rules", "etc")];
        let app = node.launch(&sandbox, asked).await.with_context(|| handler.to_owned())?;
        for (script, said) in [
            (
                "cat /models/model.bin /models/etc/rules.txt /rules/rules.txt /models/.hidden",
                "weightsrulesrulesh",
            ),
            ("ls -A /models", ".hidden\netc\nmodel.bin"),
            ("echo x 2>/dev/null >/models/model.bin || echo read-only", "read-only"),
        ] {
            assert_eq!(node.said(&app, script).await?, said, "{handler}: {script}");
        }
        let refused = node.remove_image(&name).await.unwrap_err();
        check_refusal(handler, &refused, Code::FailedPrecondition, &["the image is in use by", &app]);
        let mut run = idle("run");
        run.image = Some(api::ImageSpec { image: id.clone(), ..Default::default() });
        let refused = node.create(&sandbox, run).await.unwrap_err();
        check_refusal(handler, &refused, Code::InvalidArgument, &["artifact"]);
        node.remove_pod(&sandbox).await?;
    }
    node.remove_image(&name).await?;
    assert!(node.image(&id).await?.is_none());
    let blobs = node.path("root/artifacts/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs)?.count(), 0, "blobs of a removed artifact");
    node.finish()
}

/// skopeo finds the artifact's manifest by the name in the index.
fn check_layout(node: &Node, digest: &str) -> anyhow::Result<()> {
    let layout = node.path("root/artifacts");
    let text = std::fs::read_to_string(layout.join("oci-layout"))?;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text)?, json!({ "imageLayoutVersion": "1.0.0" }));
    let index: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(layout.join("index.json"))?)?;
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(index["manifests"][0]["digest"], *digest);
    let raw = ochre_e2e::run("skopeo", &["inspect", "--raw", &format!("oci:{}", layout.display())])?;
    assert!(raw.contains("application/vnd.example.model"));
    Ok(())
}

#[tokio::test]
async fn names_of_an_artifacts_files_never_leave_its_volume() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    let mut node =
        Node::prepared("", |dir| registry.write_conf(&dir.join("registries.conf"), "models.example")).await?;
    let config = pod(&node, "pod");
    let sandbox = node.run_pod_with(&config, "ochre").await?;
    let before = traces(&node);
    let cases: [(&str, &[&str]); 6] = [
        ("absolute", &["/etc/evil"]),
        ("dots", &["../evil"]),
        ("inner-dots", &["a/../../evil"]),
        ("twice", &["a", "a"]),
        ("file-and-directory", &["a", "a/b"]),
        ("empty", &[""]),
    ];
    for (tag, titles) in cases {
        let contents: Vec<(&str, Vec<u8>)> =
            titles.iter().enumerate().map(|(n, title)| (*title, format!("{tag}{n}").into_bytes())).collect();
        let files: Vec<(&str, &[u8])> =
            contents.iter().map(|(title, content)| (*title, &content[..])).collect();
        registry.push_artifact("models/evil", tag, &files)?;
        let id = node.pull(&format!("{}/models/evil:{tag}", registry.host())).await?;
        let mut asked = idle("app");
        asked.mounts = vec![of_image(&id, "/v", "")];
        let refused = node.create(&sandbox, asked).await.unwrap_err();
        assert!(refused.message().starts_with("ImageVolumeMountFailed: "), "{tag}: {refused}");
        assert_eq!(traces(&node), before, "{tag}");
    }
    node.remove_pod(&sandbox).await?;
    node.finish()
}

#[tokio::test]
async fn artifacts_can_be_switched_off() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    registry.push_artifact("models/one", "v1", &[("a", b"b")])?;
    let conf = "[crio.image]\noci_artifact_mount_support = false\n";
    let mut node =
        Node::prepared(conf, |dir| registry.write_conf(&dir.join("registries.conf"), "models.example"))
            .await?;
    let refused = node.pull(&format!("{}/models/one:v1", registry.host())).await.unwrap_err();
    check_refusal("pull", &refused, Code::InvalidArgument, &["artifact"]);
    assert!(!node.path("root/artifacts").exists());
    node.finish()
}

#[tokio::test]
async fn in_a_user_namespace_an_images_files_belong_to_the_containers_root() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    registry.push_artifact("models/one", "v1", &[("a", b"file")])?;
    let mut node = Node::prepared("", |dir| {
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        registry.write_conf(&dir.join("registries.conf"), "models.example")
    })
    .await?;
    node.import(&data()?, DATA)?;
    let artifact = node.pull(&format!("{}/models/one:v1", registry.host())).await?;
    let status = node.client.runtime.status(api::StatusRequest::default()).await?.into_inner();
    let able = |name: &str| {
        let found = status.runtime_handlers.iter().find(|handler| handler.name == name);
        found.and_then(|handler| handler.features.as_ref()).is_some_and(|features| features.user_namespaces)
    };
    assert!(able("ochre"));
    let ids = vec![api::IdMapping { host_id: 300_000, container_id: 0, length: 65_536 }];
    for handler in HANDLERS.into_iter().filter(|handler| able(handler)) {
        let mut config = pod(&node, handler);
        pod_namespaces(&mut config).userns_options = Some(api::UserNamespace {
            mode: api::NamespaceMode::Pod as i32,
            uids: ids.clone(),
            gids: ids.clone(),
        });
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        let mapped = |mount| api::Mount { uid_mappings: ids.clone(), gid_mappings: ids.clone(), ..mount };
        asked.mounts =
            vec![mapped(of_image(DATA, "/v", "models")), mapped(of_image(&artifact, "/artifact", ""))];
        let app = node.launch(&sandbox, asked.clone()).await.with_context(|| handler.to_owned())?;
        for (script, said) in [
            ("cat /v/small/weights /artifact/a", "lightfile"),
            ("stat -c '%u %g' /v /v/small/weights /artifact/a", "0 0\n0 0\n0 0"),
        ] {
            assert_eq!(node.said(&app, script).await?, said, "{handler}: {script}");
        }
        let shown = node.status(&app).await?.mounts;
        assert_eq!(shown[0].uid_mappings, ids);
        node.remove_pod(&sandbox).await?;
    }
    node.finish()
}
