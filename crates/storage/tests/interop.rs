//! One store, shared with skopeo and podman. Needs root, skopeo and podman (4.3 or newer).

// Functions around the tests may fail the test, too.
#![allow(clippy::unwrap_used)]

#[path = "support/lab.rs"]
mod lab;

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lab::{Blob, Lab, add_image, blob, digest, documents, flaws, image_id, layer_ids};
use ochre_storage::{Error, NewContainer, StoreConfig};
use ochre_types::ContainerId;

const NAME: &str = "example.com/team/app:v1";

fn two_layers() -> Vec<Blob> {
    vec![
        blob(&[("etc", None), ("etc/one", Some("1\n")), ("etc/both", Some("low\n"))]),
        blob(&[("etc/two", Some("2\n")), ("etc/both", Some("high\n"))]),
    ]
}

fn new_container(name: &str, layers: &[Blob]) -> NewContainer {
    NewContainer {
        id: ContainerId::generate(),
        names: vec![name.to_owned()],
        image: Some(image_id(layers)),
        metadata: r#"{"pod-name":"p","pod-id":"q"}"#.to_owned(),
        mount_label: String::new(),
        id_maps: None,
    }
}

#[test]
fn an_image_written_by_skopeo_is_read_and_mounted() {
    let lab = Lab::new();
    let layers = two_layers();
    let store = lab.open();
    assert!(store.images().unwrap().is_empty());
    lab.skopeo(NAME, &layers);

    let image = store.image_by_name(NAME).unwrap().unwrap();
    let (config, manifest) = documents(&layers);
    assert_eq!(image.id, image_id(&layers));
    assert_eq!(image.digest, Some(digest(&manifest)));
    assert_eq!(image.created.unwrap().nanos(), 1_704_164_645_123_456_789);
    assert_eq!(store.big_data(&image.id, "manifest").unwrap(), manifest);
    assert_eq!(store.big_data(&image.id, &format!("sha256:{}", image.id)).unwrap(), config);
    assert!(matches!(store.big_data(&image.id, "absent"), Err(Error::BigDataNotFound { .. })));

    let ids = layer_ids(&layers);
    assert_eq!(image.top_layer.as_ref(), ids.last());
    for (id, layer) in ids.iter().zip(&layers) {
        let found = store.layer(id).unwrap().unwrap();
        assert_eq!(found.diff_id, Some(digest(&layer.tar)));
        assert_eq!(found.compressed_digest, Some(digest(&layer.gzip)));
    }
    let bytes: usize = layers.iter().map(|layer| layer.tar.len()).sum();
    assert_eq!(store.image_size(&image.id).unwrap(), (bytes + config.len() + 2 * manifest.len()) as u64);

    let mounted = store.mount_image(&image.id).unwrap();
    assert_eq!(fs::read_to_string(mounted.join("etc/both")).unwrap(), "high\n");
    assert_eq!(fs::read_to_string(mounted.join("etc/one")).unwrap(), "1\n");
    assert!(fs::write(mounted.join("new"), "").is_err());
    assert!(lab.podman(&["image", "mount"]).contains(NAME), "podman does not see our mount");
    store.unmount_image(&image.id).unwrap();
    assert!(!mounted.join("etc/both").exists());
    assert_eq!(lab.podman(&["image", "mount"]), "");
}

