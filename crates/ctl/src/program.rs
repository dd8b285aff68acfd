//! From the words of the command line to the exit code.

use std::process::ExitCode;

use crate::commands::{self, Outcome};
use crate::engine::Session;
use crate::error::{Error, chain};
use crate::parse::{Parsed, UsageError, parse};
use crate::settings::Settings;
use crate::spec::{COMMANDS, Command, GLOBAL};
use crate::{help, say};

/// Carries out a command line, the program's name not included.
#[must_use]
pub fn run(words: &[String]) -> ExitCode {
    match carry_out(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let gone =
                matches!(&error, Error::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe);
            if !gone {
                say::fatal(&chain(&error));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn carry_out(words: &[String]) -> Result<(), Error> {
    let global = match parse(GLOBAL, false, words) {
        Ok(parsed) => parsed,
        Err(error) => return misused(error, &help::program()),
    };
    if global.help || global.version {
        let version = format!("crictl version {}\n", env!("CARGO_PKG_VERSION"));
        return say::answer(&if global.help { help::program() } else { version });
    }
    let settings = Settings::load(&global)?;
    let name = global.first().to_owned();
    match name.as_str() {
        "" => say::answer(&help::program()),
        "help" | "h" => about(global.arguments.get(1).map_or("", String::as_str)),
        name => {
            let command = known(name)?;
            command_line(command, global, settings)
        }
    }
}

fn known(name: &str) -> Result<&'static Command, Error> {
    let found = COMMANDS.iter().find(|command| command.is(name));
    found.ok_or_else(|| Error::UnknownCommand { name: name.to_owned() })
}

fn about(name: &str) -> Result<(), Error> {
    say::answer(&if name.is_empty() { help::program() } else { help::command(known(name)?) })
}

fn misused(error: UsageError, help: &str) -> Result<(), Error> {
    say::answer(&format!("Incorrect Usage: {error}\n\n{help}"))?;
    Err(error.into())
}

fn command_line(command: &'static Command, global: Parsed, settings: Settings) -> Result<(), Error> {
    let given = match parse(command.flags, command.combines, &global.arguments[1..]) {
        Ok(given) => given,
        Err(error) => return misused(error, &help::command(command)),
    };
    if given.help || matches!(given.first(), "help" | "h") {
        return say::answer(&help::command(command));
    }
    let session = Session { given, global, settings };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::File { path: "tokio".into(), source })?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = commands::run(command.name, &session) => outcome,
            _ = tokio::signal::ctrl_c() => interrupted(&session.given),
        }
    })?;
    if outcome == Outcome::Help {
        say::answer(&help::command(command))?;
    }
    Ok(())
}

/// Whoever watches ends it that way; anything else was cut short.
fn interrupted(given: &Parsed) -> Result<Outcome, Error> {
    if given.on("watch") || given.on("follow") { Ok(Outcome::Done) } else { Err(Error::Interrupted) }
}
