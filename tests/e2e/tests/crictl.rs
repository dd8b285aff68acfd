//! The pod from the tutorials with the stock crictl: what an operator types, and what the answers mean.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, bail};
use ochre_e2e::{BUSYBOX, Node, Registry, busybox, eventually, file_with};
use serde_json::{Value, json};

/// The port of the node that leads to the web container.
const PORT: u16 = 18081;

/// What of the containers' image is in the tutorial.
const WEB: &str = "echo $GREETING; env; echo end; exec httpd -f -p 8080 -h /data";

/// The files of the tutorial: pod, web container, side container.
struct Tutorial {
    pod: String,
    web: String,
    side: String,
}

impl Tutorial {
    /// Writes them for an image.
    fn write(node: &Node, image: &str) -> anyhow::Result<Self> {
        let data = node.path("data");
        std::fs::create_dir_all(&data)?;
        std::fs::write(data.join("page"), "the page\n")?;
        let write = |name: &str, value: &Value| -> anyhow::Result<String> {
            let path = node.path(name);
            std::fs::write(&path, serde_json::to_vec_pretty(value)?)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let pod = json!({
            "metadata": { "name": "tutorial", "namespace": "default", "attempt": 1, "uid": "tutorial-uid" },
            "hostname": "tut", "log_directory": node.path("logs"),
            "dns_config": { "servers": ["192.0.2.53"], "searches": ["example.com"], "options": ["ndots:2"] },
            "port_mappings": [{ "protocol": 0, "container_port": 8080, "host_port": PORT }],
            "labels": { "app": "tut" }, "linux": {},
        });
        let web = json!({
            "metadata": { "name": "web" }, "image": { "image": image },
            "command": ["/bin/sh", "-c", WEB], "envs": [{ "key": "GREETING", "value": "hello" }],
            "mounts": [{ "container_path": "/data", "host_path": data, "readonly": true }],
            "log_path": "web.log", "labels": { "tier": "front", "io.kubernetes.pod.name": "tutorial",
            "io.kubernetes.pod.namespace": "default" }, "linux": {},
        });
        let side = json!({
            "metadata": { "name": "side", "attempt": 3 }, "image": { "image": image }, "command": ["/bin/sh", "-c",
            "echo one; echo two; echo three; while :; do sleep 1; done"], "log_path": "side.log", "linux": {},
        });
        Ok(Self {
            pod: write("pod.json", &pod)?,
            web: write("web.json", &web)?,
            side: write("side.json", &side)?,
        })
    }

    /// Runs it step by step: pod, web, side.
    fn run(&self, node: &Node) -> anyhow::Result<[String; 3]> {
        let pod = node.crictl_ok(&["runp", &self.pod])?;
        let web = node.crictl_ok(&["create", &pod, &self.web, &self.pod])?;
        let side = node.crictl_ok(&["create", &pod, &self.side, &self.pod])?;
        let started = node.crictl_ok(&["start", &web, &side])?;
        assert_eq!(started, format!("{web}\n{side}"));
        Ok([pod, web, side])
    }
}

/// What crictl prints as JSON.
fn json_of(node: &Node, arguments: &[&str]) -> anyhow::Result<Value> {
    let text = node.crictl_ok(arguments)?;
    serde_json::from_str(&text).with_context(|| text)
}

/// The cells of a table's rows, by columns that two blanks separate; the first row is the heading.
fn table(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    text.lines().map(cells).collect()
}

/// What crictl says when it has to fail, without its escapes.
fn refused(node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
    let output = node.crictl(arguments)?;
    if output.status.code() != Some(1) {
        bail!("crictl {arguments:?} ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stderr)?.replace("\\\"", "\""))
}

/// The page behind the host port.
fn page() -> anyhow::Result<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    connection.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn the_tutorial_pod_runs_and_its_configuration_is_in_force() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let files = Tutorial::write(&node, BUSYBOX)?;
    let [pod, web, side] = files.run(&node)?;

