//! One monitor with its directory, and bundles to run in it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ochre_monitor_api::client::{Created, Event, Events, LaunchOptions, Monitor};
use ochre_monitor_api::mark;
use ochre_monitor_api::{Create, Descriptors, Exec, RuntimeCommand, Snapshot, StdinMode, Stdio};
use ochre_types::{ContainerId, ExecId, Exit};
use serde_json::{Value, json};

/// Long enough for a busy machine; nothing waits this long when all is well.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Pod {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) monitor: Monitor,
    pub(crate) events: Events,
    containers: Vec<ContainerId>,
    monitors: Vec<i32>,
}

/// A container to be made.
pub(crate) struct Spec {
    pub(crate) create: Create,
    pub(crate) config: Value,
}

impl Pod {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ochre-monitor-").tempdir().unwrap();
        for sub in ["root/bin", "root/proc", "root/dev", "exits", "logs"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", dir.path().join("root/bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "cat", "echo", "stty", "head", "tail", "true", "setsid", "yes"] {
            symlink("busybox", dir.path().join("root/bin").join(applet)).unwrap();
        }
        let (monitor, snapshot, events) = launch(dir.path()).await;
        assert!(snapshot.containers.is_empty());
        let monitors = vec![monitor.pid()];
        Self { dir, monitor, events, containers: Vec::new(), monitors }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container that runs a shell script.
    pub(crate) fn spec(&self, script: &str) -> Spec {
        let id = ContainerId::generate();
        let mounts = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ]);
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": self.path("root"), "readonly": true},
            "process": process(&["/bin/sh", "-c", script]),
            "mounts": mounts,
            "linux": {
                "cgroupsPath": format!("/ochre-monitor-test-{}", id.short()),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            },
        });
        let create = Create {
            runtime: RuntimeCommand {
                path: "/usr/sbin/runc".into(),
                root: self.path("runc"),
                systemd_cgroup: false,
            },
            bundle: self.path(id.short()),
            stdio: Stdio { terminal: false, stdin: StdinMode::Closed },
            log_path: Some(self.path("logs").join(id.short())),
            exit_dir: Some(self.path("exits")),
            timeout: LONG,
            id,
        };
        Spec { create, config }
    }

    /// Writes the bundle and creates the container.
    pub(crate) async fn create(&mut self, spec: &Spec) -> Result<Created, ochre_monitor_api::client::Error> {
        std::fs::create_dir_all(&spec.create.bundle).unwrap();
        let mut config = spec.config.clone();
        config["process"]["terminal"] = spec.create.stdio.terminal.into();
        std::fs::write(spec.create.bundle.join("config.json"), config.to_string()).unwrap();
        self.containers.push(spec.create.id.clone());
        self.monitor.create(spec.create.clone()).await
    }

    /// Creates and starts a container that runs a script.
    pub(crate) async fn run(&mut self, script: &str) -> (Spec, Created) {
        let spec = self.spec(script);
        let created = self.run_spec(&spec).await;
        (spec, created)
    }

    pub(crate) async fn run_spec(&mut self, spec: &Spec) -> Created {
        let created = self.create(spec).await.unwrap();
        self.monitor.start(&spec.create.id).await.unwrap();
        created
    }

    /// Waits for a container to exit.
    pub(crate) async fn exit(&mut self, id: &ContainerId) -> Exit {
        loop {
            match tokio::time::timeout(LONG, self.events.next()).await.expect("an exit event") {
                Some(Event::Exited { id: exited, exit }) if exited == *id => return exit,
                Some(Event::Disconnected) | None => panic!("the monitor is gone"),
                _ => {}
            }
        }
    }

    /// The content of a container's log: stream, tag and text of each record.
    pub(crate) fn log(&self, id: &ContainerId) -> Vec<(String, String, String)> {
        records(&self.path("logs").join(id.short()))
    }

    /// Waits until the text of a container's log contains something.
    pub(crate) async fn log_contains(&self, id: &ContainerId, text: &str) {
        eventually(&format!("{text} in the log"), || {
            self.log(id).iter().any(|record| record.2.contains(text))
        })
        .await;
    }

    /// Kills the monitor as hard as possible and starts another in its place.
    pub(crate) async fn replace_monitor(&mut self) -> Snapshot {
        kill(self.monitor.pid());
        assert!(matches!(self.events.next().await, Some(Event::Disconnected)));
        assert!(self.events.next().await.is_none());
        assert!(Monitor::connect(&self.path("monitor.sock")).await.is_err());
        let (monitor, snapshot, events) = launch(self.dir.path()).await;
        self.monitors.push(monitor.pid());
        (self.monitor, self.events) = (monitor, events);
        snapshot
    }

    /// Comes back like a daemon that was restarted.
    pub(crate) async fn reconnect(&mut self) -> Snapshot {
        let (monitor, snapshot, events) = Monitor::connect(&self.path("monitor.sock")).await.unwrap();
        (self.monitor, self.events) = (monitor, events);
        snapshot
    }

    /// A runtime made of a shell script. `$verb` is the command, `$pid_file` the argument of `--pid-file`, `$log` that of
    /// `--log`.
    pub(crate) fn fake_runtime(&self, script: &str) -> RuntimeCommand {
        let path = self.path("fake-runtime");
        let head = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --root|--bundle|--log-format|--process|--console-socket) shift ;;
    --log) log=$2; shift ;;
    --pid-file) pid_file=$2; shift ;;
    create|start|delete|exec|kill|update) verb=$1 ;;
  esac
  shift
