//! `ochre import`: an image from disk into the store.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::options::Options;

/// What to import.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The name it gets, such as localhost/web:1.2; without, the name inside the archive
    #[arg(long)]
    name: Option<String>,
    /// An OCI layout directory, or an archive of one
    path: PathBuf,
}

/// Imports and prints the image's id.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.options.load()?;
    ochre_daemon::logging::start("warn");
    let store = ochre_daemon::open_store(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let id = runtime.block_on(async {
        let images = ochre_daemon::open_images(&loaded, store)?;
        images.import(&arguments.path, arguments.name.as_deref()).await.context("the image was not imported")
    })?;
    writeln!(std::io::stdout(), "{id}")?;
    Ok(())
}
