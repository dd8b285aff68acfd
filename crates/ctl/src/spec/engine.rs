//! The commands about the engine and the client.

use super::{Command, Flag, TEMPLATE, list, on, text};

const OUTPUT: Flag = text("output", &["o"], "How to show it: json, yaml or go-template").or("json");

pub(super) const COMPLETION: Command =
    Command::new("completion", "Print the shell's completion script", &[]).takes("[bash|zsh|fish]").described(
        "Bash when no shell is named. To have it in this shell:\n\n  bash:  source <(crictl completion bash)\n  \
         zsh:   source <(crictl completion zsh)\n  fish:  crictl completion fish | source",
    ).apart();

pub(super) const CONFIG: Command = Command::new(
    "config",
    "Show and change the client's configuration file",
    &[
        text("get", &[], "Print one value"),
        on("list", &[], "Print all keys and values"),
        list("set", &[], "Set a key (key=value[,key=value])"),
    ],
)
.takes("[KEY VALUE]")
.described(
    "Keys: runtime-endpoint, image-endpoint, timeout (seconds), debug, pull-image-on-create, disable-pull-on-run.\n\n  \
     crictl config --set runtime-endpoint=unix:///run/crio/crio.sock,timeout=10\n  crictl config --get timeout",
);

pub(super) const EVENTS: Command =
    Command::new("events", "Print what happens to containers, as it happens", &[OUTPUT, TEMPLATE])
        .aka(&["event"]);

pub(super) const INFO: Command = Command::new(
    "info",
    "Show the engine's state and configuration",
    &[OUTPUT, on("quiet", &["q"], "Leave out the engine's own details"), TEMPLATE],
);

pub(super) const METRICDESCS: Command = Command::new(
    "metricdescs",
    "List the metrics the engine knows",
    &[text("output", &["o"], "How to show it: json or yaml")],
);

pub(super) const RUNTIME_CONFIG: Command =
    Command::new("runtime-config", "Show which cgroup driver the engine wants the kubelet to use", &[]);

pub(super) const UPDATE_RUNTIME_CONFIG: Command = Command::new(
    "update-runtime-config",
    "Tell the engine the node's pod network",
    &[text("pod-cidr", &["p"], "The address range of the node's pods; empty leaves it as it is")],
);

pub(super) const VERSION: Command =
    Command::new("version", "Show the engine's name and version", &[]).apart();