    let log = file_with(&node.path("logs/web.log"), "end").await?;
    assert!(log.contains(" stdout F hello\n"), "{log}");
    for variable in ["GREETING=hello", "IMAGE=busybox", "HOSTNAME=tut"] {
        assert!(log.contains(&format!(" stdout F {variable}\n")), "{variable}: {log}");
    }
    let seen =
        node.crictl_ok(&["exec", "-s", &web, "cat", "/etc/resolv.conf", "/etc/hostname", "/data/page"])?;
    assert_eq!(seen, "search example.com\nnameserver 192.0.2.53\noptions ndots:2\ntut\nthe page");
    let status = json_of(&node, &["inspectp", &pod])?;
    let ip = status["status"]["network"]["ip"].as_str().unwrap_or_default().to_owned();
    let hosts = node.crictl_ok(&["exec", "-s", &web, "cat", "/etc/hosts"])?;
    assert!(hosts.lines().any(|line| line.split_whitespace().eq([ip.as_str(), "tut"])), "{ip}: {hosts}");
    let read_only = refused(&node, &["exec", "-s", &web, "touch", "/data/new"])?;
    assert!(
        read_only.contains("exited with 1") && read_only.contains("Read-only file system"),
        "{read_only}"
    );
    let answer = eventually("the page behind the host port", async || Ok(page().ok())).await?;
    assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("the page\n"), "{answer}");

    assert_eq!(node.crictl_ok(&["logs", &side])?, "one\ntwo\nthree");
    assert_eq!(node.crictl_ok(&["logs", "--tail", "2", &side])?, "two\nthree");
    let stamped = node.crictl_ok(&["logs", "-t", "--tail", "1", &side])?;
    assert!(stamped.ends_with("Z three") && stamped.contains('T'), "{stamped}");

    assert_eq!(node.crictl_ok(&["stop", "-t", "0", &side])?, side);
    let ended = json_of(&node, &["inspect", &side])?;
    assert_eq!(ended["status"]["state"], "CONTAINER_EXITED");
    assert_eq!((&ended["status"]["exitCode"], &ended["status"]["reason"]), (&json!(137), &json!("Error")));
    let running = refused(&node, &["rm", &web])?;
    assert!(running.contains("is running, please stop it first"), "{running}");
    assert_eq!(node.crictl_ok(&["rm", &side])?, side);
    node.crictl_ok(&["rm", "-f", &web])?;
    assert_eq!(node.crictl_ok(&["ps", "-aq"])?, "");
    assert_eq!(node.crictl_ok(&["stopp", &pod])?, format!("Stopped sandbox {pod}"));
    assert_eq!(json_of(&node, &["inspectp", &pod])?["status"]["state"], "SANDBOX_NOTREADY");
    assert!(page().is_err(), "the host port still answers");
    assert_eq!(node.crictl_ok(&["rmp", &pod])?, format!("Removed sandbox {pod}"));
    assert_eq!(node.crictl_ok(&["pods", "-q"])?, "");
    node.finish()
}

