//! `ochre import`: images from disk into the store.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::options::Options;

/// What to import.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The name it gets, such as localhost/web:1.2; without, the names inside. Of several images, the one so called
    #[arg(long)]
    name: Option<String>,
    /// An OCI layout directory, an archive of one (oci-archive), or a docker-archive (`docker save`, `podman save`)
    path: PathBuf,
}

/// Imports and prints the images' ids.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.options.load()?;
    ochre_daemon::logging::start("warn");
    let store = ochre_daemon::open_store(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ids = runtime.block_on(async {
        let images = ochre_daemon::open_images(&loaded, store)?;
        images.import(&arguments.path, arguments.name.as_deref()).await.context("the image was not imported")
    })?;
    for id in ids {
        writeln!(std::io::stdout(), "{id}")?;
    }
    Ok(())
}
