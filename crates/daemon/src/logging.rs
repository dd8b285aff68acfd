//! Where log lines go and which: text on standard error, filtered by the configured level.

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging; the level names are those of crio.conf.
pub fn start(level: &str) {
    let level = match level {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "warn" | "warning" => Level::WARN,
        "error" | "fatal" | "panic" => Level::ERROR,
        _ => Level::INFO,
    };
    // The libraries below are as talkative as their authors were curious; only ours follow the level.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::from_level(level.min(Level::WARN)))
        .with_target("ochre", LevelFilter::from_level(level));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // A second call (in tests) keeps the first subscriber.
    drop(tracing_subscriber::registry().with(ours).with(lines).try_init());
}
