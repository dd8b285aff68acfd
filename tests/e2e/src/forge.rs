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
