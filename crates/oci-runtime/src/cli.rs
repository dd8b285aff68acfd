//! The command line of runc, as far as an engine uses it.
//!
//! `ochre-runtime [global options] VERB [options] [ID]`. Options are `--name value`, `--name=value` or, as Go programs
//! take them, with one dash. What is not known is refused: an engine that counts on an option must hear that it has
//! no effect.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ochre_types::ErrorKind;
use thiserror::Error;

mod signal;

/// Where the state is kept when `--root` is not given.
const DEFAULT_ROOT: &str = "/run/ochre-runtime";

/// Why a command line is not understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UsageError {
    /// No verb.
    #[error("no command given")]
    NoVerb,
    /// A verb that does not exist.
    #[error("unknown command {verb:?}")]
    UnknownVerb {
        /// The word.
        verb: String,
    },
    /// An option that does not exist, here.
    #[error("unknown option {option:?}")]
    UnknownOption {
        /// The word.
        option: String,
    },
    /// An option without its value.
    #[error("option {option:?} needs a value")]
    MissingValue {
        /// The option.
        option: String,
    },
    /// A value that the option does not take.
    #[error("option {option:?} does not take {value:?}")]
    InvalidValue {
        /// The option.
        option: String,
        /// The value.
        value: String,
    },
    /// A required option or argument is absent.
    #[error("{what} is missing")]
    MissingArgument {
        /// Its name.
        what: &'static str,
    },
    /// More arguments than the verb takes.
    #[error("unexpected argument {argument:?}")]
    UnexpectedArgument {
        /// The argument.
        argument: String,
    },
    /// Not a container id.
    #[error("{id:?} is not a container id: 1 to 1024 of letters, digits and `_+-.`, and not `.` or `..`")]
    InvalidId {
        /// The word.
        id: String,
    },
    /// Not a signal.
    #[error("{signal:?} is not a signal")]
    InvalidSignal {
        /// The word.
        signal: String,
    },
}

impl UsageError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A container id that is safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// Checks an id by the rules of runc.
    ///
    /// # Errors
    /// [`UsageError::InvalidId`].
    pub fn parse(text: &str) -> Result<Self, UsageError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if text.is_empty() || text.len() > 1024 || text == "." || text == ".." || !text.bytes().all(allowed) {
            return Err(UsageError::InvalidId { id: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `time="…" level=… msg="…"`.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Who makes control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// This program, in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd, as scopes.
    Systemd,
}

/// Options before the verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// State directory.
    pub root: PathBuf,
    /// Log file.
    pub log: Option<PathBuf>,
    /// Its format.
    pub log_format: LogFormat,
    /// Who makes control groups.
    pub cgroup_driver: CgroupDriver,
    /// Whether debug lines are logged.
    pub debug: bool,
}

/// A verb with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Make a container whose program waits for `start`.
    Create(CreateOptions),
    /// Let it run.
    Start(Id),
    /// Print the OCI state.
    State(Id),
    /// Send a signal to the first process or to all.
    Kill {
        /// Which container.
        id: Id,
        /// The signal's number.
        signal: i32,
        /// Whether every process gets it.
        all: bool,
    },
    /// Remove it.
    Delete {
        /// Which container.
        id: Id,
        /// Kill it first; do nothing when it does not exist.
        force: bool,
    },
    /// Run a further process in it.
    Exec(ExecOptions),
    /// Change its limits.
    Update {
        /// Which container.
        id: Id,
        /// File with the resources, `-` for standard input.
        resources: PathBuf,
    },
    /// List its processes.
    Ps(Id),
    /// Freeze it.
    Pause(Id),
    /// Thaw it.
    Resume(Id),
    /// List containers as JSON.
    List,
    /// Print what the runtime can do.
    Features,
    /// Print versions.
    Version,
    /// Print the usage.
    Help,
}

/// Options of `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// The container.
    pub id: Id,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Where the first process id is written.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// Move the root instead of pivoting, for a host that runs from an initramfs.
    pub no_pivot: bool,
    /// Descriptors from 3 on that the program inherits.
    pub preserve_fds: u32,
}

/// Options of `exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container.
    pub id: Id,
    /// File with the process.
    pub process: PathBuf,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// Do not wait for its end.
    pub detach: bool,
    /// Descriptors from 3 on that the program inherits.
    pub preserve_fds: u32,
}

/// A whole command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Options before the verb.
    pub global: Global,
    /// The verb.
    pub verb: Verb,
}

/// Understands a command line without its first word.
///
/// # Errors
/// The first thing that is not understood, and the global options read so far (they say where errors are logged).
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, (Global, UsageError)> {
    let mut words = Words { rest: arguments.into_iter().collect::<Vec<_>>().into_iter() };
    let mut global = Global {
        root: DEFAULT_ROOT.into(),
        log: None,
        log_format: LogFormat::Text,
        cgroup_driver: CgroupDriver::Cgroupfs,
        debug: false,
    };
    let verb = parse_global(&mut global, &mut words);
    match verb.and_then(|verb| parse_verb(&verb, &mut words)) {
        Ok(verb) => Ok(Invocation { global, verb }),
        Err(error) => Err((global, error)),
    }
}