#[tokio::test]
async fn inspections_tell_what_runs() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let files = Tutorial::write(&node, BUSYBOX)?;
    let [pod, web, side] = files.run(&node)?;
    file_with(&node.path("logs/web.log"), "end").await?;

    let seen = json_of(&node, &["inspect", &web[..8]])?;
    let (status, info) = (&seen["status"], &seen["info"]);
    assert_eq!(status["id"], json!(web));
    assert_eq!(status["state"], "CONTAINER_RUNNING");
    assert_eq!(status["metadata"], json!({ "attempt": 0, "name": "web" }));
    assert_eq!(status["labels"]["tier"], "front");
    assert_eq!(status["logPath"], json!(node.path("logs/web.log")));
    assert_eq!(status["image"]["image"], BUSYBOX);
    assert_eq!(
        (&status["mounts"][0]["containerPath"], &status["mounts"][0]["readonly"]),
        (&json!("/data"), &json!(true))
    );
    assert!(status["createdAt"].as_str() < status["startedAt"].as_str(), "{status}");
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", info["pid"]))?;
    assert!(line.starts_with("httpd\0-f\0"), "{line}");
    assert_eq!(info["runtimeSpec"]["process"]["args"], json!(["/bin/sh", "-c", WEB]));
    assert_eq!((&info["sandboxID"], &info["privileged"]), (&json!(pod), &json!(false)));

    let seen = json_of(&node, &["inspectp", &pod[..8]])?;
    assert_eq!((&seen["status"]["id"], &seen["status"]["state"]), (&json!(pod), &json!("SANDBOX_READY")));
    assert_eq!(seen["status"]["metadata"]["uid"], "tutorial-uid");
    assert_eq!(seen["status"]["labels"], json!({ "app": "tut" }));
    assert_eq!(seen["info"]["runtimeHandler"], "ochre");
    let ip = seen["status"]["network"]["ip"].as_str().unwrap_or_default();
    let addresses = node.crictl_ok(&["exec", "-s", &web, "ip", "-4", "addr", "show", "eth0"])?;
    assert!(!ip.is_empty() && addresses.contains(&format!("inet {ip}/")), "{ip:?}: {addresses}");

    let image = json_of(&node, &["inspecti", BUSYBOX])?;
    assert_eq!(image["status"]["id"], status["imageId"]);
    assert_eq!(image["status"]["repoTags"], json!([BUSYBOX]));
    assert_eq!(status["imageRef"], image["status"]["repoDigests"][0]);
    assert_eq!(image["info"]["imageSpec"]["config"]["Cmd"], json!(["/bin/sh"]));
    assert!(
        image["status"]["size"]
            .as_str()
            .is_some_and(|size| size.parse().is_ok_and(|size: u64| size > 500_000))
    );

    node.crictl_ok(&["update", "--memory", "67108864", "--cpu-share", "512", &web])?;
    let limits = &json_of(&node, &["inspect", &web])?["status"]["resources"]["linux"];
    assert_eq!((&limits["memoryLimitInBytes"], &limits["cpuShares"]), (&json!("67108864"), &json!("512")));
    assert!(!side.is_empty());
    node.crictl_ok(&["rmp", "-f", &pod])?;
    node.finish()
}

#[tokio::test]
async fn tables_and_filters_show_what_is_asked_for() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let files = Tutorial::write(&node, BUSYBOX)?;
    let pod = node.crictl_ok(&["runp", &files.pod])?;
    let web = node.crictl_ok(&["create", &pod, &files.web, &files.pod])?;
    node.crictl_ok(&["start", &web])?;
    let side = node.crictl_ok(&["create", &pod, &files.side, &files.pod])?;

    let pods = table(&node.crictl_ok(&["pods"])?);
    assert_eq!(pods[0].join(","), "POD ID,CREATED,STATE,NAME,NAMESPACE,ATTEMPT,RUNTIME");
    assert_eq!(
        (pods[1][0].as_str(), pods[1][2..].join(",")),
        (&pod[..13], "Ready,tutorial,default,1,(default)".into())
    );
    assert!(pods[1][1].ends_with("ago"), "{pods:?}");
    let all = table(&node.crictl_ok(&["ps", "-a"])?);
    assert_eq!(all[0].join(","), "CONTAINER,IMAGE,CREATED,STATE,NAME,ATTEMPT,POD ID,POD,NAMESPACE");
    // Youngest first. Pod and namespace come from labels that the kubelet sets on containers.
    let side_row =
        [&side[..13], BUSYBOX, &all[1][2], "Created", "side", "3", &pod[..13], "unknown", "unknown"];
    assert_eq!(all[1], side_row);
    assert_eq!(all[2][3..], ["Running", "web", "0", &pod[..13], "tutorial", "default"]);

    let image = node.crictl_ok(&["images", "-q"])?;
    let images = table(&node.crictl_ok(&["images"])?);
    assert_eq!(images[0].join(","), "IMAGE,TAG,IMAGE ID,SIZE");
    assert_eq!(images[1][..3], ["localhost/busybox", "latest", &image[..13]]);
    assert!(images[1][3].ends_with("MB") || images[1][3].ends_with("kB"), "{images:?}");
    assert_eq!(node.crictl_ok(&["images", "-q", BUSYBOX])?, image);
    assert_eq!(node.crictl_ok(&["images", "-q", "localhost/nothing"])?, "");

    let (both, none) = (format!("{side}\n{web}"), String::new());
    for (filter, found) in [
        (&["-q"] as &[&str], &web),
        (&["-aq"], &both),
        (&["-aq", "--name", "^si"], &side),
        (&["-aq", "--name", "nobody"], &none),
        (&["-aq", "--state", "created"], &side),
        (&["-aq", "--state", "running"], &web),
        (&["-aq", "--state", "exited"], &none),
        (&["-aq", "--label", "tier=front"], &web),
        (&["-aq", "--label", "tier=back"], &none),
        (&["-aq", "--pod", &pod[..10]], &both),
        (&["-aq", "--pod", "0000"], &none),
        (&["-aq", "--id", &side[..10]], &side),
        (&["-aq", "--image", BUSYBOX], &both),
        (&["-q", "-l"], &side),
        (&["-q", "-n", "1"], &side),
    ] {
        let arguments: Vec<&str> = ["ps"].iter().chain(filter).copied().collect();
        assert_eq!(&node.crictl_ok(&arguments)?, found, "{arguments:?}");
    }
    for (filter, found) in [
        (&["--name", "^tut"] as &[&str], &pod),
        (&["--name", "other"], &none),
        (&["--state", "ready"], &pod),
        (&["--state", "notready"], &none),
        (&["--label", "app=tut"], &pod),
        (&["--label", "app=other"], &none),
        (&["--namespace", "default"], &pod),
        (&["--id", &pod[..5]], &pod),
        (&["--id", "0000"], &none),
        (&["-l"], &pod),
    ] {
        let arguments: Vec<&str> = ["pods", "-q"].iter().chain(filter).copied().collect();
        assert_eq!(&node.crictl_ok(&arguments)?, found, "{arguments:?}");
    }
    node.crictl_ok(&["rmp", "-fa"])?;
    assert_eq!((node.crictl_ok(&["pods", "-q"])?, node.crictl_ok(&["ps", "-aq"])?), (none.clone(), none));
    assert_eq!(node.crictl_ok(&["rmi", BUSYBOX])?, format!("Deleted: {BUSYBOX}"));
    assert_eq!(node.crictl_ok(&["images", "-q"])?, "");
    node.finish()
}

