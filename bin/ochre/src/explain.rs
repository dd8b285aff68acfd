//! `ochre explain`: where an image would be pulled from, without pulling it.

use std::io::Write;

use crate::options::Options;

/// What to explain.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// For a pod of this Kubernetes namespace
    #[arg(long)]
    namespace: Option<String>,
    /// The image, such as nginx:1.29 or registry.k8s.io/pause:3.10
    reference: String,
}

/// Prints what a pull of the reference would do.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.options.load()?;
    ochre_daemon::logging::start("warn");
    let images = ochre_daemon::open_images(&loaded, ochre_daemon::open_store(&loaded.config)?)?;
    let explanation = images.explain(&arguments.reference, arguments.namespace.as_deref())?;
    write!(std::io::stdout(), "{explanation}")?;
    Ok(())
}
