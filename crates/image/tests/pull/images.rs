//! Listing, finding, removing and importing.

use ochre_image::Error;
use ochre_types::ErrorKind;
use serde_json::json;

use crate::fixture::*;
use crate::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_found_by_every_name_it_can_have() {
    let registry = Registry::start().await;
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(2000, 61)]);
    image.push(&registry, "v1");
    let text = format!(
        "unqualified-search-registries = [\"{0}\"]\n[[registry]]\nlocation = \"{0}\"\ninsecure = true\n",
        registry.host()
    );
    let node = Node::with(&text, |config| config.pinned = vec!["*team/app*".into()]);
    let id = node.pull("team/app:v1").await.unwrap();
    let repository = format!("{}/team/app", registry.host());
    let by_digest = format!("{repository}@{}", image.digest());
    for name in [
        id.as_str(),
        &format!("sha256:{id}"),
        &id.as_str()[..12],
        &id.as_str()[..3],
        &format!("{repository}:v1"),
        "team/app:v1",
        &by_digest,
        &format!("{repository}:other@{}", image.digest()),
        &format!("team/app@{}", image.digest()),
        &image.digest(),
    ] {
        let found = node.images.status(name).await.unwrap();
        assert_eq!(found.map(|summary| summary.id), Some(id.clone()), "{name}");
    }
    for name in
        ["team/app", "team/app:v2", &id.as_str()[1..13], &format!("other.io/team/app@{}", image.digest())]
    {
        assert!(node.images.status(name).await.unwrap().is_none(), "{name}");
        let error = node.images.resolve(name).await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { reference } if reference == name), "{error}");
    }
    assert_eq!(node.images.status("UPPER CASE").await.unwrap_err().kind(), ErrorKind::InvalidArgument);

    let all = node.images.list().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].repo_tags, [format!("{repository}:v1")]);
    assert_eq!(all[0].repo_digests, [by_digest]);
    assert_eq!((all[0].uid, all[0].username.as_str(), all[0].pinned), (Some(1000), "", true));
    assert_eq!(all[0].config_json(), image.config);
    assert_eq!(all[0].labels()["who"], "test");
    assert!(all[0].size > 2000);
    assert!(node.images.usage().bytes >= all[0].size);
    let resolved = node.images.resolve("team/app:v1").await.unwrap();
    assert_eq!(
        (resolved.config.cmd, resolved.config.env),
        (vec!["/file".to_owned()], vec!["A=b".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_takes_all_names_and_is_idempotent() {
    let registry = Registry::start().await;
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(2000, 62)]);
    let node = Node::new(&[&registry]);
    for tag in ["v1", "v2"] {
        image.push(&registry, tag);
        node.pull(&format!("{}/app:{tag}", registry.host())).await.unwrap();
    }
    node.images.remove(&format!("{}/app:v1", registry.host())).await.unwrap();
    assert!(node.images.list().await.unwrap().is_empty());
    assert_eq!(node.images.usage().bytes, 0);
    node.assert_empty();
    node.images.remove(&format!("{}/app:v1", registry.host())).await.unwrap();
    node.images.remove(&image.id()).await.unwrap();
}

/// Writes an OCI layout of `image`.
pub(crate) fn layout(path: &std::path::Path, image: &TestImage, name: Option<&str>) {
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| std::fs::write(blobs.join(&digest(bytes)[7..]), bytes).unwrap();
    put(&image.config);
    put(&image.manifest);
    image.layers.iter().for_each(|layer| put(&layer.blob));
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entry =
        json!({ "mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len() });
    if let Some(name) = name {
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    }
    std::fs::write(path.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_and_archives_are_imported_under_their_name() {
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(2000, 63), Layer::random(100, 64)]);
    let node = Node::with("", |_| ());
    let directory = node.dir.path().join("layout");
    layout(&directory, &image, Some("quay.io/own/name:1"));
    let id = node.images.import(&directory, None).await.unwrap().remove(0);
    assert_eq!(id.as_str(), image.id());
    assert_eq!(node.store.image(&id).unwrap().unwrap().names, ["quay.io/own/name:1"]);
    assert!(node.file(&id, "file-63").is_some());
    node.images.remove(id.as_str()).await.unwrap();

    let archive = node.dir.path().join("image.tar");
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(&directory)
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let id = node.images.import(&archive, Some("app:2")).await.unwrap().remove(0);
    assert_eq!(node.store.image(&id).unwrap().unwrap().names, ["localhost/app:2"]);
    assert_eq!(node.images.status("app:2").await.unwrap().unwrap().id, id);
    assert_eq!(std::fs::read_dir(node.dir.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_with_wrong_content_or_links_out_of_it_is_refused() {
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(2000, 65)]);
    let node = Node::with("", |_| ());
    let blob = |digest: &str| format!("blobs/sha256/{}", &digest[7..]);
    let outside = node.dir.path().join("outside");
    std::fs::write(&outside, &image.layers[0].blob).unwrap();
    for (number, part) in
        [image.digest(), digest(&image.config), image.layers[0].digest.clone()].iter().enumerate()
    {
        let directory = node.dir.path().join(format!("layout-{number}"));
        layout(&directory, &image, None);
        let place = directory.join(blob(part));
        let mut bytes = std::fs::read(&place).unwrap();
        bytes[15] ^= 1;
        std::fs::write(&place, bytes).unwrap();
        let error = node.images.import(&directory, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{}", chain(&error));
        assert!(chain(&error).contains(part.as_str()), "{}", chain(&error));
        std::fs::remove_file(&place).unwrap();
        std::os::unix::fs::symlink(&outside, &place).unwrap();
        node.images.import(&directory, None).await.unwrap_err();
        std::fs::remove_file(&place).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &place, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        node.images.import(&directory, None).await.unwrap_err();
    }
    let error = node.images.import(node.dir.path(), None).await.unwrap_err();
    assert!(chain(&error).contains("not an image"), "{}", chain(&error));
    let error = node.images.import(&node.dir.path().join("none"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    node.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_and_removals_of_related_images_do_not_break_each_other() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let base = [Layer::random(20_000, 66), Layer::random(20_000, 67)];
    let images: Vec<_> = (0..4)
        .map(|number| {
            let image =
                TestImage::new(OCI_MANIFEST, &[&base[..], &[Layer::random(500, 90 + number)]].concat());
            image.push(&registry, &format!("v{number}"));
            (format!("{}/app:v{number}", registry.host()), format!("file-{}", 90 + number))
        })
        .collect();
    for round in 0..8 {
        let work = images.iter().enumerate().map(|(number, (name, _))| {
            let node = &node;
            async move {
                if (number + round) % 2 == 0 {
                    node.pull(name).await.map(drop)
                } else {
                    node.images.remove(name).await
                }
            }
        });
        for result in futures_util::future::join_all(work).await {
            result.unwrap();
        }
    }
    for (name, file) in &images {
        let id = node.pull(name).await.unwrap();
        assert!(node.file(&id, "file-66").is_some() && node.file(&id, file).is_some());
    }
    for (name, _) in &images {
        node.images.remove(name).await.unwrap();
    }
    node.assert_empty();
}
