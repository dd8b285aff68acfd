//! A scratch store, images to fill it with, and the Go programs to share it with. Needs root, skopeo and podman.

// Each test program uses its own part of this file, and a failure of the surroundings fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ochre_storage::{Image, LayerDigests, NewImage, Store, StoreConfig, chain_layer_id};
use ochre_types::{Digest, ImageId, LayerId, Timestamp};
use rustix::mount::UnmountFlags;
use sha2::{Digest as _, Sha256};

/// A directory with a store's roots. Everything mounted below it is unmounted when it is dropped.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// One layer as a registry has it.
pub(crate) struct Blob {
    pub(crate) tar: Vec<u8>,
    pub(crate) gzip: Vec<u8>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig { root: self.path("root"), runroot: self.path("run"), ..StoreConfig::default() }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.config()).unwrap()
    }

    /// Runs podman on the store and returns what it printed.
    pub(crate) fn podman(&self, arguments: &[&str]) -> String {
        output(self.podman_command(arguments))
    }

    pub(crate) fn podman_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        command.arg("--tmpdir").arg(self.path("tmp")).args([
            "--storage-driver",
            "overlay",
            "--cgroup-manager",
            "cgroupfs",
        ]);
        command.args(arguments);
        command
    }

    /// Has skopeo write an image with these layers under the name into the store.
    pub(crate) fn skopeo(&self, name: &str, layers: &[Blob]) {
        let layout = self.path(&format!("oci-{}", digest(name.as_bytes()).hex()));
        write_layout(&layout, layers);
        let to = format!(
            "containers-storage:[overlay@{}+{}]{name}",
            self.path("root").display(),
            self.path("run").display()
        );
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "-q", &format!("oci:{}:x", layout.display()), &to]);
        output(command);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        let below: Vec<_> = points.filter(|point| point.starts_with(self.dir.path())).collect();
        for point in below.iter().rev() {
            drop(rustix::mount::unmount(point, UnmountFlags::DETACH).map_err(std::io::Error::from));
        }
    }
}

/// Makes a layer of files; `None` for a directory.
pub(crate) fn blob(files: &[(&str, Option<&str>)]) -> Blob {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        match content {
            None => fs::create_dir_all(path).unwrap(),
            Some(content) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir.path()).args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "-cf",
        "archive",
    ]);
    tar.current_dir(dir.path()).args(names);
    output(tar);
    let archive = dir.path().join("archive");
    let bytes = fs::read(&archive).unwrap();
    let mut gzip = Command::new("gzip");
    gzip.arg("-n").arg(&archive);
    output(gzip);
    Blob { tar: bytes, gzip: fs::read(dir.path().join("archive.gz")).unwrap() }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256(&Sha256::digest(bytes).into())
}

/// Configuration and manifest of an image with these layers.
pub(crate) fn documents(layers: &[Blob]) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest(&layer.tar).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05.123456789Z",
        "config": {"Cmd": ["/hello"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(&layer.gzip).to_string(), "size": layer.gzip.len(),
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config).to_string(), "size": config.len(),
        },
        "layers": descriptors,
    });
    (config, serde_json::to_vec(&manifest).unwrap())
}

/// The identifier an image with these layers gets.
pub(crate) fn image_id(layers: &[Blob]) -> ImageId {
    digest(&documents(layers).0).hex().parse().unwrap()
}

/// The layers' identifiers, lowest first.
pub(crate) fn layer_ids(layers: &[Blob]) -> Vec<LayerId> {
    let mut ids: Vec<LayerId> = Vec::new();
    for layer in layers {
        ids.push(chain_layer_id(ids.last(), &digest(&layer.tar)));
    }
    ids
}

/// Adds an image the way the engine does.
pub(crate) fn add_image(store: &Store, name: &str, layers: &[Blob]) -> std::sync::Arc<Image> {
    add_image_with(store, name, layers, unpack)
}

