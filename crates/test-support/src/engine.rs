//! An engine of one's own: private directories, a private socket, ended and swept when it is dropped.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the engine may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    program: PathBuf,
    directory: PathBuf,
    arguments: Vec<OsString>,
    child: Option<Child>,
}

impl Engine {
    /// Starts `program` (the `ochre` binary) on directories below `directory`, without a configuration file unless
    /// `configuration` is given (the text of a crio.conf), and waits until its socket is there. A `registries.conf` in
    /// `directory` takes the place of the node's.
    ///
    /// # Errors
    /// When it cannot be started or does not come up; the message holds the end of its log.
    pub fn start(program: &Path, directory: &Path, configuration: Option<&str>) -> io::Result<Self> {
        let file = match configuration {
            Some(text) => {
                let path = directory.join("crio.conf");
                std::fs::write(&path, text)?;
                path.into_os_string()
            }
            None => OsString::new(),
        };
        let path = |name: &str| directory.join(name).into_os_string();
        let arguments = vec![
            "serve".into(),
            "--config".into(),
            file,
            "--config-dir".into(),
            path("crio.conf.d"),
            "--root".into(),
            path("root"),
            "--runroot".into(),
            path("run"),
            "--listen".into(),
            path("ochre.sock"),
            "--log-dir".into(),
            path("pod-logs"),
            "--namespaces-dir".into(),
            path("ns"),
            "--container-exits-dir".into(),
            path("exits"),
            "--cni-config-dir".into(),
            path("cni"),
        ];
        let mut engine =
            Self { program: program.to_owned(), directory: directory.to_owned(), arguments, child: None };
        engine.start_again()?;
        Ok(engine)
    }

    /// Starts it again on the same directories.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_again(&mut self) -> io::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let registries = self.directory.join("registries.conf");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_remove("CONTAINER_CONFIG")
            .envs(registries.exists().then_some(("CONTAINERS_REGISTRIES_CONF", registries)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let child = self.child.insert(child);
        let began = Instant::now();
        while !listens(&self.directory.join("ochre.sock"), child.id()) {
            if child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.directory.join("ochre.log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                return Err(io::Error::other(format!("the engine did not come up:\n{}", tail.join("\n"))));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The program and its arguments, for starting it in another way.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_remove("CONTAINER_CONFIG");
        command
    }

    /// Its CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("ochre.sock")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("ochre.log")
    }

    /// Its private directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its process id; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// The error of the call.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends it with SIGTERM and waits for it.
    ///
    /// # Errors
    /// `TimedOut` when it does not end; it is killed then.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill()?;
        child.wait()?;
        Err(io::Error::new(io::ErrorKind::TimedOut, "the engine did not end on SIGTERM"))
    }
}

/// Whether the process `pid` listens at `socket`. The socket of an engine that was killed may take connections a little
/// longer: a runtime that it was about to start holds it until it is executed.
fn listens(socket: &Path, pid: u32) -> bool {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    rustix::net::sockopt::socket_peercred(&stream)
        .is_ok_and(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()) == Ok(pid))
}

impl Drop for Engine {
    /// Ends the engine and whatever it left: monitors and containers by their paths, then mounts.
    fn drop(&mut self) {
        drop(self.stop());
        crate::leftovers::sweep(&self.directory);
    }
}