/// One word of the command line.
enum Word {
    Option { name: String, value: Option<OsString> },
    Plain(OsString),
}

struct Words {
    rest: std::vec::IntoIter<OsString>,
}

impl Words {
    fn next(&mut self) -> Option<Word> {
        let word = self.rest.next()?;
        let bytes = word.as_bytes();
        let Some(option) = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")) else {
            return Some(Word::Plain(word));
        };
        if option.is_empty() {
            return Some(Word::Plain(word));
        }
        let (name, value) = match option.iter().position(|byte| *byte == b'=') {
            Some(at) => (&option[..at], Some(OsString::from_vec(option[at + 1..].to_vec()))),
            None => (option, None),
        };
        Some(Word::Option { name: String::from_utf8_lossy(name).into_owned(), value })
    }

    /// The value of an option: behind its `=`, or the next word.
    fn value(&mut self, name: &str, inline: Option<OsString>) -> Result<OsString, UsageError> {
        inline
            .or_else(|| self.rest.next())
            .ok_or_else(|| UsageError::MissingValue { option: name.to_owned() })
    }

    fn path(&mut self, name: &str, inline: Option<OsString>) -> Result<PathBuf, UsageError> {
        self.value(name, inline).map(PathBuf::from)
    }

    fn number(&mut self, name: &str, inline: Option<OsString>) -> Result<u32, UsageError> {
        let value = self.value(name, inline)?;
        // Far more descriptors than a program can have, and small enough that 3 + n cannot overflow.
        let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number < 1 << 20);
        number.ok_or_else(|| invalid(name, &value))
    }
}

fn invalid(option: &str, value: &OsString) -> UsageError {
    UsageError::InvalidValue { option: option.to_owned(), value: value.to_string_lossy().into_owned() }
}

fn unknown(name: &str) -> UsageError {
    UsageError::UnknownOption { option: name.to_owned() }
}

/// A flag may be given as `--flag`, `--flag=true` or `--flag=false`.
fn flag(name: &str, inline: Option<OsString>) -> Result<bool, UsageError> {
    match inline {
        None => Ok(true),
        Some(value) if value == "true" => Ok(true),
        Some(value) if value == "false" => Ok(false),
        Some(value) => Err(invalid(name, &value)),
    }
}

