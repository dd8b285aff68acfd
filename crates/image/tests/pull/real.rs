//! Debian's `docker-registry`, filled by `skopeo`, and podman's view of what was pulled.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::*;

/// The registry's process; killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

fn serve(dir: &Path, port: u16) -> Running {
    let config = dir.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
         http: {{ addr: 127.0.0.1:{port} }}\n",
        dir.join("registry").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// A running registry, and a node that pulls from it.
pub(crate) struct Served {
    pub(crate) host: String,
    pub(crate) node: Node,
    _registry: Running,
}

impl Served {
    pub(crate) fn new() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let node = Node::with(&format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"), |_| ());
        let registry = serve(node.dir.path(), port);
        Self { host, node, _registry: registry }
    }
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_serves_and_podman_sees_the_image() {
    let Served { host, node, _registry } = &Served::new();
    let layers = [Layer::random(300_000, 71), Layer::random(5_000, 72), Layer::random(100, 73)];
    for (media_type, format, tag) in [(OCI_MANIFEST, "oci", "oci"), (OCI_MANIFEST, "v2s2", "docker")] {
        let image = TestImage::new(media_type, &layers);
        let directory = node.dir.path().join("layout");
        crate::images::layout(&directory, &image, None);
        let target = format!("docker://{host}/team/app:{tag}");
        let source = format!("oci:{}", directory.display());
        run(Command::new("skopeo").args([
            "--insecure-policy",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--format",
            format,
            &source,
            &target,
        ]));
        let id = node.pull(&format!("{host}/team/app:{tag}")).await.unwrap();
        assert_eq!(node.file(&id, "file-71").unwrap(), noise(300_000, 71));
    }
    let root = node.dir.path().join("root");
    let runroot = node.dir.path().join("run");
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(&root).arg("--runroot").arg(&runroot).args(["--storage-driver", "overlay"]);
        command.arg("--tmpdir").arg(node.dir.path().join("libpod"));
        run(command.args(arguments))
    };
    let seen = podman(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]);
    for image in node.images.list().await.unwrap() {
        for tag in &image.repo_tags {
            assert!(seen.contains(&format!("sha256:{} {tag}", image.id)), "{seen} lacks {tag}");
        }
    }
    let name = format!("{host}/team/app:oci");
    let inspected = podman(&["image", "inspect", "--format", "{{.Digest}} {{.User}} {{.Config.Cmd}}", &name]);
    assert!(inspected.contains("sha256:") && inspected.contains("1000:1000 [/file]"), "{inspected}");

    // What goes out again is put together from the layer and its tar-split: the same bytes.
    let place = format!("[overlay@{}+{}]", root.display(), runroot.display());
    let out = node.dir.path().join("out");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "-q"])
        .args([format!("containers-storage:{place}{name}"), format!("dir:{}", out.display())]));
    for layer in &layers {
        let archive = std::fs::read(out.join(&layer.diff_id[7..])).unwrap();
        assert_eq!(digest(&archive), layer.diff_id);
    }

    // And what others put into the store is ours to run.
    let theirs = TestImage::new(OCI_MANIFEST, &[Layer::random(700, 74)]);
    let directory = node.dir.path().join("theirs");
    crate::images::layout(&directory, &theirs, None);
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q"]).args([
        format!("oci:{}", directory.display()),
        format!("containers-storage:{place}docker.io/library/theirs:1"),
    ]));
    let found = node.images.resolve("theirs:1").await.unwrap();
    assert_eq!(
        (found.summary.id.as_str(), found.config.cmd),
        (theirs.id().as_str(), vec!["/file".to_owned()])
    );
    node.images.remove("theirs:1").await.unwrap();
    assert!(!podman(&["images"]).contains("theirs"));
}
