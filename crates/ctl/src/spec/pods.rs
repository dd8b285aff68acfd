//! The commands about pods.

use super::{Command, Flag, LABEL, NO_TRUNC, TEMPLATE, duration, number, on, text};

const LAST: Flag = number("last", &["n"], "The so many newest; 0 is all");
const LATEST: Flag = on("latest", &["l"], "The newest");
const NAME: Flag = text("name", &[], "Only those whose name matches the regular expression");
const NAMESPACE: Flag =
    text("namespace", &[], "Only those in a namespace that matches the regular expression");
const STATE: Flag = text("state", &["s"], "Only those in this state: ready or notready");

pub(super) const CANCEL_TIMEOUT: Flag =
    duration("cancel-timeout", &["T"], "How long the engine may take before the request is given up");
pub(super) const RUNTIME: Flag =
    text("runtime", &["r"], "The runtime handler, one of the engine's (see info)");

pub(super) const INSPECTP: Command = Command::new(
    "inspectp",
    "Show everything about pods",
    &[
        LABEL,
        LAST,
        LATEST,
        NAME,
        NAMESPACE,
        text("output", &["o"], "How to show it: json, yaml, go-template or table"),
        on("quiet", &["q"], "Leave out the engine's own details"),
        STATE,
        TEMPLATE,
    ],
)
.takes("POD-ID [POD-ID...]")
.described("Without an id: all pods, or those the filters let through.");

pub(super) const METRICSP: Command = Command::new(
    "metricsp",
    "Show the metrics of all pods",
    &[
        text("output", &["o"], "How to show it: json or yaml"),
        on("watch", &["w"], "Again and again until interrupted"),
    ],
);

pub(super) const PODS: Command = Command::new(
    "pods",
    "List pods",
    &[
        text("id", &[], "Only the pod with this id or prefix"),
        LABEL,
        LAST,
        LATEST,
        NAME,
        NAMESPACE,
        NO_TRUNC,
        text("output", &["o"], "How to show it: json, yaml or table").or("table"),
        on("quiet", &["q"], "Only ids"),
        STATE,
        on("verbose", &["v"], "Everything about each, in blocks"),
    ],
);

pub(super) const RMP: Command = Command::new(
    "rmp",
    "Remove pods",
    &[on("all", &["a"], "All pods"), on("force", &["f"], "Stop those that run first")],
)
.takes("POD-ID [POD-ID...]");

pub(super) const RUNP: Command =
    Command::new("runp", "Start a pod", &[CANCEL_TIMEOUT, RUNTIME]).takes("pod-config.[json|yaml]").apart();

pub(super) const STATSP: Command = Command::new(
    "statsp",
    "Show what pods use",
    &[
        text("id", &[], "Only the pod with this id or prefix"),
        LABEL,
        text("output", &["o"], "How to show it: json, yaml or table"),
        number("seconds", &["s"], "How long to watch the CPU").or("1"),
        on("watch", &["w"], "Again and again until interrupted"),
    ],
)
.takes("[ID]");

pub(super) const STOPP: Command = Command::new("stopp", "Stop pods", &[]).takes("POD-ID [POD-ID...]").apart();
