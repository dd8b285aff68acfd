//! What a crash leaves behind is recognised and removed; a sound store stays as it is. Needs root.

// Functions around the tests may fail the test, too.
#![allow(clippy::unwrap_used)]

#[path = "support/lab.rs"]
mod lab;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Blob, Lab, add_image, add_image_with, blob, digests, flaws, image_id, layer_ids, unpack};
use ochre_storage::{Error, LayerStaging, NewContainer, Store, StoreConfig};
use ochre_types::ContainerId;
use rustix::fs::OFlags;

const VICTIM: &str = "OCHRE_STORAGE_VICTIM";

fn container(image: Option<ochre_types::ImageId>) -> NewContainer {
    let id = ContainerId::generate();
    let names = vec![format!("name-{id}")];
    NewContainer { id, names, image, metadata: "{}".into(), mount_label: String::new(), id_maps: None }
}

fn flag(path: &std::path::Path) {
    let mut records: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for record in &mut records {
        record["flags"] = serde_json::json!({"incomplete": true});
    }
    fs::write(path, serde_json::to_vec(&records).unwrap()).unwrap();
}

#[test]
fn a_dropped_layer_leaves_nothing_and_can_be_made_again() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = [blob(&[("a", Some("a"))]), blob(&[("b", Some("b"))])];
    let ids = layer_ids(&layers);
    let child = store.begin_layer(ids[1].clone(), Some(ids[0].clone())).unwrap();
    drop(store.begin_layer(ids[0].clone(), None).unwrap());
    assert!(matches!(child.commit(digests(&layers[1])), Err(Error::ParentMissing { .. })));
    assert_eq!(flaws(store.root()), Vec::<String>::new());

    // Layers of one image are unpacked at the same time and committed in order; a second pull of the same layer joins.
    let child = store.begin_layer(ids[1].clone(), Some(ids[0].clone())).unwrap();
    unpack(&child, &layers[1]);
    let (one, two) =
        (store.begin_layer(ids[0].clone(), None).unwrap(), store.begin_layer(ids[0].clone(), None).unwrap());
    unpack(&one, &layers[0]);
    one.commit(digests(&layers[0])).unwrap();
    assert_eq!(two.commit(digests(&layers[0])).unwrap().id, ids[0]);
    child.commit(digests(&layers[1])).unwrap();
    assert!(matches!(store.begin_layer(ids[0].clone(), None), Err(Error::LayerExists { .. })));
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn flagged_layers_go_with_the_images_and_containers_that_name_them() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = [blob(&[("a", Some("a"))])];
    add_image(&store, "example.com/a:1", &layers);
    let made = store.create_container(container(Some(image_id(&layers)))).unwrap();
    let free = store.create_container(container(None)).unwrap();
    store.mount_container(&made.id).unwrap();
    drop(store);

    flag(&lab.path("root/overlay-layers/layers.json"));
    let store = lab.open();
    assert!(store.images().unwrap().is_empty());
    assert_eq!(store.containers().unwrap().len(), 2);
    flag(&lab.path("root/overlay-layers/volatile-layers.json"));
    drop(store);
    let store = lab.open();
    assert!(store.containers().unwrap().is_empty());
    assert!(!store.container_dir(&free.id).exists());
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn leftovers_without_records_go_but_not_when_the_records_are_lost() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = [blob(&[("a", Some("a"))])];
    let image = add_image(&store, "example.com/a:1", &layers);
    let orphan = lab.path(&format!("root/overlay-images/{}", "f".repeat(64)));
    fs::create_dir(&orphan).unwrap();
    fs::create_dir_all(lab.path("root/ochre/trash/x/y")).unwrap();
    fs::write(lab.path("root/ochre/staging/dead.lock"), "").unwrap();
    fs::create_dir(lab.path("root/ochre/staging/dead")).unwrap();
    drop(store);
    drop(lab.open());
    assert!(!orphan.exists());
    assert_eq!(flaws(&lab.path("root")), Vec::<String>::new());

    let records = lab.path("root/overlay-images/images.json");
    let text = fs::read(&records).unwrap();
    for damage in [&b"[{"[..], b""] {
        fs::write(&records, damage).unwrap();
        let opened = Store::open(lab.config());
        assert_eq!(
            matches!(&opened, Err(Error::Corrupt { path, .. }) if *path == records),
            !damage.is_empty()
        );
        assert!(lab.path(&format!("root/overlay-images/{}/manifest", image.id)).exists());
    }
    fs::write(&records, text).unwrap();
    assert_eq!(lab.open().images().unwrap().len(), 1);
}

