//! ExecSync: runs a command, collects its output, kills everything it started when its time is over.
//!
//! Output over the cap is read and dropped, so that the command goes on. The end of the command ends the call: a child
//! that keeps the pipes open gets one second, then the pipes are closed.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::Container;
use super::exec::Console;
use super::session::DRAIN;
use crate::engine::Engine;
use crate::error::Error;

/// CRI: 16 MiB of each stream, the rest is dropped (CVE-2022-1708, CVE-2022-31030).
const CAP: usize = 16 << 20;

/// What a command left.
#[derive(Debug)]
pub struct ExecOutput {
    /// Standard output, cut at 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, cut at 16 MiB.
    pub stderr: Vec<u8>,
    /// Exit code, 128 plus the signal when one ended it.
    pub code: i32,
}

impl crate::engine::Pods {
    /// Runs a command in a running container; no deadline for a zero timeout.
    ///
    /// # Errors
    /// `ContainerNotRunning`, `BeingKilled`, `ExecTimedOut`, or the runtime's message.
    pub async fn exec_sync(
        &self,
        container: &Container,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        container.exec_sync(&self.engine, command, timeout).await
    }
}

impl Container {
    async fn exec_sync(
        &self,
        engine: &Engine,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        if command.is_empty() {
            return Err(Error::Missing { object: "exec request", field: "cmd" });
        }
        self.check_exec()?;
        let limit = (!timeout.is_zero()).then_some(timeout);
        let request = self.exec_request(engine, &command, Console::Pipes, limit)?;
        let (stdout, stdout_end) = collector()?;
        let (stderr, stderr_end) = collector()?;
        let exec = self
            .monitor()?
            .exec(
                request,
                ochre_monitor_api::Descriptors {
                    stdout: Some(stdout_end),
                    stderr: Some(stderr_end),
                    ..Default::default()
                },
            )
            .await?;
        let ended = exec.wait().await?;
        let output =
            ExecOutput { stdout: stdout.finish().await, stderr: stderr.finish().await, code: ended.code };
        if ended.timed_out {
            let command = command.into_iter().next().unwrap_or_default();
            return Err(Error::ExecTimedOut { id: self.id.clone(), command, seconds: timeout.as_secs() });
        }
        Ok(output)
    }
}

/// A task that reads one stream. Dropping it stops the reading and closes the pipe.
struct Collector {
    task: JoinHandle<()>,
    content: std::sync::Arc<parking_lot::Mutex<Vec<u8>>>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// What was read until the end of the stream, or until the drain time is over.
    async fn finish(mut self) -> Vec<u8> {
        drop(tokio::time::timeout(DRAIN, &mut self.task).await);
        std::mem::take(&mut *self.content.lock())
    }
}

fn collector() -> Result<(Collector, OwnedFd), Error> {
    let failed = |error: std::io::Error| Error::io("making a pipe", "exec")(error);
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(|e| failed(e.into()))?;
    let mut stream = pipe::Receiver::from_owned_fd(read).map_err(failed)?;
    let content = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&content);
    let task = tokio::spawn(async move {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let mut sink = sink.lock();
            let room = CAP.saturating_sub(sink.len()).min(count);
            sink.extend_from_slice(&chunk[..room]);
        }
    });
    Ok((Collector { task, content }, write))
}