done
"#;
        std::fs::write(&path, format!("{head}echo $verb >> {}\n{script}\n", self.path("calls").display()))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        RuntimeCommand { path, root: self.path("fake"), systemd_cgroup: false }
    }

    /// The commands a fake runtime was called with.
    pub(crate) fn calls(&self) -> String {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default().replace('\n', " ").trim().to_owned()
    }
}

async fn launch(dir: &Path) -> (Monitor, Snapshot, Events) {
    let options = LaunchOptions {
        binary: env!("CARGO_BIN_EXE_ochre-monitor").into(),
        dir: dir.to_owned(),
        oom_score_adj: Some(-999),
    };
    Monitor::launch(options).await.unwrap()
}

impl Drop for Pod {
    fn drop(&mut self) {
        for pid in &self.monitors {
            kill(*pid);
        }
        for id in &self.containers {
            let root = self.path("runc");
            Command::new("/usr/sbin/runc")
                .arg("--root")
                .arg(root)
                .args(["delete", "--force", id.as_str()])
                .output()
                .ok();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.path("monitor.log")).unwrap_or_default());
        }
    }
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

pub(crate) fn process(args: &[&str]) -> Value {
    json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true})
}

/// An exec of a shell script without a terminal.
pub(crate) fn exec(id: &ContainerId, script: &str, timeout: Option<Duration>) -> Exec {
    let exec_id = ExecId::generate();
    let mut process = process(&["/bin/sh", "-c", script]);
    let mark = mark::of(&exec_id);
    process["rlimits"] = json!([{"type": mark::LIMIT, "soft": mark, "hard": mark}]);
    Exec { id: id.clone(), exec_id, process_json: process.to_string().into_bytes(), terminal: false, timeout }
}

/// A pipe for an exec's or attachment's stdout: the reading end and the descriptors to pass.
pub(crate) fn stdout_pipe() -> (std::fs::File, Descriptors) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), Descriptors { stdout: Some(writer.into()), ..Descriptors::default() })
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn records(path: &Path) -> Vec<(String, String, String)> {
    let content = std::fs::read(path).unwrap();
    String::from_utf8(content)
        .unwrap()
        .split_inclusive('\n')
        .map(|line| {
            let mut fields = line.strip_suffix('\n').expect("a whole record").splitn(4, ' ');
            assert_eq!(fields.next().unwrap().len(), 30, "{line}");
            let mut field = || fields.next().unwrap().to_owned();
            (field(), field(), field())
        })
        .collect()
}

pub(crate) fn record(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.into(), tag.into(), text.into())
}

/// Processes (not zombies) whose command line contains a text.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id().cast_signed();
    let matches = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    pids.filter(matches).collect()
}
