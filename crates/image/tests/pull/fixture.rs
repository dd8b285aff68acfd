//! Images made byte by byte, and a store to pull them into.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ochre_image::{
    AuthFiles, Error, ImageServiceConfig, Images, PolicyPaths, Proxies, PullRequest, RegistriesPaths,
    RetryPolicy,
};
use ochre_storage::{Store, StoreConfig};
use ochre_types::ImageId;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::registry::Registry;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// A tar archive of regular files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(seed ^ (seed >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as blob.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) diff_id: String,
    pub(crate) blob: Vec<u8>,
    pub(crate) digest: String,
    packing: Packing,
}

impl Layer {
    pub(crate) fn new(archive: &[u8], packing: Packing) -> Self {
        let blob = match packing {
            Packing::Plain => archive.to_vec(),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(archive).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::bulk::compress(archive, 1).unwrap(),
        };
        Self { diff_id: digest(archive), digest: digest(&blob), blob, packing }
    }

    pub(crate) fn random(size: usize, seed: u64) -> Self {
        Self::new(&tar(&[(&format!("file-{seed}"), &noise(size, seed))]), Packing::Gzip)
    }

    fn media_type(&self, manifest: &str) -> String {
        let docker = manifest == DOCKER_MANIFEST;
        let base = if docker {
            "application/vnd.docker.image.rootfs.diff.tar"
        } else {
            "application/vnd.oci.image.layer.v1.tar"
        };
        match (self.packing, docker) {
            (Packing::Plain, _) => base.to_owned(),
            (Packing::Gzip, true) => format!("{base}.gzip"),
            (Packing::Gzip, false) => format!("{base}+gzip"),
            (Packing::Zstd, true) => format!("{base}.zstd"),
            (Packing::Zstd, false) => format!("{base}+zstd"),
        }
    }
}

/// An image as documents and blobs.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) media_type: &'static str,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

impl TestImage {
    pub(crate) fn new(media_type: &'static str, layers: &[Layer]) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": { "User": "1000:1000", "Cmd": ["/file"], "Env": ["A=b"], "Labels": { "who": "test" } },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| l.diff_id.clone()).collect::<Vec<_>>() }
        })
        .to_string()
        .into_bytes();
        let config_type = if media_type == DOCKER_MANIFEST {
            "application/vnd.docker.container.image.v1+json"
        } else {
            "application/vnd.oci.image.config.v1+json"
        };
        let blobs: Vec<_> = layers
            .iter()
            .map(|l| json!({ "mediaType": l.media_type(media_type), "digest": l.digest, "size": l.blob.len() }))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": { "mediaType": config_type, "digest": digest(&config), "size": config.len() },
            "layers": blobs
        })
        .to_string()
        .into_bytes();
        Self { media_type, config, manifest, layers: layers.to_vec() }
    }

    pub(crate) fn id(&self) -> String {
        digest(&self.config)["sha256:".len()..].to_owned()
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    pub(crate) fn push(&self, registry: &Registry, tag: &str) {
        registry.put_manifest(tag, self.media_type, self.manifest.clone());
        registry.put_manifest(&self.digest(), self.media_type, self.manifest.clone());
        registry.put_blob(&digest(&self.config), self.config.clone());
        for layer in &self.layers {
            registry.put_blob(&layer.digest, layer.blob.clone());
        }
    }

    /// An index with this image for this machine and a stranger for another one.
    pub(crate) fn index(&self, media_type: &str) -> Vec<u8> {
        let architecture = ochre_image::Platform::default().architecture;
        json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [
            { "mediaType": self.media_type, "digest": format!("sha256:{}", "9".repeat(64)), "size": 7,
              "platform": { "os": "linux", "architecture": "sparc" } },
            { "mediaType": self.media_type, "digest": self.digest(), "size": self.manifest.len(),
              "platform": { "os": "linux", "architecture": architecture } }
        ] })
        .to_string()
        .into_bytes()
    }
}

/// A store, an image service on it, and the directory they live in.
pub(crate) struct Node {
    pub(crate) images: Images,
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl Node {
    /// `registries` are those marked insecure.
    pub(crate) fn new(registries: &[&Registry]) -> Self {
        let text: String = registries
            .iter()
            .map(|registry| format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host()))
            .collect();
        Self::with(&text, |_| ())
    }

    pub(crate) fn with(registries: &str, change: impl FnOnce(&mut ImageServiceConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("registries.conf");
        std::fs::write(&file, registries).unwrap();
        let store = Store::open(StoreConfig {
            root: dir.path().join("root"),
            runroot: dir.path().join("run"),
            ..StoreConfig::default()
        })
        .unwrap();
        let policy = dir.path().join("policy.json");
        std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        let mut config = ImageServiceConfig::new(store.clone(), dir.path().join("tmp"));
        config.registries = RegistriesPaths { file, directory: dir.path().join("none") };
        config.policy = PolicyPaths { file: Some(policy), namespaces: None };
        config.signature_places = dir.path().join("registries.d");
        config.auth_files = AuthFiles::only(dir.path().join("auth.json"));
        config.proxies = Proxies::default();
        config.certs_dirs = vec![dir.path().join("certs.d")];
        config.progress_timeout = Duration::from_millis(1500);
        config.connect_timeout = Duration::from_secs(2);
        config.retry = RetryPolicy { tries: 3, pause: Duration::from_millis(10) };
        change(&mut config);
        Self { images: Images::new(config).unwrap(), store, dir }
    }

    pub(crate) async fn pull(&self, reference: &str) -> Result<ImageId, Error> {
        self.images.pull(PullRequest { reference: reference.to_owned(), ..PullRequest::default() }).await
    }

    /// The content of a file in the image's layers (the topmost that has it).
    pub(crate) fn file(&self, id: &ImageId, name: &str) -> Option<Vec<u8>> {
        let mut layer = self.store.image(id).unwrap().unwrap().top_layer.clone();
        while let Some(current) = layer {
            let path = self.overlay().join(current.as_str()).join("diff").join(name);
            if let Ok(content) = std::fs::read(path) {
                return Some(content);
            }
            layer = self.store.layer(&current).unwrap().unwrap().parent.clone();
        }
        None
    }

    fn overlay(&self) -> PathBuf {
        self.dir.path().join("root/overlay")
    }

    /// Neither images nor layers, staged ones included.
    pub(crate) fn assert_empty(&self) {
        assert!(self.store.images().unwrap().is_empty());
        // A layer whose pull failed for another one's sake is removed by its own thread, a moment later.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let left: Vec<_> =
                leaves(&self.overlay()).into_iter().filter(|path| path.ends_with("diff")).collect();
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The directories down to three levels.
fn leaves(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut start = 0;
    for _ in 0..4 {
        let level: Vec<_> = found[start..].to_vec();
        start = found.len();
        for directory in level {
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            found.extend(
                entries
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| path.is_dir() && !path.is_symlink()),
            );
        }
    }
    found
}

/// The whole chain of an error.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
