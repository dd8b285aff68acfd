//! `ochre export`: images from the store to disk.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use ochre_daemon::{ExportCompression, ExportFormat, ExportRequest};

use crate::options::Options;

/// What to export.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// What to write: an OCI layout directory, an archive of one, or what `docker load` and `podman load` take
    #[arg(long, value_enum)]
    format: Format,
    /// How the layers of the OCI formats are compressed; a docker-archive's are not [default: gzip]
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// The directory or file; only readable by its owner
    #[arg(short, long)]
    output: PathBuf,
    /// Replace an output that is there already
    #[arg(long)]
    force: bool,
    /// Images by name or id; by id, an image takes all its names along
    #[arg(required = true)]
    images: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Oci,
    OciArchive,
    DockerArchive,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Compression {
    Gzip,
    Zstd,
    None,
}

/// Exports and prints the images' ids.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.options.load()?;
    ochre_daemon::logging::start("error");
    let store = ochre_daemon::open_store(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let request = ExportRequest {
        images: arguments.images.clone(),
        format: match arguments.format {
            Format::Oci => ExportFormat::Oci,
            Format::OciArchive => ExportFormat::OciArchive,
            Format::DockerArchive => ExportFormat::DockerArchive,
        },
        compression: arguments.compression.map(|compression| match compression {
            Compression::Gzip => ExportCompression::Gzip,
            Compression::Zstd => ExportCompression::Zstd,
            Compression::None => ExportCompression::None,
        }),
        output: arguments.output.clone(),
        replace: arguments.force,
    };
    let exported = runtime.block_on(async {
        let images = ochre_daemon::open_images(&loaded, store)?;
        images.export(request).await.context("the images were not exported")
    })?;
    for image in exported {
        if image.id != image.from {
            let (from, layers) = (image.from, image.rebuilt);
            writeln!(
                std::io::stderr(),
                "ochre: {layers} layers of {from} were archived anew from their files, so it has another id there"
            )?;
        }
        writeln!(std::io::stdout(), "{}", image.id)?;
    }
    Ok(())
}
