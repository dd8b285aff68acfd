//! The commands about images.

use super::{Command, Flag, NO_TRUNC, TEMPLATE, duration, list, on, text};

const FILTER: Flag = list(
    "filter",
    &["f"],
    "Only those that match: dangling=true|false, reference=REGEX, before=IMAGE, since=IMAGE; applied in order",
);
const OUTPUT: Flag = text("output", &["o"], "How to show it: json, yaml, go-template or table");

pub(super) const AUTH: Flag =
    text("auth", &[], "Credentials for the registry, base64 of USER[:PASSWORD]").called("AUTH_STRING");
pub(super) const CREDS: Flag =
    text("creds", &[], "Credentials for the registry").called("USERNAME[:PASSWORD]");
pub(super) const PULL_TIMEOUT: Flag =
    duration("pull-timeout", &["pt"], "How long a pull may take; 0s is for ever").env("CRICTL_PULL_TIMEOUT");

pub(super) const IMAGEFSINFO: Command =
    Command::new("imagefsinfo", "Show how much disk images and containers take", &[OUTPUT, TEMPLATE]);

pub(super) const IMAGES: Command = Command::new(
    "images",
    "List images",
    &[
        on("digests", &[], "Show digests"),
        FILTER,
        NO_TRUNC,
        text("output", &["o"], "How to show it: json, yaml or table"),
        on("pinned", &[], "Show which are pinned"),
        on("quiet", &["q"], "Only ids"),
        on("verbose", &["v"], "Everything about each, in blocks"),
    ],
)
.aka(&["image", "img"])
.takes("[REPOSITORY[:TAG]]");

pub(super) const INSPECTI: Command = Command::new(
    "inspecti",
    "Show everything about images",
    &[
        FILTER,
        text("name", &[], "Only the image with this name"),
        OUTPUT,
        on("quiet", &["q"], "Leave out the engine's own details"),
        TEMPLATE,
    ],
)
.takes("IMAGE-ID [IMAGE-ID...]")
.described("Without an id: all images, or those the filters let through.");

pub(super) const PULL: Command = Command::new(
    "pull",
    "Pull an image from its registry",
    &[
        list("annotation", &["a"], "An annotation for the image (key=value)"),
        Flag { variable: Some("CRICTL_AUTH"), ..AUTH },
        Flag { variable: Some("CRICTL_CREDS"), ..CREDS },
        text("pod-config", &[], "The pod the image is for").called("pod-config.[json|yaml]"),
        PULL_TIMEOUT,
        text("username", &["u"], "The user at the registry; the password is asked for").called("USERNAME"),
    ],
)
.takes("NAME[:TAG|@DIGEST]");

pub(super) const RMI: Command = Command::new(
    "rmi",
    "Remove images",
    &[
        on("all", &["a"], "All images, pinned ones too"),
        on("prune", &["q"], "All that no container uses and that are not pinned"),
    ],
)
.takes("IMAGE-ID [IMAGE-ID...]")
.described(
    "An image goes with all its names, also when one of them is given: CRI has no way to take off one tag.",
);
