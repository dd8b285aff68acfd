//! When to end: SIGTERM, SIGINT, or a request from inside.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells every part of the daemon once that it ends. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    receiver: watch::Receiver<bool>,
}

impl Shutdown {
    /// Ends on SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the signals cannot be taken over.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let name = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
            tracing::info!("{name}: stopping; containers go on running");
            sender.send_replace(true);
            // Kept until the process ends, so that nobody takes a dropped sender for a request to end.
            sender.closed().await;
        });
        Ok(Self { receiver })
    }

    /// Waits for the end.
    pub async fn requested(&self) {
        let mut receiver = self.receiver.clone();
        // An error means that the sender is gone, which is the end as well.
        drop(receiver.wait_for(|ended| *ended).await);
    }
}