#[test]
fn an_image_written_by_us_is_listed_mounted_used_and_removed_by_podman() {
    let lab = Lab::new();
    let layers = two_layers();
    let store = lab.open();
    let image = add_image(&store, NAME, &layers);
    let listed = lab.podman(&[
        "images",
        "--no-trunc",
        "--digests",
        "--format",
        "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}",
    ]);
    assert_eq!(listed.trim(), format!("{NAME} {} sha256:{}", image.digest.as_ref().unwrap(), image.id));
    assert!(lab.podman(&["inspect", "--type", "image", NAME]).contains(&digest(&layers[1].tar).to_string()));

    let mounted = lab.podman(&["image", "mount", NAME]);
    assert_eq!(fs::read_to_string(format!("{}/etc/both", mounted.trim())).unwrap(), "high\n");
    lab.podman(&["image", "unmount", NAME]);

    let container = lab.podman(&["create", "--network=none", "--cgroups=disabled", NAME]);
    assert!(matches!(store.delete_image(&image.id), Err(Error::ImageInUse { .. })));
    let mounted = lab.podman(&["mount", container.trim()]);
    assert_eq!(fs::read_to_string(format!("{}/etc/two", mounted.trim())).unwrap(), "2\n");
    lab.podman(&["rm", container.trim()]);

    lab.podman(&["rmi", NAME]);
    assert!(store.images().unwrap().is_empty());
    assert!(store.layer(&layer_ids(&layers)[0]).unwrap().is_none());
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn skopeo_reuses_our_layers_and_our_deletion_keeps_what_others_need() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = two_layers();
    let ours = add_image(&store, NAME, &layers);
    let mut longer = two_layers();
    longer.push(blob(&[("three", Some("3"))]));
    lab.skopeo("example.com/team/app:v2", &longer);
    assert_eq!(store.images().unwrap().len(), 2);

    store.delete_image(&ours.id).unwrap();
    assert!(lab.podman(&["images"]).contains("v2"));
    for id in layer_ids(&longer) {
        assert!(store.layer(&id).unwrap().is_some());
    }
    store.delete_image(&image_id(&longer)).unwrap();
    assert_eq!(lab.podman(&["images", "-q"]), "");
    assert!(store.layer(&layer_ids(&layers)[0]).unwrap().is_none());
    assert!(matches!(store.delete_image(&ours.id), Err(Error::ImageNotFound { .. })));
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn names_move_and_podman_agrees() {
    let lab = Lab::new();
    let store = lab.open();
    let (first, second) = (vec![blob(&[("a", Some("a"))])], vec![blob(&[("b", Some("b"))])]);
    lab.skopeo(NAME, &first);
    add_image(&store, NAME, &second);
    assert_eq!(store.image_by_name(NAME).unwrap().unwrap().id, image_id(&second));
    assert!(store.image(&image_id(&first)).unwrap().unwrap().names.is_empty());
    let other = "example.com/other:x";
    store.set_image_names(&image_id(&first), vec![other.into(), NAME.into()]).unwrap();
    let listed = lab.podman(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]);
    for name in [other, NAME] {
        assert!(listed.contains(&format!("sha256:{} {name}", image_id(&first))), "{listed}");
    }
    lab.podman(&["tag", other, "example.com/third:y"]);
    assert_eq!(store.image_by_name("example.com/third:y").unwrap().unwrap().id, image_id(&first));
}

