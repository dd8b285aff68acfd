//! Clients of streams: crictl with pipes that a test holds, and crictl on a terminal of its own.

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use crate::{Node, eventually};

/// crictl with its connection options.
pub fn crictl_command(node: &Node, arguments: &[&str]) -> anyhow::Result<Command> {
    let endpoint = format!("unix://{}", node.engine.socket().display());
    let config = node.path("crictl.yaml");
    std::fs::write(&config, "timeout: 30\n")?;
    let mut command = Command::new(crate::crictl());
    command.arg("--config").arg(config);
    command.args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]).args(arguments);
    Ok(command)
}

/// A client under way; killed with the value.
pub struct Client(pub Child);

impl Client {
    /// Starts a command with three pipes.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(pipes.spawn()?))
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Reads stdout until it contains a text.
    pub fn hear(&mut self, needle: &str) -> anyhow::Result<String> {
        let output = self.0.stdout.as_mut().context("no stdout")?;
        let mut heard = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&heard).contains(needle) {
            anyhow::ensure!(
                output.read(&mut byte)? == 1,
                "it ended after {:?}",
                String::from_utf8_lossy(&heard)
            );
            heard.push(byte[0]);
        }
        Ok(String::from_utf8(heard)?)
    }

    /// Writes to its stdin.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let input = self.0.stdin.as_mut().context("no stdin")?;
        input.write_all(text.as_bytes())?;
        Ok(input.flush()?)
    }

    /// Waits for its end.
    pub async fn ended(&mut self, what: &str) -> anyhow::Result<std::process::ExitStatus> {
        eventually(what, async || Ok(self.0.try_wait()?)).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a command with this input to its end, while other tasks go on.
pub async fn fed(command: Command, input: Vec<u8>) -> anyhow::Result<Output> {
    let run = move || -> anyhow::Result<Output> {
        let mut client = Client::start(command)?;
        let mut stdin = client.0.stdin.take().context("no stdin")?;
        let mut stdout = client.0.stdout.take().context("no stdout")?;
        let mut stderr = client.0.stderr.take().context("no stderr")?;
        let typing = std::thread::spawn(move || stdin.write_all(&input));
        let complaining = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| text)
        });
        let mut output = Vec::new();
        stdout.read_to_end(&mut output)?;
        let stderr = complaining.join().expect("a reader")?;
        // A command that does not read its input ends all the same.
        drop(typing.join());
        Ok(Output { status: client.0.wait()?, stdout: output, stderr })
    };
    tokio::task::spawn_blocking(run).await?
}

/// A crictl on a pseudo-terminal of its own.
pub struct Typist {
    /// crictl.
    pub client: Client,
    /// The terminal's other side.
    pub master: std::fs::File,
    heard: Arc<Mutex<String>>,
}

impl Typist {
    /// Starts a command on a terminal of this size: columns and rows.
    pub fn start(command: &Command, size: (u16, u16)) -> anyhow::Result<Self> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string()?;
        set_size(&master, size)?;
        let slave = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        // In a session of its own, so that it hears of the window's changes; setsid becomes crictl.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        session.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let client = Client(session.spawn()?);
        drop(session);
        let master = std::fs::File::from(master);
        let heard = Arc::new(Mutex::new(String::new()));
        let (mut reader, sink) = (master.try_clone()?, Arc::clone(&heard));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Ok(Self { client, master, heard })
    }

    /// Types a text.
    pub fn type_in(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Whether a text has appeared on the screen.
    pub fn has_seen(&self, needle: &str) -> bool {
        self.heard.lock().expect("no panic").contains(needle)
    }

    /// Waits for a text on the screen and clears the screen.
    pub async fn sees(&self, needle: &str) -> anyhow::Result<String> {
        let what = format!("{needle:?} on the terminal");
        let seen = eventually(&what, async || {
            let mut heard = self.heard.lock().expect("no panic");
            Ok(heard.contains(needle).then(|| std::mem::take(&mut *heard)))
        });
        seen.await.with_context(|| format!("the screen: {:?}", self.heard.lock().expect("no panic")))
    }
}

/// Changes the size of a terminal: columns and rows.
pub fn set_size(terminal: impl std::os::fd::AsFd, (width, height): (u16, u16)) -> anyhow::Result<()> {
    let size = rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
