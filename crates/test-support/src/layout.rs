//! Home-made images: an OCI layout on disk from a list of files (OCI image layout specification 1.1).

use std::io::{self, Write};
use std::path::Path;

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
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        let tar = self.tar()?;
        let diff_id = hex(&tar);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&tar)?;
        let layer = blob(&blobs, "application/vnd.oci.image.layer.v1.tar+gzip", &encoder.finish()?)?;
        let config = json!({
            "architecture": architecture(), "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
            "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "ochre" }],
        });
        let config = serde_json::to_vec(&config)?;
        let id = hex(&config);
        let config = blob(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        let mut manifest =
            blob(&blobs, "application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&manifest)?)?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
        });
        std::fs::write(directory.join("index.json"), serde_json::to_vec(&index)?)?;
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(id)
    }

    /// The layer as a ustar archive.
    fn tar(&self) -> io::Result<Vec<u8>> {
        let mut tar = Vec::new();
        for entry in &self.entries {
            let (name, mode, kind, link, content): (&str, u32, u8, &str, &[u8]) = match entry {
                Entry::Directory(name, mode) => (name, *mode, b'5', "", &[]),
                Entry::File(name, mode, content) => (name, *mode, b'0', "", content),
                Entry::Link(name, target) => (name, 0o777, b'2', target, &[]),
            };
            tar.extend_from_slice(&header(name, mode, kind, link, content.len())?);
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        Ok(tar)
    }
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