/// As [`add_image`], with another way to fill the layers.
pub(crate) fn add_image_with(
    store: &Store,
    name: &str,
    layers: &[Blob],
    fill: fn(&ochre_storage::LayerStaging, &Blob),
) -> std::sync::Arc<Image> {
    let ids = layer_ids(layers);
    for (index, (id, layer)) in ids.iter().zip(layers).enumerate() {
        if store.layer(id).unwrap().is_none() {
            let parent = index.checked_sub(1).map(|below| ids[below].clone());
            let staging = store.begin_layer(id.clone(), parent).unwrap();
            fill(&staging, layer);
            staging.commit(digests(layer)).unwrap();
        }
    }
    let (config, manifest) = documents(layers);
    let (id, manifest_digest) = (image_id(layers), digest(&manifest));
    let big_data = vec![
        (digest(&config).to_string(), config),
        (format!("manifest-{manifest_digest}"), manifest.clone()),
        ("manifest".to_owned(), manifest),
    ];
    let new = NewImage {
        id,
        names: vec![name.to_owned()],
        top_layer: ids.last().cloned(),
        digest: Some(manifest_digest),
        big_data,
        created: Timestamp::from_nanos(1_704_164_645_123_456_789),
        metadata: "{}".to_owned(),
    };
    store.create_image(new).unwrap()
}

/// Unpacks a layer with tar.
pub(crate) fn unpack(staging: &ochre_storage::LayerStaging, layer: &Blob) {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let into = format!("/proc/{}/fd/{}", std::process::id(), staging.root().as_fd().as_raw_fd());
    let mut tar = Command::new("tar")
        .args(["-C", &into, "-xf", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&layer.tar).unwrap();
    assert!(tar.wait().unwrap().success());
}

pub(crate) fn digests(layer: &Blob) -> LayerDigests {
    LayerDigests {
        compressed_digest: Some(digest(&layer.gzip)),
        compressed_size: layer.gzip.len().try_into().unwrap(),
        diff_id: digest(&layer.tar),
        diff_size: layer.tar.len().try_into().unwrap(),
        uids: vec![0],
        gids: vec![0],
        created: Timestamp::now(),
    }
}

/// What is in the store and should not be there, or the other way round. Empty for a sound store.
pub(crate) fn flaws(root: &Path) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut layers = std::collections::HashSet::new();
    for name in ["layers.json", "volatile-layers.json"] {
        for record in records(&root.join("overlay-layers").join(name)) {
            if record["flags"]["incomplete"] == true {
                flaws.push(format!("layer {} is incomplete", record["id"]));
            }
            layers.insert(record["id"].as_str().unwrap().to_owned());
        }
    }
    for entry in fs::read_dir(root.join("overlay")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let name = entry.into_string().unwrap();
        if name.len() == 64 && !layers.contains(&name) {
            flaws.push(format!("overlay/{name} has no record"));
        }
    }
    for layer in &layers {
        let dir = root.join("overlay").join(layer);
        let link = fs::read_to_string(dir.join("link")).unwrap_or_default();
        let target = fs::read_link(root.join("overlay/l").join(link)).unwrap_or_default();
        if !dir.join("diff").is_dir() || target != Path::new(&format!("../{layer}/diff")) {
            flaws.push(format!("layer {layer} lacks its directory or link"));
        }
    }
    for entry in fs::read_dir(root.join("overlay/l")).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.is_dir() {
            flaws.push(format!("{} dangles", entry.display()));
        }
    }
    for image in records(&root.join("overlay-images/images.json")) {
        if image["layer"].as_str().is_some_and(|layer| !layers.contains(layer)) {
            flaws.push(format!("image {} lacks its layer", image["id"]));
        }
    }
    for name in ["containers.json", "volatile-containers.json"] {
        for container in records(&root.join("overlay-containers").join(name)) {
            if !layers.contains(container["layer"].as_str().unwrap()) {
                flaws.push(format!("container {} lacks its layer", container["id"]));
            }
        }
    }
    for area in ["ochre/staging", "ochre/trash"] {
        let left = fs::read_dir(root.join(area)).map_or(0, Iterator::count);
        if left > 0 {
            flaws.push(format!("{left} entries in {area}"));
        }
    }
    flaws
}

fn records(path: &Path) -> Vec<serde_json::Value> {
    fs::read(path).map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default()
}

fn write_layout(layout: &Path, layers: &[Blob]) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let (config, manifest) = documents(layers);
    for content in layers.iter().map(|layer| &layer.gzip).chain([&config, &manifest]) {
        fs::write(blobs.join(digest(content).hex()), content).unwrap();
    }
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(&manifest).to_string(), "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "x"},
    }]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

pub(crate) fn output(mut command: Command) -> String {
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&done.stderr));
    text
}
