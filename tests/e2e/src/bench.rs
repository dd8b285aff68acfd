//! The engine's program with configuration files of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{PATIENCE, programs};

/// A directory with configuration files, and programs that read them.
pub struct Bench(TempDir);

/// An engine with arguments of the test's own.
pub struct Running {
    child: Child,
    directory: PathBuf,
}

impl Bench {
    /// An empty one.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("ochre-e2e-").tempdir()?))
    }

    /// A place in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; `{dir}` in it stands for the directory.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("a parent")?)?;
        std::fs::write(&path, text.replace("{dir}", &self.0.path().to_string_lossy()))?;
        Ok(path)
    }

    /// `ochre VERB` with the files of this directory and nothing of the machine's environment.
    pub fn ochre(&self, verb: &str) -> Command {
        let mut command = Command::new(programs().join("ochre"));
        command
            .arg(verb)
            .arg("--config")
            .arg(self.path("crio.conf"))
            .arg("--config-dir")
            .arg(self.path("crio.conf.d"));
        command.stdin(Stdio::null()).env_remove("CONTAINER_CONFIG").env_remove("CONTAINER_CONFIG_DIR");
        command
    }

    /// The active lines of `ochre config`.
    pub fn in_force(&self, adapt: impl FnOnce(&mut Command)) -> anyhow::Result<Vec<String>> {
        let mut command = self.ochre("config");
        adapt(&mut command);
        let output = command.output()?;
        if !output.status.success() {
            bail!("ochre config: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains(" = "))
            .map(str::to_owned)
            .collect())
    }

    /// Starts the engine and waits for its socket.
    pub fn start(&self, socket: &Path, adapt: impl FnOnce(&mut Command)) -> anyhow::Result<Running> {
        let log = std::fs::File::create(self.path("log"))?;
        let mut command = self.ochre("serve");
        command.stdout(log.try_clone()?).stderr(log);
        adapt(&mut command);
        let mut running = Running { child: command.spawn()?, directory: self.0.path().to_owned() };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            if running.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                bail!("the engine did not come up: {}", std::fs::read_to_string(self.path("log"))?);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(running)
    }

    /// What `ochre serve` says with this main file when it refuses to start.
    pub fn refused(&self, text: &str) -> anyhow::Result<String> {
        self.write("crio.conf", text)?;
        let mut command = self.ochre("serve");
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--listen", "ochre.sock")] {
            command.arg(flag).arg(self.path(name));
        }
        refusal(&mut command)
    }
}

/// What a program says that has to fail within the time.
pub fn refusal(command: &mut Command) -> anyhow::Result<String> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(1), "{command:?}");
    Ok(String::from_utf8(output.stderr)?)
}

impl Running {
    /// Ends it in an orderly way.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let status = self.child.wait()?;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        ochre_test_support::leftovers::sweep(&self.directory);
    }
}

/// Runs `ochre` with these arguments.
pub fn ochre(arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(programs().join("ochre")).args(arguments).output()?)
}
