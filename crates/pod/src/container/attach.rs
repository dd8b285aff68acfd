//! Attach: a client at the streams of a container's first process.
//!
//! The monitor copies all output to every attached client and takes input from any (`monitor`, `streams.rs`); this is one
//! client's part. It lasts until
//!
//! - the container ends: what it wrote is delivered, then the client's streams end;
//! - the client goes away: the future is dropped;
//! - the client's input ends: an attachment through which somebody pipes text would otherwise never return, and it is how
//!   clients detach from a terminal. What the container answers right away is still delivered;
//! - the client is too far behind the container's output, which never waits for it.
//!
//! With `stdin_once` and without a terminal the end of the first client's input is the end of the container's instead,
//! and the client hears the rest.

use std::time::Duration;

use ochre_monitor_api::Descriptors;
use ochre_types::Exit;
use tokio::sync::watch;

use super::Container;
use super::exec::both;
use super::session::{DRAIN, End, Session, Sizes, Typed, Until, copy_in, copy_out, next};
use super::state::ExitReason;
use crate::engine::Pods;
use crate::error::Error;

/// Output that the monitor may hold for one client of a container that has ended, bytes; more than it ever does.
const BEHIND: usize = 1 << 20;
/// How long answers to the client's last words may take.
const LINGER: Duration = Duration::from_millis(250);

impl Pods {
    /// Joins a client to the streams of a running container, until one of the ends that this file's header lists.
    ///
    /// # Errors
    /// `ContainerNotRunning`, `Detached`, or the monitor's failure.
    pub async fn attach(&self, container: &Container, session: Session) -> Result<(), Error> {
        container.attach(session).await
    }
}

impl Container {
    /// Whether a client can be attached to it now.
    ///
    /// # Errors
    /// `ContainerNotRunning`.
    pub fn check_attach(&self) -> Result<(), Error> {
        let state = self.state();
        if state.was_started() {
            return Ok(());
        }
        Err(Error::ContainerNotRunning { id: self.id.clone(), state: state.name() })
    }

    async fn attach(&self, session: Session) -> Result<(), Error> {
        self.check_attach()?;
        let Session { stdin, stdout, stderr, sizes, .. } = session;
        let failed = |error: std::io::Error| Error::io("making a pipe", "attach")(error);
        let mut theirs = Descriptors::default();
        let mut outputs = Vec::new();
        // A terminal has one output.
        let stderr = stderr.filter(|_| !self.config.tty);
        for (to, slot) in [(stdout, &mut theirs.stdout), (stderr, &mut theirs.stderr)] {
            if let Some(to) = to {
                let (end, their_end) = End::reader().map_err(failed)?;
                *slot = Some(their_end);
                outputs.push((end, to));
            }
        }
        let stdin = match stdin.filter(|_| self.config.stdin) {
            Some(from) => {
                let (end, their_end) = End::writer().map_err(failed)?;
                theirs.stdin = Some(their_end);
                Some((from, end))
            }
            None => None,
        };
        let mut exit = self.exit.subscribe();
        self.monitor()?.attach(&self.id, theirs).await?;
        let (ended, receiver) = watch::channel(false);
        let listens = !outputs.is_empty();
        let copies = outputs.into_iter().map(|(end, to)| {
            let until = Until { ended: receiver.clone(), behind: BEHIND };
            async move {
                copy_out(&end, to, until).await;
            }
        });
        let copying = both(copies);
        let typing = async {
            match stdin {
                Some((from, to)) => copy_in(from, to).await,
                None => Typed::Refused,
            }
        };
        let resizing = self.resize(sizes);
        tokio::pin!(copying, typing, resizing);
        let (mut typed, mut resized) = (false, false);
        loop {
            tokio::select! {
                reported = super::exit::reported(&mut exit) => {
                    drop(reported);
                    ended.send_replace(true);
                    if listens {
                        copying.await;
                    }
                    return Ok(());
                }
                () = &mut copying, if listens => return self.left(exit).await,
                how = &mut typing, if !typed => {
                    if how == Typed::Ended && (self.config.tty || !self.config.stdin_once) {
                        drop(tokio::time::timeout(LINGER, copying).await);
                        return Ok(());
                    }
                    typed = true;
                }
                () = &mut resizing, if !resized => resized = true,
            }
        }
    }

    /// The output has ended: with the container, as a rule.
    async fn left(&self, mut exit: watch::Receiver<Option<(Exit, ExitReason)>>) -> Result<(), Error> {
        match tokio::time::timeout(DRAIN, super::exit::reported(&mut exit)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Detached { id: self.id.clone() }),
        }
    }

    /// Passes the client's window sizes on to the container's terminal.
    async fn resize(&self, mut sizes: Sizes) {
        while let Some(size) = next(&mut sizes).await {
            if !self.config.tty {
                continue;
            }
            let Ok(monitor) = self.monitor() else { return };
            if let Err(error) = monitor.resize(&self.id, size.width, size.height).await {
                tracing::debug!(container = %self.id, "{error}");
            }
        }
    }
}
