//! `ochre serve`: the daemon.

use anyhow::Context;
use ochre_daemon::{Listener, Programs, Shutdown};

use crate::options::Options;

/// Threads for blocking work; a node of 250 pods rarely has more operations under way.
const BLOCKING_THREADS: usize = 64;

/// CRI-O's message size where the configuration says 0 or less, bytes.
const MESSAGE_SIZE: usize = 80 << 20;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let loaded = options.load()?;
    let config = &loaded.config;
    ochre_daemon::logging::start(config.runtime.log_level.word());
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let programs = Programs::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("taking over signals")?;
        let listener = Listener::claim(&config.api.listen).await?;
        let service = ochre_daemon::build(&loaded, &programs, env!("CARGO_PKG_VERSION")).await?;
        let listener = listener.bind()?;
        tracing::info!("serving on {}", config.api.listen.display());
        let size =
            |bytes: i64| usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(MESSAGE_SIZE);
        let (receive, send) =
            (size(config.api.grpc_max_recv_msg_size), size(config.api.grpc_max_send_msg_size));
        ochre_daemon::serve(listener, service, receive, send, shutdown).await;
        anyhow::Ok(())
    })?;
    // Blocking work that is still under way is finished or undone at the next start.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(())
}
