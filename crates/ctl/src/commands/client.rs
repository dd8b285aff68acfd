//! `version`, `runtime-config`, `update-runtime-config`, `config` and `completion`.

use std::path::Path;

use ochre_cri_api as api;

use super::Outcome;
use crate::engine::Session;
use crate::error::Error;
use crate::preferences::{KEYS, Preferences};
use crate::say;
use crate::spec::{COMMANDS, GLOBAL};
use crate::tabs::Table;

pub(super) async fn version(session: &Session) -> Result<Outcome, Error> {
    if !session.given.arguments.is_empty() {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    let request = api::VersionRequest { version: "v1".into() };
    let said = session.call("getting the runtime version", runtime.version(request)).await?;
    say::answer(&format!(
        "Version:  {}\nRuntimeName:  {}\nRuntimeVersion:  {}\nRuntimeApiVersion:  {}\n",
        said.version, said.runtime_name, said.runtime_version, said.runtime_api_version
    ))?;
    Ok(Outcome::Done)
}

pub(super) async fn runtime_config(session: &Session) -> Result<Outcome, Error> {
    let mut runtime = session.runtime().await?;
    let request = api::RuntimeConfigRequest::default();
    let said = session.call("get runtime config", runtime.runtime_config(request)).await?;
    let mut table = Table::with_minimum(10);
    if let Some(linux) = said.linux {
        table.row(["cgroup driver:", linux.cgroup_driver().as_str_name()]);
    }
    say::answer(&table.text())?;
    Ok(Outcome::Done)
}

pub(super) async fn update_runtime_config(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    if !given.arguments.is_empty() || !given.any_set() {
        return Ok(Outcome::Help);
    }
    let network = api::NetworkConfig { pod_cidr: given.text("pod-cidr").to_owned() };
    let config = api::RuntimeConfig { network_config: Some(network) };
    let request = api::UpdateRuntimeConfigRequest { runtime_config: Some(config) };
    let mut runtime = session.runtime().await?;
    session.call("update runtime config", runtime.update_runtime_config(request)).await?;
    say::note("Runtime config successfully updated");
    Ok(Outcome::Done)
}

/// The client's own file. It is made when it is not there, also by a command that only reads.
pub(super) fn config(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let path = Path::new(session.global.text("config"));
    if !path.exists() {
        Preferences::default().write(path)?;
    }
    let mut file = Preferences::read(path)?;
    let wrong = |what| Error::Configuration { path: path.to_owned(), what };
    if given.is_set("get") {
        let key = given.text("get");
        let value = file.get(key).ok_or_else(|| Error::Choice {
            what: "configuration option",
            value: key.to_owned(),
            possible: "runtime-endpoint, image-endpoint, timeout, debug, pull-image-on-create, disable-pull-on-run",
        })?;
        say::answer(&format!("{value}\n"))?;
    } else if given.is_set("set") {
        for option in given.list("set") {
            let pair = option.split_once('=').filter(|(_, value)| !value.contains('='));
            let (key, value) =
                pair.ok_or_else(|| Error::arguments(format!("incorrectly specified option: {option}")))?;
            file.set(key, value).map_err(wrong)?;
        }
        file.write(path)?;
    } else if given.on("list") {
        let mut table = Table::new();
        table.row(["KEY", "VALUE"]);
        for key in KEYS {
            table.row([key.to_owned(), file.get(key).unwrap_or_default()]);
        }
        say::answer(&format!("\x1b[2J\x1b[H{}", table.text()))?;
    } else {
        let key = given.first();
        if key.is_empty() {
            return Ok(Outcome::Help);
        }
        file.set(key, given.arguments.get(1).map_or("", String::as_str)).map_err(wrong)?;
        file.write(path)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn completion(session: &Session) -> Result<Outcome, Error> {
    let script = match session.given.arguments.as_slice() {
        [] => bash(),
        [shell] => match shell.as_str() {
            "bash" => bash(),
            "zsh" => zsh(),
            "fish" => fish(),
            other => {
                let possible = "bash, zsh, fish";
                return Err(Error::Choice { what: "shell", value: other.to_owned(), possible });
            }
        },
        _ => return Ok(Outcome::Help),
    };
    say::answer(&script)?;
    Ok(Outcome::Done)
}

fn bash() -> String {
    let commands = COMMANDS.iter().flat_map(|command| command.names()).map(str::to_owned);
    let flags = GLOBAL.iter().map(|flag| format!("--{}", flag.name));
    let words: Vec<String> = commands.chain(["help".into(), "h".into()]).chain(flags).collect();
    format!(
        "_crictl() {{\n    COMPREPLY=($(compgen -W \"{}\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\ncomplete -F _crictl crictl\n",
        words.join(" ")
    )
}

fn zsh() -> String {
    let quoted = |text: &str| text.replace('\'', "'\\''").replace(':', "\\:");
    let mut out = String::from("#compdef crictl\n_crictl() {\n    local -a words\n    words=(\n");
    for command in COMMANDS {
        for name in command.names() {
            out.push_str(&format!("        '{name}:{}'\n", quoted(command.about)));
        }
    }
    for flag in GLOBAL {
        out.push_str(&format!("        '--{}:{}'\n", flag.name, quoted(flag.about)));
    }
    out.push_str("    )\n    _describe crictl words\n}\ncompdef _crictl crictl\n");
    out
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let line = |when: &str, flag: &crate::spec::Flag| {
        let letters = flag.aliases.iter().filter(|alias| alias.len() == 1);
        let short: String = letters.map(|letter| format!(" -s {letter}")).collect();
        let value = if flag.takes == crate::spec::Takes::Nothing { "" } else { " -r" };
        format!(
            "complete -c crictl -n '{when}' -f -l {}{short}{value} -d '{}'\n",
            flag.name,
            quoted(flag.about)
        )
    };
    let mut out = String::new();
    for flag in GLOBAL {
        out.push_str(&line("__fish_use_subcommand", flag));
    }
    for command in COMMANDS {
        let names = command.names().collect::<Vec<_>>().join(" ");
        let about = quoted(command.about);
        out.push_str(&format!("complete -c crictl -n __fish_use_subcommand -f -a '{names}' -d '{about}'\n"));
        for flag in command.flags {
            out.push_str(&line(&format!("__fish_seen_subcommand_from {names}"), flag));
        }
    }
    out
}
