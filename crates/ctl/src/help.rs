//! The help texts, in the layout of crictl's, from the tables of `spec`.

use crate::spec::{COMMANDS, Command, Flag, GLOBAL, Takes};

/// The help of the whole program.
pub(crate) fn program() -> String {
    let mut out = String::from(
        "NAME:\n   crictl - client for CRI engines\n\nUSAGE:\n   crictl [global options] command [command options]\n\nVERSION:\n   ",
    );
    out.push_str(env!("CARGO_PKG_VERSION"));
    out.push_str("\n\nCOMMANDS:");
    let mut rows: Vec<(String, String)> = COMMANDS.iter().map(command_row).collect();
    rows.push(("help, h".into(), "Shows a list of commands or help for one command".into()));
    columns(&rows, &mut out);
    out.push_str("\n\nGLOBAL OPTIONS:");
    let mut rows: Vec<(String, String)> = GLOBAL.iter().map(flag_row).collect();
    rows.push(("--help, -h".into(), "show help".into()));
    rows.push(("--version, -v".into(), "print the version".into()));
    columns(&rows, &mut out);
    out.push('\n');
    out
}

/// The help of one command.
pub(crate) fn command(command: &Command) -> String {
    let Command { name, about, .. } = command;
    let mut out = format!("NAME:\n   crictl {name} - {about}\n\nUSAGE:\n   crictl {name} [command options]");
    if !command.arguments.is_empty() {
        out.push_str(&format!(" {}", command.arguments));
    }
    if !command.description.is_empty() {
        out.push_str("\n\nDESCRIPTION:\n   ");
        out.push_str(&command.description.replace('\n', "\n   ").replace("\n   \n", "\n\n"));
    }
    if !command.commands.is_empty() {
        out.push_str("\n\nCOMMANDS:");
        columns(&command.commands.iter().map(command_row).collect::<Vec<_>>(), &mut out);
    }
    out.push_str("\n\nOPTIONS:");
    let mut rows: Vec<(String, String)> = command.flags.iter().map(flag_row).collect();
    rows.push(("--help, -h".into(), "show help".into()));
    columns(&rows, &mut out);
    out.push('\n');
    out
}

fn command_row(command: &Command) -> (String, String) {
    (command.names().collect::<Vec<_>>().join(", "), command.about.to_owned())
}

fn flag_row(flag: &Flag) -> (String, String) {
    let names = std::iter::once(&flag.name).chain(flag.aliases);
    let spelt: Vec<String> = names
        .map(|name| {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            if flag.takes == Takes::Nothing {
                format!("{dashes}{name}")
            } else {
                format!("{dashes}{name} {}", flag.value)
            }
        })
        .collect();
    let mut spelt = spelt.join(", ");
    if flag.takes == Takes::List {
        spelt = format!("{spelt} [ {spelt} ]");
    }
    let mut about = flag.about.to_owned();
    let default = match flag.takes {
        Takes::Text | Takes::List if flag.default.is_empty() => String::new(),
        Takes::Text | Takes::List => format!(" (default: {:?})", flag.default),
        Takes::Nothing | Takes::Number | Takes::Duration => format!(" (default: {})", flag.default),
    };
    about.push_str(&default);
    if let Some(variable) = flag.variable {
        about.push_str(&format!(" [${variable}]"));
    }
    (spelt, about)
}

fn columns(rows: &[(String, String)], out: &mut String) {
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    for (left, right) in rows {
        out.push_str(&format!("\n   {left:width$}  {right}"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_flag_shows_its_names_value_default_and_variable() {
        let pull = crate::spec::COMMANDS.iter().find(|command| command.is("pull")).unwrap();
        let text = super::command(pull);
        assert!(text.starts_with("NAME:\n   crictl pull - "), "{text}");
        assert!(
            text.contains("\n   --annotation value, -a value [ --annotation value, -a value ]  "),
            "{text}"
        );
        assert!(
            text.contains("\n   --creds USERNAME[:PASSWORD]  ") && text.contains("[$CRICTL_CREDS]"),
            "{text}"
        );
        assert!(
            text.contains("--pull-timeout value, --pt value  ") && text.contains("(default: 0s)"),
            "{text}"
        );
        assert!(super::program().contains("\n   images, image, img     List images\n"));
    }
}
