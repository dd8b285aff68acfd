//! The flags that every verb of the daemon shares, and the configuration they lead to.
//!
//! Every option of crio.conf is a flag too, with CRI-O's spelling: they come from the option's one definition in the
//! `config` crate, so this file names only what is spelt differently.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use ochre_config::{Loaded, Machine, MainFile, Sources};

/// CRI-O's main file, which may be missing.
const MAIN_FILE: &str = "/etc/crio/crio.conf";
/// CRI-O's drop-in directory.
const DROP_INS: &str = "/etc/crio/crio.conf.d";
/// Flags that are not called like their option: flag, option.
const RENAMED: [(&str, &str); 6] = [
    ("cni-config-dir", "network-dir"),
    ("cni-plugin-dir", "plugin-dirs"),
    ("storage-opt", "storage-option"),
    ("log-journald", "log-to-journald"),
    ("tz", "timezone"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
];
/// Flags with a short form, and those that help shows.
const SHOWN: [(&str, Option<char>, &str); 9] = [
    ("listen", None, "The CRI socket"),
    ("root", Some('r'), "The image store"),
    ("runroot", None, "The store's volatile part"),
    ("log-level", Some('l'), "trace, debug, info, warn, error, fatal or panic"),
    ("log-dir", None, "Logs of pods that name no directory"),
    ("default-runtime", None, "The handler of pods that name none"),
    ("cgroup-manager", None, "systemd or cgroupfs"),
    ("cni-config-dir", None, "CNI configurations"),
    ("namespaces-dir", None, "Where the namespaces of pods are pinned"),
];

/// Where the configuration comes from, and what overrides it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The main configuration file; "" reads none [default: /etc/crio/crio.conf]
    #[arg(short, long, env = "CONTAINER_CONFIG")]
    config: Option<OsString>,
    /// The directory of drop-in files; "" reads none [default: /etc/crio/crio.conf.d]
    #[arg(short = 'd', long, env = "CONTAINER_CONFIG_DIR")]
    config_dir: Option<OsString>,
    #[command(flatten)]
    flags: Flags,
}

/// Options of crio.conf given as flags: name with dashes, value.
struct Flags(Vec<(String, String)>);

impl Options {
    /// Loads and checks the configuration.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let main = match &self.config {
            None => MainFile::Default(MAIN_FILE.into()),
            Some(path) if path.is_empty() => MainFile::None,
            Some(path) => MainFile::Explicit(path.into()),
        };
        let directory = self.config_dir.clone().unwrap_or_else(|| DROP_INS.into());
        let directory = Some(directory).filter(|path| !path.is_empty()).map(PathBuf::from);
        let sources = Sources {
            main,
            directory,
            environment: &environment,
            flags: &self.flags.0,
            machine: &Machine::detect(),
        };
        ochre_config::load(&sources).context("the configuration cannot be used")
    }
}

/// The flags of all options, without those that only a file can hold.
fn names() -> Vec<String> {
    let options = ochre_config::definitions();
    let options =
        options.iter().filter(|(table, _)| !table.contains("runtimes") && !table.contains("workloads"));
    let mut names: Vec<String> = options.map(|(_, definition)| definition.name.replace('_', "-")).collect();
    names.extend(RENAMED.map(|(flag, _)| flag.to_owned()));
    names.sort_unstable();
    names.dedup();
    names
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for name in names() {
            let shown = SHOWN.iter().find(|(flag, _, _)| *flag == name);
            // A flag without a value switches an option on.
            let mut arg = Arg::new(name.clone())
                .long(name.clone())
                .value_name("VALUE")
                .num_args(0..=1)
                .default_missing_value("true");
            arg = match shown {
                Some((_, short, help)) => arg.short(*short).help(*help),
                None => arg.hide(true),
            };
            command = command.arg(arg.action(clap::ArgAction::Append));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Vec::new();
        for name in names() {
            let values: Vec<&str> =
                matches.get_many::<String>(&name).into_iter().flatten().map(String::as_str).collect();
            if values.is_empty() {
                continue;
            }
            let option =
                RENAMED.iter().find(|(flag, _)| *flag == name).map_or(name.as_str(), |(_, option)| option);
            // A list may be given once with commas or flag by flag.
            flags.push((option.to_owned(), values.join(",")));
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