#[tokio::test]
async fn run_makes_pod_and_container_in_one_step_from_a_registry_mirror() -> anyhow::Result<()> {
    let registry = Registry::start()?;
    registry.push(&busybox()?, "busybox:1.36", "oci")?;
    let node = Node::prepared("", |directory| {
        registry.write_conf(&directory.join("registries.conf"), "registry.k8s.io")
    })
    .await?;
    let image = "registry.k8s.io/busybox:1.36";
    let files = Tutorial::write(&node, image)?;
    let missing = refused(&node, &["run", "--no-pull", &files.web, &files.pod])?;
    assert!(missing.contains(image) && missing.contains("NotFound"), "{missing}");
    node.crictl_ok(&["rmp", "-fa"])?;

    let web = node.crictl_ok(&["run", "--with-pull", &files.web, &files.pod])?;
    file_with(&node.path("logs/web.log"), "end").await?;
    let images = table(&node.crictl_ok(&["images", image])?);
    assert!(images.iter().any(|row| row[..2] == ["registry.k8s.io/busybox", "1.36"]), "{images:?}");
    assert_eq!(json_of(&node, &["inspect", &web])?["status"]["state"], "CONTAINER_RUNNING");
    node.crictl_ok(&["rmp", "-fa"])?;

    let again = node.crictl_ok(&["run", "--no-pull", &files.web, &files.pod])?;
    assert_ne!(again, web);
    assert_eq!(node.crictl_ok(&["ps", "-q"])?, again);
    node.crictl_ok(&["rmp", "-fa"])?;
    node.finish()
}

