//! What the command line looks like: commands, their aliases and flags. The tables are the single source for the parser,
//! the help texts and the shell completions.

mod containers;
mod engine;
mod images;
mod pods;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing: it is on when given.
    Nothing,
    /// Text.
    Text,
    /// Text, may be given several times.
    List,
    /// A whole number.
    Number,
    /// A Go duration such as `2s`.
    Duration,
}

/// A flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The long name.
    pub(crate) name: &'static str,
    /// Other names, mostly one letter.
    pub(crate) aliases: &'static [&'static str],
    /// What follows it.
    pub(crate) takes: Takes,
    /// What the help calls the value.
    pub(crate) value: &'static str,
    /// When it is not given.
    pub(crate) default: &'static str,
    /// Where it is looked up when not given.
    pub(crate) variable: Option<&'static str>,
    /// One sentence.
    pub(crate) about: &'static str,
}

impl Flag {
    const fn new(
        takes: Takes,
        name: &'static str,
        aliases: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        let default = match takes {
            Takes::Nothing => "false",
            Takes::Number => "0",
            Takes::Duration => "0s",
            Takes::Text | Takes::List => "",
        };
        Self { name, aliases, takes, value: "value", default, variable: None, about }
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn env(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    const fn called(mut self, value: &'static str) -> Self {
        self.value = value;
        self
    }

    /// Whether the flag answers to a name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

const fn on(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(Takes::Nothing, name, aliases, about)
}

const fn text(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(Takes::Text, name, aliases, about)
}

const fn number(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(Takes::Number, name, aliases, about)
}

const fn list(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(Takes::List, name, aliases, about)
}

const fn duration(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Flag {
    Flag::new(Takes::Duration, name, aliases, about)
}

const LABEL: Flag = list("label", &[], "Only those with this label (key=value); several must all match");
const TEMPLATE: Flag =
    text("template", &[], "The Go template for --output go-template, such as '{{.status.id}}'");
const NO_TRUNC: Flag = on("no-trunc", &[], "Show ids in full");

/// A command, or a command of a command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// Other names.
    pub(crate) aliases: &'static [&'static str],
    /// One line.
    pub(crate) about: &'static str,
    /// The arguments, as the usage line shows them.
    pub(crate) arguments: &'static str,
    /// More about it, with examples; may be empty.
    pub(crate) description: &'static str,
    /// Sorted by name.
    pub(crate) flags: &'static [Flag],
    /// `-aq` may stand for `-a -q`.
    pub(crate) combines: bool,
    /// Commands of its own.
    pub(crate) commands: &'static [Command],
}

impl Command {
    /// Whether the command answers to a name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// All its names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    const fn new(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Self {
        Self {
            name,
            aliases: &[],
            about,
            arguments: "",
            description: "",
            flags,
            combines: true,
            commands: &[],
        }
    }

    const fn takes(mut self, arguments: &'static str) -> Self {
        self.arguments = arguments;
        self
    }

    const fn described(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    const fn aka(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn apart(mut self) -> Self {
        self.combines = false;
        self
    }
}

/// The flags before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    text("config", &["c"], "The client's configuration file; when the default is missing, crictl.yaml beside the program is tried")
        .or("/etc/crictl.yaml")
        .env("CRI_CONFIG_FILE"),
    on("debug", &["D"], "Accepted as crictl does; there is nothing more to say yet"),
    text("image-endpoint", &["i"], "The socket of the image service (default: that of --runtime-endpoint)")
        .env("IMAGE_SERVICE_ENDPOINT"),
    text("runtime-endpoint", &["r"], "The engine's socket (default: the first of containerd's, CRI-O's and cri-dockerd's that answers)")
        .env("CONTAINER_RUNTIME_ENDPOINT"),
    duration("timeout", &["t"], "How long to wait for an answer, such as 2s; 0 or less is the default").or("2s"),
];

/// All commands, sorted by name.
pub(crate) static COMMANDS: &[Command] = &[
    containers::CHECKPOINT,
    engine::COMPLETION,
    engine::CONFIG,
    containers::CREATE,
    engine::EVENTS,
    containers::EXEC,
    images::IMAGEFSINFO,
    images::IMAGES,
    engine::INFO,
    containers::INSPECT,
    images::INSPECTI,
    pods::INSPECTP,
    containers::LOGS,
    engine::METRICDESCS,
    pods::METRICSP,
    pods::PODS,
    containers::PS,
    images::PULL,
    containers::RM,
    images::RMI,
    pods::RMP,
    containers::RUN,
    pods::RUNP,
    engine::RUNTIME_CONFIG,
    containers::START,
    containers::STATS,
    pods::STATSP,
    containers::STOP,
    pods::STOPP,
    containers::UPDATE,
    engine::UPDATE_RUNTIME_CONFIG,
    engine::VERSION,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_no_name_is_taken_twice() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for flags in COMMANDS.iter().map(|command| command.flags).chain([GLOBAL]) {
            assert!(flags.is_sorted_by_key(|flag| flag.name));
            let mut names: Vec<_> =
                flags.iter().flat_map(|flag| flag.aliases.iter().copied().chain([flag.name])).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}