#[test]
fn more_layers_than_fit_one_page_of_options_are_mounted() {
    let lab = Lab::new();
    let store = lab.open();
    let mut top = None;
    for n in 0..150 {
        let id = ochre_types::LayerId::generate();
        let staging = store.begin_layer(id.clone(), top.clone()).unwrap();
        let file = staging.root().open_at(format!("f{n}").as_ref(), OFlags::CREATE | OFlags::WRONLY, 0o644);
        drop(file.unwrap());
        staging.commit(digests(&Blob { tar: vec![], gzip: vec![] })).unwrap();
        top = Some(id);
    }
    let new = ochre_storage::NewImage {
        id: "a".repeat(64).parse().unwrap(),
        names: vec![],
        top_layer: top,
        digest: None,
        big_data: vec![],
        created: ochre_types::Timestamp::now(),
        metadata: String::new(),
    };
    let image = store.create_image(new).unwrap();
    let made = store.create_container(container(Some(image.id.clone()))).unwrap();
    let mounted = store.mount_container(&made.id).unwrap();
    assert_eq!(fs::read_dir(mounted).unwrap().count(), 150);
    store.delete_container(&made.id).unwrap();
    store.delete_image(&image.id).unwrap();
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn overlay_may_be_a_file_system_of_its_own() {
    let lab = Lab::new();
    let overlay = lab.path("root/overlay");
    fs::create_dir_all(&overlay).unwrap();
    rustix::mount::mount("tmpfs", &overlay, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let store = lab.open();
    let layers = [blob(&[("a", Some("a"))]), blob(&[("b", Some("b"))])];
    let image = add_image(&store, "example.com/a:1", &layers);
    let made = store.create_container(container(Some(image.id.clone()))).unwrap();
    let mounted = store.mount_container(&made.id).unwrap();
    assert!(mounted.join("a").exists() && mounted.join("b").exists());
    store.delete_container(&made.id).unwrap();
    store.delete_image(&image.id).unwrap();
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn containers_made_at_once_do_not_disturb_each_other() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = [blob(&[("a", Some("a"))])];
    let image = add_image(&store, "example.com/a:1", &layers);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let made = store.create_container(container(Some(image.id.clone()))).unwrap();
                    let mounted = store.mount_container(&made.id).unwrap();
                    fs::write(mounted.join("mine"), made.id.as_str()).unwrap();
                    assert_eq!(fs::read_to_string(mounted.join("mine")).unwrap(), made.id.as_str());
                    store.unmount_container(&made.id).unwrap();
                    store.delete_container(&made.id).unwrap();
                }
            });
        }
    });
    let name = container(None);
    let taken = NewContainer { id: ContainerId::generate(), ..name.clone() };
    store.create_container(name.clone()).unwrap();
    assert!(matches!(store.create_container(taken), Err(Error::ContainerNameInUse { .. })));
    assert!(matches!(store.create_container(name), Err(Error::ContainerExists { .. })));
    assert_eq!(store.containers().unwrap().len(), 1);
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn mount_options_are_applied_and_unknown_ones_refused() {
    let lab = Lab::new();
    let options = vec!["nodev,metacopy=on".to_owned()];
    let store = Store::open(StoreConfig { mount_options: options, ..lab.config() }).unwrap();
    let made = store.create_container(container(None)).unwrap();
    let mounted = store.mount_container(&made.id).unwrap();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table.lines().find(|line| line.contains(&*mounted.to_string_lossy())).unwrap();
    assert!(line.contains("nodev") && line.contains("volatile"), "{line}");
    store.delete_container(&made.id).unwrap();
    drop(store);
    let bad = StoreConfig { mount_options: vec!["no_such_option=1".into()], ..lab.config() };
    assert!(matches!(Store::open(bad), Err(Error::OverlayUnsupported { .. })));
}

#[test]
fn a_kill_at_any_moment_leaves_a_store_that_the_next_start_repairs() {
    let lab = Lab::new();
    drop(lab.open());
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .env(VICTIM, lab.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(60 + round * 17 % 140));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = lab.open();
        assert_eq!(flaws(store.root()), Vec::<String>::new(), "round {round}");
        for made in store.containers().unwrap().iter() {
            store.mount_container(&made.id).unwrap();
            store.delete_container(&made.id).unwrap();
        }
        for image in store.images().unwrap().iter() {
            assert!(store.big_data(&image.id, "manifest").is_ok(), "round {round}");
            store.delete_image(&image.id).unwrap();
        }
        let left: Vec<_> = flaws(store.root());
        assert_eq!(left, Vec::<String>::new(), "round {round}");
    }
}

#[test]
#[ignore = "runs as the victim of the kill test"]
fn victim() {
    let dir = std::path::PathBuf::from(std::env::var_os(VICTIM).unwrap());
    let store = Store::open(StoreConfig {
        root: dir.join("root"),
        runroot: dir.join("run"),
        ..StoreConfig::default()
    })
    .unwrap();
    // No child processes: they would outlive the kill and go on writing.
    let fill = |staging: &LayerStaging, _: &Blob| {
        for n in 0..3 {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            drop(staging.root().open_at(format!("file{n}").as_ref(), flags, 0o644).unwrap());
        }
    };
    let content =
        |text: String| Blob { tar: text.clone().into_bytes(), gzip: format!("gzip {text}").into_bytes() };
    for n in 0.. {
        let layers = [content("shared".to_owned()), content(format!("own {n}"))];
        let image = add_image_with(&store, &format!("example.com/a:{n}"), &layers, fill);
        let made = store.create_container(container(Some(image.id.clone()))).unwrap();
        store.mount_container(&made.id).unwrap();
        if n % 2 == 0 {
            store.unmount_container(&made.id).unwrap();
        }
        store.delete_container(&made.id).unwrap();
        if n % 3 > 0 {
            store.delete_image(&image.id).unwrap();
        }
    }
}
