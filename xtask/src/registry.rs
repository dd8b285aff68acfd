//! Debian's docker-registry, and other programs that run beside a measurement or a suite.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const PATIENCE: Duration = Duration::from_secs(30);

/// A registry on a free port of loopback, with its host and port.
pub(crate) fn registry(directory: &Path) -> anyhow::Result<(Child, String)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let config = directory.join("registry.yml");
    let data = directory.join("registry");
    std::fs::write(
        &config,
        format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        ),
    )?;
    let child = quiet(Command::new("docker-registry").arg("serve").arg(&config))
        .spawn()
        .context("starting docker-registry")?;
    wait("docker-registry", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    Ok((child, format!("127.0.0.1:{port}")))
}

/// A command without standard streams.
pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Waits until a program is ready.
pub(crate) fn wait(what: &str, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !ready() {
        if began.elapsed() > PATIENCE {
            bail!("{what} does not answer within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
