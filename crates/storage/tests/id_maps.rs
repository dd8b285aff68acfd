//! Containers with a user namespace: the image's layers stay as they are, and everybody sees the right owners. Needs
//! root, skopeo, podman, and a file system with id-mapped mounts (ext4, xfs, btrfs, tmpfs).

// Functions around the tests may fail the test, too.
#![allow(clippy::unwrap_used)]

#[path = "support/lab.rs"]
mod lab;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use lab::{Lab, blob, flaws, image_id};
use ochre_storage::{Container, IdMaps, NewContainer, Store};
use ochre_sys::user_namespace::{IdRange, UserNamespace};
use ochre_types::ContainerId;

const NAME: &str = "example.com/team/app:v1";
const HOST: u32 = 300_000;

fn maps() -> IdMaps {
    let line = [IdRange { inside: 0, outside: HOST, count: 65_536 }];
    IdMaps { uids: line.to_vec(), gids: line.to_vec() }
}

fn mapped_container(store: &Store, layers: &[lab::Blob]) -> std::sync::Arc<Container> {
    let new = NewContainer {
        id: ContainerId::generate(),
        names: vec!["mapped".to_owned()],
        image: Some(image_id(layers)),
        metadata: "{}".to_owned(),
        mount_label: String::new(),
        id_maps: Some(maps()),
    };
    store.create_container(new).unwrap()
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

/// The directory of a container's own layer.
fn layer_dir(store: &Store, container: &Container) -> std::path::PathBuf {
    store.root().join("overlay").join(container.layer.as_str())
}

#[test]
fn layers_of_the_image_show_mapped_owners_and_nothing_is_copied_or_changed() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = vec![
        blob(&[("etc", None), ("etc/low", Some("1"))]),
        blob(&[("etc/high", Some("2")), ("other", Some("3"))]),
    ];
    lab.skopeo(NAME, &layers);
    let image_layer = store.root().join("overlay").join(lab::layer_ids(&layers)[1].as_str()).join("diff");
    chown(image_layer.join("other"), Some(1000), Some(2000)).unwrap();
    let container = mapped_container(&store, &layers);
    assert_eq!(container.id_maps, Some(maps()), "as on record");

    let root = store.mount_container(&container.id).unwrap();
    assert_eq!(store.mount_container(&container.id).unwrap(), root, "mounted once");
    assert_eq!(owner(&root), (HOST, HOST));
    assert_eq!(owner(&root.join("etc/low")), (HOST, HOST));
    assert_eq!(owner(&root.join("other")), (HOST + 1000, HOST + 2000));
    assert_eq!(owner(&image_layer.join("other")), (1000, 2000));
    let own = layer_dir(&store, &container).join("diff");
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "nothing was copied");

    // A change copies up with the owner that was shown, and the lower layer stays.
    fs::write(root.join("etc/high"), "changed").unwrap();
    assert_eq!(owner(&own.join("etc/high")), (HOST, HOST));
    assert_eq!(fs::read(image_layer.join("etc/high")).unwrap(), b"2");

    // No mount but the one is left, in particular none of the mapped copies.
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let layer = container.layer.as_str();
    assert_eq!(
        table.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| at.contains(layer))).count(),
        1
    );
    store.delete_container(&container.id).unwrap();
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn podman_reads_the_records_and_the_store_keeps_podman_s() {
    let lab = Lab::new();
    let store = lab.open();
    let layers = vec![blob(&[("file", Some("1"))])];
    lab.skopeo(NAME, &layers);
    let container = mapped_container(&store, &layers);
    let text = fs::read_to_string(store.root().join("overlay-layers/volatile-layers.json")).unwrap();
    assert!(text.contains(r#""uidmap":[{"container_id":0,"host_id":300000,"size":65536}]"#), "{text}");
    assert!(lab.podman(&["images"]).contains("example.com/team/app"));

    // A container of podman's with mappings of its own is read the same way.
    let map = ["--uidmap", "0:400000:1000", "--gidmap", "0:500000:1000"];
    let foreign = [&["create", "--network=none", "--cgroups=disabled"], &map[..], &[NAME]].concat();
    let foreign: ContainerId = lab.podman(&foreign).trim().parse().unwrap();
    let read = store.container(&foreign).unwrap().unwrap();
    let maps = read.id_maps.clone().unwrap();
    assert_eq!((maps.uids[0].outside, maps.gids[0].outside), (400_000, 500_000));
    lab.podman(&["rm", foreign.as_str()]);
    store.delete_container(&container.id).unwrap();
    assert_eq!(flaws(store.root()), Vec::<String>::new());
}

#[test]
fn whether_ids_can_be_mapped_is_found_out_without_a_trace() {
    let lab = Lab::new();
    let store = lab.open();
    let namespace = UserNamespace::new(&maps().uids, &maps().gids, &[]).unwrap();
    let namespace = namespace.open().unwrap();
    use std::os::fd::AsFd;
    store.try_id_maps(namespace.as_fd()).unwrap();
    let staged = fs::read_dir(store.root().join("ochre/staging")).unwrap().count();
    assert_eq!(staged, 0);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains("ochre/staging"), "{table}");
}
