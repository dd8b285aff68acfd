//! What every connection shares: the engine, the announced sessions, the limits of time and the end of the server.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backend::Backend;
use crate::tokens::Tokens;

/// How long a client may take to open the streams of its session (CRI-O, Kubernetes).
pub(crate) const CREATION: Duration = Duration::from_secs(30);
/// How long a session that was ended by force may take to tell its client.
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) tokens: Arc<Mutex<Tokens>>,
    pub(crate) idle: Duration,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Context {
    /// Waits until the session must end although it could go on, and says why.
    pub(crate) async fn forced_end(&self, quiet_for: impl Fn() -> Duration) -> String {
        let mut stopping = self.stopping.clone();
        let idle = async {
            while let Some(left) = self.idle.checked_sub(quiet_for()).filter(|left| !left.is_zero()) {
                tokio::time::sleep(left).await;
            }
        };
        tokio::select! {
            () = idle => format!("nothing was sent in either direction for {} s", self.idle.as_secs_f32()),
            // An error means that the server itself is gone, which ends the session as well.
            _ = stopping.wait_for(|stopping| *stopping) => "the streaming server stops".to_owned(),
        }
    }
}
