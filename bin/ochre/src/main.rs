//! `ochre`: parse flags, call one function, exit code.

mod import;
mod options;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A container engine for Kubernetes nodes.
#[derive(Parser)]
#[command(name = "ochre", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Answer the CRI socket until SIGTERM; containers go on running afterwards.
    Serve(options::Options),
    /// Bring an OCI layout or archive from disk into the store; works while the engine runs.
    Import(import::Arguments),
    /// Print the configuration in force as an annotated crio.conf.
    Config(options::Options),
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    // Called as `crio`, the daemon is what is wanted (CRI-O starts without a verb).
    let called_as_crio =
        std::env::args_os().next().is_some_and(|name| name.to_string_lossy().ends_with("crio"));
    let arguments = Arguments::parse();
    let result = match arguments.verb {
        Some(Verb::Serve(options)) => serve::run(&options),
        Some(Verb::Import(arguments)) => import::run(&arguments),
        Some(Verb::Config(options)) => {
            options.load().map(|loaded| print(&ochre_config::annotated(&loaded.config, &loaded.defaults)))
        }
        Some(Verb::Version) => {
            print(&format!("ochre {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        None if called_as_crio => serve::run(&options::Options::default()),
        None => {
            print("ochre: say what to do, such as `ochre serve`; `ochre --help` lists everything\n");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere else to say it.
            drop(writeln!(std::io::stderr(), "ochre: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) {
    // A reader that went away needs no more.
    drop(std::io::stdout().write_all(text.as_bytes()));
}
