//! The commands about containers.

use super::images::{AUTH, CREDS, PULL_TIMEOUT};
use super::pods::{CANCEL_TIMEOUT, RUNTIME};
use super::{Command, Flag, LABEL, NO_TRUNC, TEMPLATE, number, on, text};

const MANY: &str = "CONTAINER-ID [CONTAINER-ID...]";

const ALL: Flag = on("all", &["a"], "In every state, not only running ones");
const IMAGE: Flag = text("image", &[], "Only those of this image");
const LAST: Flag = number("last", &["n"], "The so many newest, in every state; 0 is all");
const LATEST: Flag = on("latest", &["l"], "The newest, in every state");
const NAME: Flag = text("name", &[], "Only those whose name matches the regular expression");
const NAMESPACE: Flag =
    text("namespace", &[], "Only those of pods in a namespace that matches the regular expression");
const POD: Flag = text("pod", &["p"], "Only those of the pod with this id or prefix");
const STATE: Flag = text("state", &["s"], "Only those in this state: created, running, exited or unknown");
const USERNAME: Flag =
    text("username", &[], "The user at the registry; the password is asked for").called("USERNAME");

pub(super) const CHECKPOINT: Command = Command::new(
    "checkpoint",
    "Write running containers to archives",
    &[text("export", &["e"], "The archive to write")],
)
.takes(MANY);

pub(super) const CREATE: Command = Command::new(
    "create",
    "Create a container in a pod",
    &[
        AUTH,
        CANCEL_TIMEOUT,
        CREDS,
        on("no-pull", &[], "Do not pull the image, whatever the configuration says"),
        PULL_TIMEOUT,
        USERNAME,
        on("with-pull", &[], "Pull the image first, whatever the configuration says"),
    ],
)
.takes("POD container-config.[json|yaml] pod-config.[json|yaml]")
.apart();

pub(super) const EXEC: Command = Command::new(
    "exec",
    "Run a command in a running container and wait for its end",
    &[
        on("ignore-errors", &["e"], "Succeed whatever the commands say"),
        IMAGE,
        LABEL,
        LAST,
        LATEST,
        NAME,
        on("parallel", &["x"], "With several containers: no id above each output"),
        Flag { aliases: &["p"], ..POD },
        on("quiet", &["q"], "No id above the output"),
        Flag { aliases: &[], ..STATE },
        on("sync", &["s"], "Show the output at the end"),
        number("timeout", &[], "After so many seconds the command is ended; 0 is never"),
    ],
)
.takes("[CONTAINER-ID] COMMAND [ARG...]")
.described("Only with --sync for now. With a filter (--image, --label, --last, --latest, --name, --pod, --state) there is no \
            CONTAINER-ID: the command runs in all that match.");

pub(super) const INSPECT: Command = Command::new(
    "inspect",
    "Show everything about containers",
    &[
        ALL,
        IMAGE,
        LABEL,
        LAST,
        LATEST,
        NAME,
        NAMESPACE,
        text("output", &["o"], "How to show it: json, yaml, go-template or table"),
        POD,
        on("quiet", &["q"], "Leave out the engine's own details"),
        STATE,
        TEMPLATE,
    ],
)
.takes(MANY)
.described("Without an id: all running containers, or those the filters let through.")
.apart();

pub(super) const LOGS: Command = Command::new(
    "logs",
    "Print a container's log",
    &[
        on("follow", &["f"], "Go on with what comes, until the container ends"),
        number("limit-bytes", &[], "Print so many bytes at most; -1 is all").or("-1"),
        on("previous", &["p"], "The log of the attempt before"),
        on("reopen", &["r"], "Have the engine reopen the log file first"),
        text(
            "since",
            &[],
            "Only what is newer: a duration (42m), a time (2026-01-02T13:23:37) or seconds since 1970",
        ),
        text("stream", &["s"], "Only stdout or stderr"),
        number("tail", &[], "Only the so many last lines; -1 is all").or("-1"),
        on("timestamps", &["t"], "The time in front of each line"),
    ],
)
.takes("CONTAINER-ID");

pub(super) const PS: Command = Command::new(
    "ps",
    "List containers",
    &[
        ALL,
        text("id", &[], "Only the container with this id or prefix"),
        IMAGE,
        LABEL,
        LAST,
        LATEST,
        NAME,
        NAMESPACE,
        NO_TRUNC,
        text("output", &["o"], "How to show it: json, yaml or table").or("table"),
        POD,
        on("quiet", &["q"], "Only ids"),
        on("resolve-image-path", &["r"], "The image's name instead of its id"),
        STATE,
        on("verbose", &["v"], "Everything about each, in blocks"),
    ],
);

pub(super) const RM: Command = Command::new(
    "rm",
    "Remove containers and their logs",
    &[
        on("all", &["a"], "All containers"),
        on("force", &["f"], "Stop those that run first"),
        on("keep-logs", &["k"], "Leave the log files"),
    ],
)
.takes(MANY);

pub(super) const RUN: Command = Command::new(
    "run",
    "Start a pod with one container",
    &[
        AUTH,
        CANCEL_TIMEOUT,
        CREDS,
        on("no-pull", &[], "Do not pull the image, whatever the configuration says"),
        PULL_TIMEOUT,
        RUNTIME,
        USERNAME,
        on("with-pull", &[], "Pull the image first, whatever the configuration says"),
    ],
)
.takes("container-config.[json|yaml] pod-config.[json|yaml]")
.apart();

pub(super) const START: Command =
    Command::new("start", "Start containers that were created", &[]).takes(MANY).apart();

pub(super) const STATS: Command = Command::new(
    "stats",
    "Show what containers use",
    &[
        ALL,
        text("id", &[], "Only the container with this id or prefix"),
        LABEL,
        text("output", &["o"], "How to show it: json, yaml or table"),
        POD,
        number("seconds", &["s"], "How long to watch the CPU").or("1"),
        on("watch", &["w"], "Again and again until interrupted"),
    ],
)
.takes("[ID]");

pub(super) const STOP: Command = Command::new(
    "stop",
    "Stop running containers",
    &[
        on("all", &["a"], "All running containers"),
        number("timeout", &["t"], "Seconds between SIGTERM and SIGKILL; 0 kills at once"),
    ],
)
.takes(MANY);

pub(super) const UPDATE: Command = Command::new(
    "update",
    "Change the limits of containers",
    &[
        number("cpu-count", &[], "Windows only: the number of CPUs"),
        number("cpu-maximum", &[], "Windows only: hundredths of a percent of the CPU"),
        number("cpu-period", &[], "The CFS period in microseconds; 0 is the system's"),
        number("cpu-quota", &[], "The CPU time in a period, in microseconds"),
        number("cpu-share", &[], "The weight against other containers"),
        text("cpuset-cpus", &[], "The CPUs to use"),
        text("cpuset-mems", &[], "The memory nodes to use"),
        number("memory", &[], "The memory limit in bytes"),
        text("oom-score-adj", &[], "How readily the kernel ends it when memory is short"),
    ],
)
.takes(MANY)
.apart();
