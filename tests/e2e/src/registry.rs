//! Debian's docker-registry on a loopback port, filled by skopeo.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::bail;
use ochre_test_support::layout::Image;
use tempfile::TempDir;

use crate::PATIENCE;

/// A running registry; gone with the value.
pub struct Registry {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Registry {
    /// Starts it on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(None)
    }

    /// Starts one that asks for these credentials: a line of an htpasswd file, with bcrypt.
    pub fn start_closed(htpasswd: &str) -> anyhow::Result<Self> {
        Self::start_with(Some(htpasswd))
    }

    fn start_with(htpasswd: Option<&str>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ochre-registry-").tempdir()?;
        let mut options = String::new();
        if let Some(lines) = htpasswd {
            // Read at every login.
            let file = directory.path().join("htpasswd");
            std::fs::write(&file, lines)?;
            options = format!("auth:\n  htpasswd:\n    realm: here\n    path: {}\n", file.display());
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = directory.path().join("config.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{options}",
                directory.path().join("data").display()
            ),
        )?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let registry = Self { child, port, directory };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if began.elapsed() > PATIENCE {
                bail!("docker-registry does not answer on port {port}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes a home-made image; `format` is `oci` or `v2s2`.
    pub fn push(&self, image: &Image, name: &str, format: &str) -> anyhow::Result<()> {
        let layout = tempfile::tempdir_in(self.directory.path())?;
        image.write_layout(layout.path(), "latest")?;
        self.copy(&format!("oci:{}:latest", layout.path().display()), name, &["--format", format])
    }

    /// Copies an image that skopeo can read to a name of this registry.
    pub fn copy(&self, source: &str, name: &str, options: &[&str]) -> anyhow::Result<()> {
        let target = format!("docker://{}/{name}", self.host());
        let mut arguments = vec!["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"];
        arguments.extend(options);
        arguments.extend([source, &target]);
        crate::run("skopeo", &arguments).map(drop)
    }

    /// Where it keeps its blobs.
    pub fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a registries.conf that marks it as insecure and makes `prefix` resolve to it.
    pub fn write_conf(&self, path: &Path, prefix: &str) -> anyhow::Result<()> {
        let host = self.host();
        Ok(std::fs::write(
            path,
            format!(
                "[[registry]]\nlocation = \"{host}\"\ninsecure = true\n\n[[registry]]\nprefix = \"{prefix}\"\nlocation = \"unreachable.invalid\"\n\n[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n"
            ),
        )?)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
