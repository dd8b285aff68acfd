//! The busybox image that most tests run, home-made from Debian's static busybox.

use ochre_test_support::layout::{Entry, Image};
use serde_json::json;

/// The image's name in the store.
pub const BUSYBOX: &str = "localhost/busybox:latest";

/// Applets that get a name in `/bin`.
const APPLETS: [&str; 40] = [
    "sh", "ls", "cat", "echo", "sleep", "id", "touch", "mkdir", "rm", "env", "pwd", "true", "false", "grep",
    "head", "tail", "wc", "dd", "mount", "umount", "hostname", "ps", "kill", "ip", "ping", "wget", "httpd",
    "nc", "stat", "chmod", "chown", "printf", "yes", "tr", "sort", "test", "mknod", "ln", "find", "setsid",
];

/// busybox with users, groups and a writable /tmp.
pub fn busybox() -> anyhow::Result<Image> {
    let program = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"))?;
    let mut entries = vec![
        Entry::Directory("bin".into(), 0o755),
        Entry::Directory("etc".into(), 0o755),
        Entry::Directory("root".into(), 0o700),
        Entry::Directory("tmp".into(), 0o1777),
        Entry::File("bin/busybox".into(), 0o755, program),
        Entry::File(
            "etc/passwd".into(),
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/:/bin/sh\n"
                .to_vec(),
        ),
        Entry::File(
            "etc/group".into(),
            0o644,
            b"root:x:0:\nnogroup:x:65534:\napp:x:1000:\nextra:x:2000:app\n".to_vec(),
        ),
    ];
    entries.extend(APPLETS.iter().map(|applet| Entry::Link(format!("bin/{applet}"), "busybox".into())));
    Ok(Image { entries, config: json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "IMAGE=busybox"] }) })
}
