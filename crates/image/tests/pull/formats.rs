//! Every format that a registry may serve.

use crate::fixture::*;
use crate::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn manifests_and_layers_of_every_format_become_images() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    for (number, media_type) in [OCI_MANIFEST, DOCKER_MANIFEST].into_iter().enumerate() {
        for (other, packing) in [Packing::Plain, Packing::Gzip, Packing::Zstd].into_iter().enumerate() {
            let tag = format!("v{number}-{other}");
            let content = format!("content of {tag}");
            let top = Layer::new(&tar(&[("top", content.as_bytes()), ("both", b"top")]), packing);
            let base = Layer::new(&tar(&[("base", b"base"), ("both", b"base")]), packing);
            let image = TestImage::new(media_type, &[base, top]);
            image.push(&registry, &tag);
            let name = format!("{}/team/app:{tag}", registry.host());
            let id = node.pull(&name).await.unwrap();
            assert_eq!(id.as_str(), image.id());
            assert_eq!(node.file(&id, "top").unwrap(), content.as_bytes());
            assert_eq!(node.file(&id, "both").unwrap(), b"top");
            assert_eq!(node.file(&id, "base").unwrap(), b"base");
            let stored = node.store.image(&id).unwrap().unwrap();
            assert_eq!(stored.names, [name]);
            assert_eq!(node.store.big_data(&id, "manifest").unwrap(), image.manifest);
            assert_eq!(node.store.big_data(&id, &digest(&image.config)).unwrap(), image.config);
            assert_eq!(
                node.store.big_data(&id, &format!("manifest-{}", image.digest())).unwrap(),
                image.manifest
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_of_this_machine_and_is_kept() {
    for (index_type, media_type) in [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)] {
        let registry = Registry::start().await;
        let node = Node::new(&[&registry]);
        let image = TestImage::new(media_type, &[Layer::random(1000, 1)]);
        image.push(&registry, "unused");
        let index = image.index(index_type);
        registry.put_manifest("latest", index_type, index.clone());
        let repository = format!("{}/app", registry.host());
        let id = node.pull(&repository).await.unwrap();
        assert_eq!(id.as_str(), image.id());
        let kept = node.store.big_data(&id, &format!("manifest-{}", digest(&index))).unwrap();
        assert_eq!(kept, index);
        let summary = node.images.status(&repository).await.unwrap().unwrap();
        for of in [digest(&index), image.digest()] {
            let name = format!("{repository}@{of}");
            assert!(summary.repo_digests.contains(&name), "{:?}", summary.repo_digests);
            assert_eq!(node.images.status(&name).await.unwrap().unwrap().id, id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_by_digest_is_recorded_by_digest_and_adds_to_what_is_here() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(5000, 2)]);
    image.push(&registry, "one");
    image.push(&registry, "two");
    let repository = format!("{}/app", registry.host());
    let id = node.pull(&format!("{repository}:one@{}", image.digest())).await.unwrap();
    let by_digest = format!("{repository}@{}", image.digest());
    assert_eq!(node.store.image(&id).unwrap().unwrap().names, [by_digest.as_str()]);
    node.pull(&format!("{repository}:two")).await.unwrap();
    let mut names = node.store.image(&id).unwrap().unwrap().names.clone();
    names.sort();
    assert_eq!(names, [format!("{repository}:two"), by_digest]);
    assert_eq!(registry.requests("/blobs/"), 2, "configuration and layer came once: {:?}", registry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_an_image() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let image = TestImage::new(OCI_MANIFEST, &[]);
    image.push(&registry, "latest");
    let id = node.pull(&format!("{}/empty", registry.host())).await.unwrap();
    assert_eq!(node.store.image(&id).unwrap().unwrap().top_layer, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_leaves_its_old_image_without_the_name() {
    let registry = Registry::start().await;
    let node = Node::new(&[&registry]);
    let (old, new) = (Layer::random(100, 3), Layer::random(100, 4));
    let name = format!("{}/app:v", registry.host());
    TestImage::new(OCI_MANIFEST, &[old]).push(&registry, "v");
    let first = node.pull(&name).await.unwrap();
    TestImage::new(OCI_MANIFEST, &[new]).push(&registry, "v");
    let second = node.pull(&name).await.unwrap();
    assert_ne!(first, second);
    assert!(node.store.image(&first).unwrap().unwrap().names.is_empty());
    assert_eq!(node.images.resolve(&name).await.unwrap().summary.id, second);
}
