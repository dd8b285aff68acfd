//! Home-made images: an OCI layout on disk from a list of files (OCI image layout specification 1.1).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One entry of the root file system.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A directory with its mode.
    Directory(String, u32),
    /// A file with its mode and content.
    File(String, u32, Vec<u8>),
    /// A symbolic link and where it leads.
    Link(String, String),
    /// A further name of a file: the name and the file's.
    HardLink(String, String),
}

/// An image of one layer.
#[derive(Debug, Clone)]
pub struct Image {
    /// What its root file system holds.
    pub entries: Vec<Entry>,
    /// The `config` object of its configuration.
    pub config: Value,
}

impl Image {
    /// Writes it as an OCI layout with one manifest named `tag`. Returns the hexadecimal image id.
    ///
    /// # Errors
    /// Any error of writing.
    pub fn write_layout(&self, directory: &Path, tag: &str) -> io::Result<String> {
        Layered::new(vec![archive(&self.entries)?], self.config.clone()).write_layout(directory, tag)
    }
}

/// An image of several layers, given as tar archives.
#[derive(Debug, Clone)]
pub struct Layered {
    /// The archives, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The `config` object of its configuration.
    pub config: Value,
    /// The architecture it says it is for, in the words of OCI.
    pub architecture: String,
    /// Whether the layers are gzipped.
    pub gzip: bool,
}

impl Layered {
    /// An image for this machine with gzipped layers.
    pub fn new(layers: Vec<Vec<u8>>, config: Value) -> Self {
        Self { layers, config, architecture: architecture().to_owned(), gzip: true }
    }

    /// Writes it as an OCI layout with one manifest named `tag`. Returns the hexadecimal image id.
    ///
    /// # Errors
    /// Any error of writing.
    pub fn write_layout(&self, directory: &Path, tag: &str) -> io::Result<String> {
        let blobs = start_layout(directory)?;
        let (id, manifest) = self.write_blobs(&blobs)?;
        finish_layout(directory, tag, manifest)?;
        Ok(id)
    }

    /// Writes configuration, layers and manifest; returns the image id and the manifest's descriptor.
    fn write_blobs(&self, blobs: &Path) -> io::Result<(String, Value)> {
        let mut layers = Vec::new();
        for archive in &self.layers {
            layers.push(if self.gzip {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(archive)?;
                blob(blobs, "application/vnd.oci.image.layer.v1.tar+gzip", &encoder.finish()?)?
            } else {
                blob(blobs, "application/vnd.oci.image.layer.v1.tar", archive)?
            });
        }
        let diff_ids: Vec<_> = self.layers.iter().map(|archive| format!("sha256:{}", hex(archive))).collect();
        let made = json!({ "created": "2026-01-01T00:00:00Z", "created_by": "ochre" });
        let config = serde_json::to_vec(&json!({
            "architecture": self.architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": vec![made; self.layers.len()],
        }))?;
        let id = hex(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(blobs, "application/vnd.oci.image.config.v1+json", &config)?, "layers": layers,
        });
        let manifest =
            blob(blobs, "application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&manifest)?)?;
        Ok((id, manifest))
    }
}

/// Writes images as an OCI layout with one index named `tag`, an entry for each. Returns their hexadecimal ids.
///
/// # Errors
/// Any error of writing.
pub fn write_index(images: &[Layered], directory: &Path, tag: &str) -> io::Result<Vec<String>> {
    let blobs = start_layout(directory)?;
    let (mut ids, mut manifests) = (Vec::new(), Vec::new());
    for image in images {
        let (id, mut manifest) = image.write_blobs(&blobs)?;
        manifest["platform"] = json!({ "os": "linux", "architecture": image.architecture });
        ids.push(id);
        manifests.push(manifest);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    let index = blob(&blobs, media_type, &serde_json::to_vec(&index)?)?;
    finish_layout(directory, tag, index)?;
    Ok(ids)
}

/// The entries as a ustar archive.
///
/// # Errors
/// A name that does not fit its field.
pub fn archive(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut tar = Vec::new();
    for entry in entries {
        let (name, mode, kind, link, content): (&str, u32, u8, &str, &[u8]) = match entry {
            Entry::Directory(name, mode) => (name, *mode, b'5', "", &[]),
            Entry::File(name, mode, content) => (name, *mode, b'0', "", content),
            Entry::Link(name, target) => (name, 0o777, b'2', target, &[]),
            Entry::HardLink(name, target) => (name, 0o644, b'1', target, &[]),
        };
        tar.extend_from_slice(&header(name, mode, kind, link, content.len())?);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    Ok(tar)
}

fn start_layout(directory: &Path) -> io::Result<PathBuf> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(blobs)
}

fn finish_layout(directory: &Path, tag: &str, mut manifest: Value) -> io::Result<()> {
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
    });
    std::fs::write(directory.join("index.json"), serde_json::to_vec(&index)?)
}

/// A ustar header (POSIX.1-1988); names of up to 100 bytes are all that is needed here.
fn header(name: &str, mode: u32, kind: u8, link: &str, size: usize) -> io::Result<[u8; 512]> {
    if name.len() > 100 || link.len() > 100 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name over 100 bytes"));
    }
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0{size:011o}\0{:011o}\0        ", 0, 0, 0).as_bytes());
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

fn blob(blobs: &Path, media_type: &str, content: &[u8]) -> io::Result<Value> {
    let digest = hex(content);
    std::fs::write(blobs.join(&digest), content)?;
    Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len() }))
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This machine's architecture in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