/// Reads the global options up to the verb, which it returns.
fn parse_global(global: &mut Global, words: &mut Words) -> Result<String, UsageError> {
    while let Some(word) = words.next() {
        let (name, value) = match word {
            Word::Plain(verb) => return Ok(verb.to_string_lossy().into_owned()),
            Word::Option { name, value } => (name, value),
        };
        match name.as_str() {
            "root" => global.root = words.path(&name, value)?,
            "log" => global.log = Some(words.path(&name, value)?),
            "log-format" => {
                let format = words.value(&name, value)?;
                global.log_format = match format.to_str() {
                    Some("json") => LogFormat::Json,
                    Some("text") => LogFormat::Text,
                    _ => return Err(invalid(&name, &format)),
                };
            }
            "systemd-cgroup" => {
                global.cgroup_driver =
                    if flag(&name, value)? { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
            }
            "debug" => global.debug = flag(&name, value)?,
            // Rootless operation is chosen by nobody but runc's own users; "auto" and "false" ask for nothing.
            "rootless" => {
                let wanted = words.value(&name, value)?;
                if wanted == "true" {
                    return Err(invalid(&name, &wanted));
                }
            }
            "version" | "v" => return Ok("version".to_owned()),
            "help" | "h" => return Ok("help".to_owned()),
            _ => return Err(unknown(&name)),
        }
    }
    Err(UsageError::NoVerb)
}

fn parse_verb(verb: &str, words: &mut Words) -> Result<Verb, UsageError> {
    match verb {
        "create" => create(words).map(Verb::Create),
        "start" => only_id(words).map(Verb::Start),
        "state" => only_id(words).map(Verb::State),
        "kill" => kill(words),
        "delete" => delete(words),
        "exec" => exec(words).map(Verb::Exec),
        "update" => update(words),
        "ps" => ps(words).map(Verb::Ps),
        "pause" => only_id(words).map(Verb::Pause),
        "resume" => only_id(words).map(Verb::Resume),
        "list" => list(words),
        "features" => no_arguments(words, Verb::Features),
        "version" => no_arguments(words, Verb::Version),
        "help" => Ok(Verb::Help),
        _ => Err(UsageError::UnknownVerb { verb: verb.to_owned() }),
    }
}

fn no_arguments(words: &mut Words, verb: Verb) -> Result<Verb, UsageError> {
    match words.next() {
        None => Ok(verb),
        Some(Word::Option { name, .. }) => Err(unknown(&name)),
        Some(Word::Plain(argument)) => {
            Err(UsageError::UnexpectedArgument { argument: argument.to_string_lossy().into_owned() })
        }
    }
}

/// Reads all words: options go to `option`, the others are returned, at most `limit` of them.
fn arguments(
    words: &mut Words,
    limit: usize,
    mut option: impl FnMut(&mut Words, &str, Option<OsString>) -> Result<(), UsageError>,
) -> Result<Vec<String>, UsageError> {
    let mut plain = Vec::new();
    while let Some(word) = words.next() {
        match word {
            Word::Option { name, value } => option(words, &name, value)?,
            Word::Plain(argument) if plain.len() == limit => {
                return Err(UsageError::UnexpectedArgument {
                    argument: argument.to_string_lossy().into_owned(),
                });
            }
            Word::Plain(argument) => plain.push(argument.to_string_lossy().into_owned()),
        }
    }
    Ok(plain)
}

fn id(plain: &[String]) -> Result<Id, UsageError> {
    Id::parse(plain.first().ok_or(UsageError::MissingArgument { what: "the container id" })?)
}

fn only_id(words: &mut Words) -> Result<Id, UsageError> {
    id(&arguments(words, 1, |_, name, _| Err(unknown(name)))?)
}

fn create(words: &mut Words) -> Result<CreateOptions, UsageError> {
    let (mut bundle, mut pid_file, mut console_socket) = (PathBuf::from("."), None, None);
    let (mut no_pivot, mut preserve_fds) = (false, 0);
    let plain = arguments(words, 1, |words, name, value| {
        match name {
            "bundle" | "b" => bundle = words.path(name, value)?,
            "pid-file" => pid_file = Some(words.path(name, value)?),
            "console-socket" => console_socket = Some(words.path(name, value)?),
            "no-pivot" => no_pivot = flag(name, value)?,
            "preserve-fds" => preserve_fds = words.number(name, value)?,
            // runc gives containers a session keyring; this runtime never touches keyrings.
            "no-new-keyring" => drop(flag(name, value)?),
            _ => return Err(unknown(name)),
        }
        Ok(())
    })?;
    Ok(CreateOptions { id: id(&plain)?, bundle, pid_file, console_socket, no_pivot, preserve_fds })
}

fn exec(words: &mut Words) -> Result<ExecOptions, UsageError> {
    let (mut process, mut pid_file, mut console_socket) = (None, None, None);
    let (mut detach, mut preserve_fds) = (false, 0);
    let plain = arguments(words, 1, |words, name, value| {
        match name {
            "process" | "p" => process = Some(words.path(name, value)?),
            "pid-file" => pid_file = Some(words.path(name, value)?),
            "console-socket" => console_socket = Some(words.path(name, value)?),
            "detach" | "d" => detach = flag(name, value)?,
            "preserve-fds" => preserve_fds = words.number(name, value)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    })?;
    let process = process.ok_or(UsageError::MissingArgument { what: "--process" })?;
    Ok(ExecOptions { id: id(&plain)?, process, pid_file, console_socket, detach, preserve_fds })
}

fn kill(words: &mut Words) -> Result<Verb, UsageError> {
    let mut all = false;
    let plain = arguments(words, 2, |_, name, value| match name {
        "all" | "a" => flag(name, value).map(|given| all = given),
        _ => Err(unknown(name)),
    })?;
    let signal = signal::parse(plain.get(1).map_or("SIGTERM", String::as_str))?;
    Ok(Verb::Kill { id: id(&plain)?, signal, all })
}

fn delete(words: &mut Words) -> Result<Verb, UsageError> {
    let mut force = false;
    let plain = arguments(words, 1, |_, name, value| match name {
        "force" | "f" => flag(name, value).map(|given| force = given),
        _ => Err(unknown(name)),
    })?;
    Ok(Verb::Delete { id: id(&plain)?, force })
}

fn update(words: &mut Words) -> Result<Verb, UsageError> {
    let mut resources = None;
    let plain = arguments(words, 1, |words, name, value| match name {
        "resources" | "r" => words.path(name, value).map(|path| resources = Some(path)),
        _ => Err(unknown(name)),
    })?;
    let resources = resources.ok_or(UsageError::MissingArgument { what: "--resources" })?;
    Ok(Verb::Update { id: id(&plain)?, resources })
}

fn json_only(words: &mut Words, name: &str, value: Option<OsString>) -> Result<(), UsageError> {
    match name {
        "format" | "f" => {
            let format = words.value(name, value)?;
            if format == "json" { Ok(()) } else { Err(invalid(name, &format)) }
        }
        _ => Err(unknown(name)),
    }
}

fn ps(words: &mut Words) -> Result<Id, UsageError> {
    id(&arguments(words, 1, json_only)?)
}

fn list(words: &mut Words) -> Result<Verb, UsageError> {
    arguments(words, 0, json_only).map(|_| Verb::List)
}

#[cfg(test)]
mod tests;
