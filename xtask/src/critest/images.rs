//! Equivalents of the images that the suite names, pushed to a registry on loopback.
//!
//! Every image is busybox with what the suite expects in the original, and a marker: no two may have the same id.

use std::path::Path;
use std::process::Command;

use ochre_test_support::layout::{Entry, Image};
use serde_json::{Value, json};

use crate::build::run_command;

/// Applets that get a name. Each is a copy as far as mounts can tell: what masks a symbolic link masks all of them.
const APPLETS: [&str; 32] = [
    "sh", "[", "brctl", "cat", "chmod", "dd", "echo", "env", "false", "grep", "hostname", "httpd", "id",
    "ipcs", "kill", "ls", "mkdir", "mount", "netstat", "pgrep", "pidof", "ping", "ps", "rm", "sleep", "stty",
    "test", "top", "touch", "true", "umount", "wget",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\ndefault-user:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\nnogroup:x:65534:\n";
/// The group that one image knows its user in.
const PREDEFINED_GROUP: &str = "group-defined-in-image:x:50000:default-user\n";
const STAGING: &str = "k8s-staging-cri-tools";

/// Pushes all of them to the registry at `host`.
pub(super) fn push(root: &Path, busybox: &Path, host: &str) -> anyhow::Result<()> {
    let busybox = std::fs::read(busybox)?;
    let script = std::fs::read(root.join("tests/critest/web-server.sh"))?;
    let base = |marker: &str, config: Value| image(&busybox, marker, GROUP, config);
    let server = |program: &str, marker: &str, port: u16| {
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut image = base(
            marker,
            json!({
                "Entrypoint": [format!("/{program}"), format!("{name}: master process"), port.to_string()],
                "ExposedPorts": { format!("{port}/tcp"): {} },
            }),
        );
        image.entries.push(Entry::File(program.to_owned(), 0o755, script.clone()));
        image
    };
    let staging = |name: &str| format!("{STAGING}/{name}");

    push_one(host, &base("busybox", json!({ "Cmd": ["sh"] })), &["e2e-test-images/busybox:1.29-2"])?;
    push_one(host, &server("usr/sbin/nginx", "nginx", 80), &["e2e-test-images/nginx:1.14-2"])?;
    push_one(host, &server("usr/local/httpd", "httpd", 80), &["e2e-test-images/httpd:2.4.39-4"])?;
    push_one(
        host,
        &server("usr/sbin/nginx", "hostnet", 12003),
        &[&staging(&format!("hostnet-nginx-{}:latest", architecture()))],
    )?;
    push_one(host, &privileged(base, &busybox), &["e2e-test-images/nonewprivs:1.3"])?;
    let waiting = json!({ "Entrypoint": ["top", "-b", "-d", "3600"] });
    push_one(host, &base("pause", waiting.clone()), &["pause:3.9"])?;

    for name in ["latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest"] {
        push_one(host, &base(name, waiting.clone()), &[&staging(&format!("test-image-{name}"))])?;
    }
    let tags = ["1", "2", "3"].map(|tag| staging(&format!("test-image-tags:{tag}")));
    push_one(host, &base("tags", json!({ "Cmd": ["sh"] })), &tags.each_ref().map(String::as_str))?;
    for (name, user) in [
        ("uid", "1002"),
        ("username", "www-data"),
        ("uid-group", "1003:1004"),
        ("username-group", "www-data:1004"),
    ] {
        let image = base(user, json!({ "User": user, "Cmd": ["sh"] }));
        push_one(host, &image, &[&staging(&format!("test-image-user-{name}:latest"))])?;
    }
    let groups = format!("{GROUP}{PREDEFINED_GROUP}");
    let config = json!({ "User": "1000", "Cmd": ["sh"] });
    push_one(
        host,
        &image(&busybox, "predefined-group", &groups, config),
        &[&staging("test-image-predefined-group:latest")],
    )?;
    for tag in ["1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"] {
        let name = format!("docker/library/busybox:{tag}");
        push_one(host, &base(&name, json!({ "Cmd": ["sh"] })), &[&name])?;
    }
    Ok(())
}

/// busybox with users, a writable /tmp, a page to serve, and a file that says which image it is.
fn image(busybox: &[u8], marker: &str, groups: &str, config: Value) -> Image {
    let file = |path: &str, text: &str| Entry::File(path.into(), 0o644, text.as_bytes().to_vec());
    let mut entries: Vec<Entry> = [
        "bin",
        "etc",
        "home",
        "root",
        "usr",
        "usr/local",
        "usr/sbin",
        "var",
        "var/run",
        "var/www",
        "www",
        "suid",
    ]
    .map(|name| Entry::Directory(name.into(), 0o755))
    .into();
    entries.extend([
        Entry::Directory("tmp".into(), 0o1777),
        Entry::File("bin/busybox".into(), 0o755, busybox.to_vec()),
        file("etc/passwd", PASSWD),
        file("etc/group", groups),
        file("etc/image", marker),
        file("www/index.html", "It works.\n"),
    ]);
    let links = APPLETS.iter().map(|name| Entry::HardLink(format!("bin/{name}"), "bin/busybox".into()));
    entries.extend(links);
    let mut config = config;
    config["Env"] = json!(["PATH=/usr/sbin:/bin"]);
    Image { entries, config }
}

/// An image whose command asks a set-user-id program of root who it is.
fn privileged(base: impl Fn(&str, Value) -> Image, busybox: &[u8]) -> Image {
    let question = "echo \"Effective uid: $(/suid/id -u)\"";
    let mut image = base("nonewprivs", json!({ "Entrypoint": ["/bin/sh", "-c", question] }));
    image.entries.push(Entry::File("suid/id".into(), 0o4755, busybox.to_vec()));
    image
}

/// Pushes one image under several names.
fn push_one(host: &str, image: &Image, names: &[&str]) -> anyhow::Result<()> {
    let layout = tempfile::tempdir()?;
    image.write_layout(layout.path(), "latest")?;
    for name in names {
        run_command(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
                .arg(format!("oci:{}:latest", layout.path().display()))
                .arg(format!("docker://{host}/{name}")),
        )?;
    }
    Ok(())
}

/// This machine's architecture in the words of Go.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