#[test]
fn our_mounted_containers_survive_podman_s_commands() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = two_layers();
    lab.skopeo(NAME, &layers);
    let container = store.create_container(new_container("ours", &layers)).unwrap();
    assert!(container.volatile);
    let mounted = store.mount_container(&container.id).unwrap();
    assert_eq!(store.mount_container(&container.id).unwrap(), mounted);
    fs::write(mounted.join("etc/one"), "changed").unwrap();
    assert_eq!(fs::read_to_string(mounted.join("etc/both")).unwrap(), "high\n");
    // podman 4.3 does not know volatile containers; it must leave the mount alone all the same.
    lab.podman(&["images"]);
    lab.podman(&["image", "mount", NAME]);
    lab.podman(&["image", "unmount", NAME]);
    assert!(
        fs::read_to_string(mounted.join("etc/one")).is_ok_and(|text| text == "changed"),
        "podman undid our mount"
    );
    assert!(store.container_usage(&container.id).unwrap().inodes >= 2);

    store.unmount_container(&container.id).unwrap();
    store.unmount_container(&container.id).unwrap();
    assert!(!mounted.join("etc").exists());
    store.mount_container(&container.id).unwrap();
    assert_eq!(fs::read_to_string(mounted.join("etc/one")).unwrap(), "changed");
    store.delete_container(&container.id).unwrap();
    store.delete_container(&container.id).unwrap();
    assert!(!store.container_dir(&container.id).exists() && !store.container_run_dir(&container.id).exists());
    lab.podman(&["rmi", NAME]);
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn podman_does_not_touch_a_layer_that_is_being_unpacked() {
    let lab = Lab::new();
    let store = lab.open();
    let layer = blob(&[("etc/late", Some("late"))]);
    let id = layer_ids(std::slice::from_ref(&layer)).remove(0);
    let staging = store.begin_layer(id.clone(), None).unwrap();
    lab::unpack(&staging, &layer);
    lab.skopeo(NAME, &two_layers());
    lab.podman(&["images"]);
    lab.podman(&["rmi", NAME]);
    drop(lab.open());
    staging.commit(lab::digests(&layer)).unwrap();
    let image = add_image(&store, "example.com/late:1", &[layer]);
    let mounted = store.mount_image(&image.id).unwrap();
    assert_eq!(fs::read_to_string(mounted.join("etc/late")).unwrap(), "late");
    store.unmount_image(&image.id).unwrap();
}

#[test]
fn podman_waits_for_our_lock() {
    let lab = Lab::new();
    let store = lab.open();
    lab.podman(&["images"]);
    let lock = fs::File::options()
        .read(true)
        .write(true)
        .open(store.root().join("overlay-layers/layers.lock"))
        .unwrap();
    ochre_sys::lock::lock(&lock, ochre_sys::lock::Kind::Exclusive).unwrap();
    let mut podman = lab.podman_command(&["images"]);
    let mut waiting = podman.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(waiting.try_wait().unwrap().is_none(), "podman went past an exclusive lock");
    drop(lock);
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn pulls_by_both_programs_at_once_lose_nothing() {
    let lab = Arc::new(Lab::new());
    let store = lab.open();
    let image = |who: &str, n: usize| {
        vec![blob(&[("shared", Some("x"))]), blob(&[("own", Some(&format!("{who}{n}")))])]
    };
    let theirs = {
        let lab = Arc::clone(&lab);
        std::thread::spawn(move || {
            for n in 0..4 {
                lab.skopeo(&format!("example.com/theirs:{n}"), &image("theirs", n));
            }
        })
    };
    for n in 0..8 {
        add_image(&store, &format!("example.com/ours:{n}"), &image("ours", n));
        let container = store.create_container(new_container(&format!("c{n}"), &image("ours", n))).unwrap();
        store.mount_container(&container.id).unwrap();
        store.delete_container(&container.id).unwrap();
    }
    theirs.join().unwrap();
    let listed = lab.podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(listed.lines().count(), 12, "{listed}");
    assert_eq!(store.images().unwrap().len(), 12);
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn an_additional_store_is_read_and_built_upon() {
    let (shared, lab) = (Lab::new(), Lab::new());
    let layers = two_layers();
    shared.skopeo(NAME, &layers);
    let config = StoreConfig { additional_image_stores: vec![shared.path("root")], ..lab.config() };
    let store = ochre_storage::Store::open(config).unwrap();
    let image = store.image_by_name(NAME).unwrap().unwrap();
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(store.big_data(&image.id, "manifest").unwrap(), documents(&layers).1);
    assert!(matches!(store.delete_image(&image.id), Err(Error::ImageReadOnly { .. })));
    let container = store.create_container(new_container("c", &layers)).unwrap();
    let mounted = store.mount_container(&container.id).unwrap();
    assert_eq!(fs::read_to_string(mounted.join("etc/both")).unwrap(), "high\n");
    let viewed = store.mount_image(&image.id).unwrap();
    assert_eq!(fs::read_to_string(viewed.join("etc/two")).unwrap(), "2\n");
    store.unmount_image(&image.id).unwrap();
    store.delete_container(&container.id).unwrap();
}
