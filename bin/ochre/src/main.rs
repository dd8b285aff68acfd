//! `ochre`: parse flags, call one function, exit code.

mod ctl;
mod explain;
mod export;
mod import;
mod options;
mod serve;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A container engine for Kubernetes nodes.
#[derive(Parser)]
#[command(name = "ochre", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Answer the CRI socket until SIGTERM; containers go on running afterwards.
    Serve(options::Options),
    /// Bring an OCI layout or archive, or a docker-archive, from disk into the store; works while the engine runs.
    Import(import::Arguments),
    /// Write images to disk as an OCI layout, an archive of one, or a docker-archive; works while the engine runs.
    ///
    /// Image ids stay. Layers are compressed anew, since the store keeps no compressed blobs, and so the manifests are
    /// new too: their digests are not those that the images were pulled by. A layer that another program stored without
    /// its tar-split is archived from its files; such an image gets another id.
    Export(export::Arguments),
    /// Say where an image would be pulled from, in which order, with whose credentials, and why.
    Explain(explain::Arguments),
    /// Print the configuration in force as an annotated crio.conf.
    Config(options::Options),
    /// List, inspect and change pods, containers and images of any CRI engine: crictl's commands (`ochre ctl help`).
    Ctl,
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| name == ochre_daemon::UNPACK_WORKER) {
        return ochre_daemon::unpack_worker(words.map(|word| word.to_string_lossy().into_owned()));
    }
    if let Some(words) = ctl::words(&std::env::args_os().collect::<Vec<_>>()) {
        return ochre_ctl::run(&words);
    }
    let arguments = Arguments::parse_from(as_called(std::env::args_os().collect()));
    let result = match arguments.verb {
        Some(Verb::Serve(options)) => serve::run(&options),
        Some(Verb::Import(arguments)) => import::run(&arguments),
        Some(Verb::Export(arguments)) => export::run(&arguments),
        Some(Verb::Explain(arguments)) => explain::run(&arguments),
        Some(Verb::Config(options)) => {
            options.load().map(|loaded| print(&ochre_config::annotated(&loaded.config, &loaded.defaults)))
        }
        // Taken above, with the words behind it.
        Some(Verb::Ctl) => return ochre_ctl::run(&[]),
        Some(Verb::Version) => {
            print(&format!("ochre {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
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

/// Called as `crio`, the daemon is what is wanted: CRI-O starts without a verb, its flags come first.
fn as_called(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_crio =
        words.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "crio");
    let asks = |word: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag);
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-") && !asks(word);
    if is_crio && words.get(1).is_none_or(is_flag) {
        words.insert(1, "serve".into());
    }
    words
}

fn print(text: &str) {
    // A reader that went away needs no more.
    drop(std::io::stdout().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn called_as_crio_the_daemon_is_what_is_wanted() {
        let shown = |words: &[&str]| {
            let words = as_called(words.iter().map(OsString::from).collect());
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&["/usr/bin/crio"]), "/usr/bin/crio serve");
        assert_eq!(shown(&["crio", "--config", "x"]), "crio serve --config x");
        assert_eq!(shown(&["crio", "config"]), "crio config");
        assert_eq!(shown(&["crio", "--version"]), "crio --version");
        assert_eq!(shown(&["ochre"]), "ochre");
    }
}
