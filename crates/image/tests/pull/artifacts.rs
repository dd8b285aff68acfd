//! Artifacts: pulled like images, kept in a layout that other tools read, linked into directories for volumes.

use std::path::{Path, PathBuf};

use ochre_image::{Artifact, Error, VolumeContent};
use ochre_types::ErrorKind;
use serde_json::{Value, json};

use crate::fixture::{
    DOCKER_MANIFEST, Layer, Node, OCI_MANIFEST, Packing, TestImage, chain, digest, noise, tar,
};
use crate::registry::{Fault, Registry};

/// An artifact as documents and blobs.
struct TestArtifact {
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl TestArtifact {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let layers = files.iter().map(|(title, content)| {
            json!({ "mediaType": "application/x", "digest": digest(content), "size": content.len(),
                    "annotations": { "org.opencontainers.image.title": title } })
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.test",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2 },
            "layers": layers.collect::<Vec<_>>(),
        });
        let mut blobs: Vec<Vec<u8>> = files.iter().map(|(_, content)| content.to_vec()).collect();
        blobs.push(b"{}".to_vec());
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    fn id(&self) -> String {
        digest(&self.manifest)["sha256:".len()..].to_owned()
    }

    fn push(&self, registry: &Registry, tag: &str) {
        registry.put_manifest(tag, OCI_MANIFEST, self.manifest.clone());
        registry.put_manifest(&digest(&self.manifest), OCI_MANIFEST, self.manifest.clone());
        for blob in &self.blobs {
            registry.put_blob(&digest(blob), blob.clone());
        }
    }
}

fn layout(node: &Node) -> PathBuf {
    node.dir.path().join("root/artifacts")
}

fn index(node: &Node) -> Value {
    serde_json::from_slice(&std::fs::read(layout(node).join("index.json")).unwrap()).unwrap()
}

fn blobs(node: &Node) -> usize {
    std::fs::read_dir(layout(node).join("blobs/sha256")).into_iter().flatten().count()
}

async fn artifact(node: &Node, reference: &str) -> Artifact {
    match node.images.resolve_volume(reference).await.unwrap() {
        VolumeContent::Artifact(artifact) => artifact,
        VolumeContent::Image(id) => panic!("{id} is an image"),
    }
}

fn names(registry: &Registry, tag: &str) -> String {
    format!("{}/a/b:{tag}", registry.host())
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_fetched_once_verified_and_broken_ones_leave_no_artifact() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let large = noise(300_000, 1);
    let made = TestArtifact::new(&[("large", &large), ("small", b"s")]);
    made.push(&registry, "v1");
    registry.fault(&digest(&large), [Fault::Corrupt]);
    let error = node.pull(&names(&registry, "v1")).await.unwrap_err();
    assert!(chain(&error).contains("not what the manifest promises"), "{}", chain(&error));
    assert!(node.images.list().await.unwrap().is_empty());
    assert!(!layout(&node).join("index.json").exists());

    // A connection that breaks is continued where it broke.
    registry.fault(&digest(&large), [Fault::Truncate(100_000)]);
    let id = node.pull(&names(&registry, "v1")).await.unwrap();
    assert_eq!(id.as_str(), made.id());
    assert_eq!(blobs(&node), 4);
    let before = registry.requests("/blobs/");
    assert_eq!(node.pull(&names(&registry, "v1")).await.unwrap(), id);
    assert_eq!(registry.requests("/blobs/"), before, "nothing is fetched again");
    // Another artifact with a file in common fetches the rest.
    TestArtifact::new(&[("large", &large), ("other", b"o")]).push(&registry, "v2");
    node.pull(&names(&registry, "v2")).await.unwrap();
    assert_eq!(registry.requests(&digest(&large)), 3);
    // A blob that somebody truncated is fetched again, one that is gone as well.
    let path = layout(&node).join("blobs/sha256").join(&digest(b"s")["sha256:".len()..]);
    std::fs::remove_file(&path).unwrap();
    node.pull(&names(&registry, "v1")).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_means_what_was_pulled_last_artifact_or_image() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let name = names(&registry, "latest");
    let (one, two) = (TestArtifact::new(&[("f", b"1")]), TestArtifact::new(&[("f", b"2")]));
    one.push(&registry, "latest");
    let first = node.pull(&name).await.unwrap();
    two.push(&registry, "latest");
    let second = node.pull(&name).await.unwrap();
    let status = |text: String| {
        let images = node.images.clone();
        async move { images.status(&text).await.unwrap() }
    };
    assert_eq!(status(name.clone()).await.unwrap().id, second);
    let nameless = status(first.to_string()).await.unwrap();
    assert!(nameless.repo_tags.is_empty() && nameless.repo_digests.is_empty());

    let image = TestImage::new(OCI_MANIFEST, &[Layer::new(&tar(&[("file", b"x")]), Packing::Plain)]);
    image.push(&registry, "latest");
    let third = node.pull(&name).await.unwrap();
    assert_eq!(status(name.clone()).await.unwrap().id, third);
    assert!(status(second.to_string()).await.unwrap().repo_tags.is_empty());
    assert_eq!(node.images.list().await.unwrap().len(), 3);
    assert!(node.images.resolve(&name).await.is_ok());

    two.push(&registry, "latest");
    assert_eq!(node.pull(&name).await.unwrap(), second);
    assert_eq!(status(name.clone()).await.unwrap().id, second);
    assert!(status(third.to_string()).await.unwrap().repo_tags.is_empty());
    assert!(matches!(node.images.resolve(&name).await, Err(Error::NotAnImage { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_keeps_what_others_need_and_foreign_entries() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let (one, two) = (
        TestArtifact::new(&[("f", b"1"), ("s", b"shared")]),
        TestArtifact::new(&[("f", b"2"), ("s", b"shared")]),
    );
    one.push(&registry, "one");
    two.push(&registry, "two");
    let first = node.pull(&names(&registry, "one")).await.unwrap();
    let second = node.pull(&names(&registry, "two")).await.unwrap();
    let mut changed = index(&node);
    changed["x-foreign"] = json!("kept");
    std::fs::write(layout(&node).join("index.json"), changed.to_string()).unwrap();
    // Seven blobs: two manifests, the empty configuration, three files; one of them shared.
    assert_eq!(blobs(&node), 6);
    node.images.remove(&names(&registry, "one")).await.unwrap();
    assert!(node.images.status(first.as_str()).await.unwrap().is_none());
    assert_eq!(blobs(&node), 4);
    assert_eq!(index(&node)["x-foreign"], "kept");
    // With an entry that cannot be read nobody knows what it needs: nothing is deleted.
    let mut changed = index(&node);
    let unreadable = json!({ "mediaType": OCI_MANIFEST, "digest": digest(b"unknown"), "size": 7 });
    changed["manifests"].as_array_mut().unwrap().push(unreadable);
    std::fs::write(layout(&node).join("index.json"), changed.to_string()).unwrap();
    node.images.remove(second.as_str()).await.unwrap();
    node.images.remove(second.as_str()).await.unwrap();
    assert_eq!(blobs(&node), 4);
    assert_eq!(index(&node)["manifests"].as_array().unwrap().len(), 1);
    assert!(node.images.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_an_image_or_artifact_keeps_it() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    TestArtifact::new(&[("f", b"1")]).push(&registry, "one");
    TestImage::new(OCI_MANIFEST, &[Layer::random(100, 1)]).push(&registry, "image");
    for tag in ["one", "image"] {
        let id = node.pull(&names(&registry, tag)).await.unwrap();
        node.images.hold(&id, "first").unwrap();
        node.images.hold(&id, "second").unwrap();
        for user in ["first", "second"] {
            let error = node.images.remove(&names(&registry, tag)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
            assert!(error.to_string().contains(&format!("the image is in use by {user}")), "{error}");
            node.images.release(user);
        }
        node.images.remove(&names(&registry, tag)).await.unwrap();
        assert!(matches!(node.images.hold(&id, "late"), Err(Error::NotFound { .. })));
        node.images.release("late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_carry_the_files_and_stay_when_the_artifact_goes() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    TestArtifact::new(&[("a/b/deep", b"1"), ("top", b"2")]).push(&registry, "one");
    node.pull(&names(&registry, "one")).await.unwrap();
    let found = artifact(&node, &names(&registry, "one")).await;
    let directory = node.dir.path().join("root/volume");
    node.images.link_artifact(&found, &directory).unwrap();
    node.images.remove(&names(&registry, "one")).await.unwrap();
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    assert_eq!((read("a/b/deep"), read("top")), (b"1".to_vec(), b"2".to_vec()));
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(&directory.join("top")), mode(&directory), mode(&directory.join("a/b"))),
        (0o644, 0o755, 0o755)
    );
    // Gone blobs are a failure of their own.
    let error = node.images.link_artifact(&found, &node.dir.path().join("root/again")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_artifacts_are_off_none_is_pulled_or_listed() {
    let registry = Registry::start().await;
    TestArtifact::new(&[("f", b"1")]).push(&registry, "one");
    let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
    let node = Node::with(&conf, |config| config.artifacts = false);
    let error = node.pull(&names(&registry, "one")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(chain(&error).contains("OCI artifact"), "{}", chain(&error));
    assert!(!layout(&node).exists() && node.images.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_oci_manifests_can_be_artifacts() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let plugin = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": { "mediaType": "application/vnd.docker.plugin.v1+json", "digest": digest(b"{}"), "size": 2 },
        "layers": [],
    });
    registry.put_manifest("plugin", DOCKER_MANIFEST, plugin.to_string().into_bytes());
    registry.put_blob(&digest(b"{}"), b"{}".to_vec());
    let error = node.pull(&names(&registry, "plugin")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!layout(&node).exists());
}
