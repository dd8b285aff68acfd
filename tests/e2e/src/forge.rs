//! Registries that lie: blobs changed on the registry's disk, manifests that no tool would push.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::Registry;

impl Registry {
    /// The file in which the registry keeps a blob (`sha256:…`). What is changed there is served.
    pub fn blob(&self, digest: &str) -> anyhow::Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").context("a sha256 digest")?;
        Ok(self.data().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data"))
    }

    /// The manifest behind a name, as the registry has it.
    pub fn manifest(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let name = format!("docker://{}/{name}", self.host());
        let text = crate::run("skopeo", &["inspect", "--raw", "--tls-verify=false", &name])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Puts a manifest as it is.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.host())?;
        write!(
            stream,
            "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.host(),
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 201") {
            bail!("the registry refuses the manifest: {answer}");
        }
        Ok(())
    }
}

impl Registry {
    /// Pushes an OCI artifact as `oras` does: each file a layer with its title; returns the manifest's digest.
    pub fn push_artifact(
        &self,
        repository: &str,
        tag: &str,
        files: &[(&str, &[u8])],
    ) -> anyhow::Result<String> {
        let config = self.put_blob(repository, b"{}")?;
        let layers = files.iter().map(|(title, content)| {
            Ok(serde_json::json!({
                "mediaType": "application/octet-stream", "size": content.len(),
                "digest": self.put_blob(repository, content)?,
                "annotations": { "org.opencontainers.image.title": title },
            }))
        });
        let layers = layers.collect::<anyhow::Result<Vec<_>>>()?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "artifactType": "application/vnd.example.model",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
            "layers": layers, "annotations": { "of": "test" },
        })
        .to_string();
        self.put_manifest(repository, tag, media_type, manifest.as_bytes())?;
        sha256(manifest.as_bytes())
    }

    /// Puts a blob; returns its digest.
    fn put_blob(&self, repository: &str, content: &[u8]) -> anyhow::Result<String> {
        let digest = sha256(content)?;
        let head = format!("POST /v2/{repository}/blobs/uploads/ HTTP/1.1");
        let answer = self.exchange(&head, b"")?;
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        let location = location.with_context(|| format!("no place for the upload: {answer}"))?;
        let path = location.split_once(&self.host()).map_or(location, |(_, path)| path);
        let join = if path.contains('?') { '&' } else { '?' };
        let answer = self.exchange(&format!("PUT {path}{join}digest={digest} HTTP/1.1"), content)?;
        if !answer.starts_with("HTTP/1.1 201") {
            bail!("the registry refuses the blob: {answer}");
        }
        Ok(digest)
    }

    fn exchange(&self, head: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.host())?;
        write!(
            stream,
            "{head}\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.host(),
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// The digest of these bytes.
fn sha256(content: &[u8]) -> anyhow::Result<String> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(content)?;
    let line = crate::run("sha256sum", &[&file.path().to_string_lossy()])?;
    Ok(format!("sha256:{}", line.split_whitespace().next().context("a digest")?))
}