#[tokio::test]
async fn the_node_says_how_it_is() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let files = Tutorial::write(&node, BUSYBOX)?;
    let [pod, web, _] = files.run(&node)?;

    let version = node.crictl_ok(&["version"])?;
    let own = ochre_e2e::run(&ochre_e2e::programs().join("ochre").to_string_lossy(), &["version"])?;
    let own = own.trim().strip_prefix("ochre ").unwrap_or_default();
    assert_eq!(
        version.split_whitespace().collect::<Vec<_>>().join(" "),
        format!("Version: 0.1.0 RuntimeName: ochre RuntimeVersion: {own} RuntimeApiVersion: v1")
    );
    assert_eq!(table(&node.crictl_ok(&["runtime-config"])?)[0], ["cgroup driver:", "CGROUPFS"]);

    let info = json_of(&node, &["info"])?;
    let conditions = info["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready: Vec<_> =
        conditions.iter().map(|c| (c["type"].as_str().unwrap_or_default(), &c["status"])).collect();
    assert_eq!(ready, [("RuntimeReady", &json!(true)), ("NetworkReady", &json!(true))]);
    let handlers: Vec<_> = info["runtimeHandlers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|h| h["name"].as_str().unwrap_or_default())
        .collect();
    assert!(["", "ochre", "runc", "crun"].iter().all(|name| handlers.contains(name)), "{handlers:?}");
    // The configuration reads as JSON, option by option.
    assert_eq!(info["config"]["crio"]["root"], json!(node.path("root")));
    assert_eq!(info["config"]["crio"]["runtime"]["default_runtime"], "ochre");
    assert_eq!(info["config"]["network"]["ready"], true);

    let size = eventually("the size of the imported image", async || {
        let usage = json_of(&node, &["imagefsinfo"])?;
        let image = usage["status"]["imageFilesystems"][0].clone();
        assert_eq!(image["fsId"]["mountpoint"], json!(node.path("root/overlay-images")));
        assert!(image.get("inodesUsed").is_none_or(|inodes| inodes["value"] != "0"), "{image}");
        let bytes: u64 = image["usedBytes"]["value"].as_str().unwrap_or_default().parse()?;
        Ok(Some(bytes).filter(|bytes| *bytes > 0))
    })
    .await?;
    let image: u64 =
        json_of(&node, &["inspecti", BUSYBOX])?["status"]["size"].as_str().unwrap_or_default().parse()?;
    assert!((image / 2..image * 3).contains(&size), "{size} bytes in use, {image} of the image");

    let stats = node.crictl_ok(&["stats", &web])?;
    let stats = table(stats.trim_start_matches("\u{1b}[2J\u{1b}[H"));
    assert_eq!(stats[0].join(","), "CONTAINER,NAME,CPU %,MEM,DISK,INODES,SWAP");
    assert_eq!(stats[1][..2], [&web[..13], "web"]);
    assert!(stats[1][2].parse::<f64>().is_ok() && stats[1][3] != "0B", "{stats:?}");
    let pods = node.crictl_ok(&["statsp"])?;
    let pods = table(pods.trim_start_matches("\u{1b}[2J\u{1b}[H"));
    assert_eq!(pods[0].join(","), "POD,POD ID,CPU %,MEM");
    assert_eq!(pods[1][..2], ["tutorial", &pod[..13]]);
    assert_ne!(pods[1][3], "0B");
    node.crictl_ok(&["rmp", "-fa"])?;
    node.finish()
}

#[tokio::test]
async fn what_does_not_exist_is_named() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let files = Tutorial::write(&node, BUSYBOX)?;
    files.run(&node)?;
    for (arguments, wanted) in [
        (&["exec", "nope", "true"] as &[&str], "container \"nope\" does not exist"),
        (&["attach", "nope"], "container \"nope\" does not exist"),
        (&["port-forward", "nope", "8080:8080"], "pod \"nope\" does not exist"),
    ] {
        let said = refused(&node, arguments)?;
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    for (arguments, wanted) in [
        (["inspect", "nope"], "container \"nope\" does not exist"),
        (["inspectp", "nope"], "pod \"nope\" does not exist"),
        (["inspecti", "nope"], "no such image \"nope\""),
        (["rmi", "nope"], "no such image nope"),
        (["rm", "nope"], "container \"nope\" does not exist"),
        (["rmp", "nope"], "pod \"nope\" does not exist"),
        (["logs", "nope"], "container \"nope\" does not exist"),
    ] {
        let said = refused(&node, &arguments)?;
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    node.crictl_ok(&["rmp", "-fa"])?;
    node.finish()
}
