//! A bundle, its control group and the program under test.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use serde_json::{Value, json};

const RUNTIME: &str = env!("CARGO_BIN_EXE_ochre-runtime");
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// A container that does not exist yet, and everything around it.
pub(crate) struct Bundle {
    directory: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) config: Value,
    streams: Option<(OwnedFd, OwnedFd)>,
    pid: i32,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl Bundle {
    pub(crate) fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Orphaned containers come to this process, as they come to a monitor.
        rustix::process::set_child_subreaper(Pid::from_raw(1)).unwrap();
        let directory = tempfile::Builder::new().prefix("ochre-life-").tempdir().unwrap();
        let rootfs = directory.path().join("bundle/rootfs");
        for name in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        let busybox =
            BUSYBOX.iter().find(|path| Path::new(path).exists()).expect("busybox-static is installed");
        fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
        for applet in
            ["sh", "cat", "ls", "id", "sleep", "mkdir", "mount", "touch", "stty", "tty", "hostname", "kill"]
        {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let id = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let config = default_config(&id, script);
        Self { directory, id, config, streams: None, pid: 0 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.path().join("bundle/rootfs")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RUNTIME);
        command.arg("--root").arg(self.directory.path().join("state"));
        command.arg("--log").arg(self.directory.path().join("log")).args(["--log-format", "json"]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Creates the container; its output goes to a pipe.
    pub(crate) fn create(&mut self) -> Result<(), String> {
        self.create_with(&[])
    }

    pub(crate) fn create_with(&mut self, options: &[&str]) -> Result<(), String> {
        let bundle = self.directory.path().join("bundle");
        fs::write(bundle.join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let pid_file = self.directory.path().join("pid");
        let errors = self.directory.path().join("errors");
        let mut command = self.command(&["create"]);
        command.arg("--bundle").arg(&bundle).arg("--pid-file").arg(&pid_file).args(options).arg(&self.id);
        command.stdout(write.try_clone().unwrap()).stderr(fs::File::create(&errors).unwrap());
        let status = command.status().unwrap();
        if !status.success() {
            return Err(fs::read_to_string(errors).unwrap());
        }
        self.pid = fs::read_to_string(pid_file).unwrap().parse().unwrap();
        self.streams = Some((read, write));
        Ok(())
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn start(&self) {
        self.ok(&["start", &self.id]);
    }

    /// Waits for the end of the first process and takes its output.
    pub(crate) fn wait(&mut self) -> Ended {
        let code = wait_for(self.pid);
        let Some((read, write)) = self.streams.take() else { return Ended { code, output: String::new() } };
        drop(write);
        let mut output = String::new();
        fs::File::from(read).read_to_string(&mut output).unwrap();
        Ended { code, output }
    }

    pub(crate) fn run_to_end(&mut self) -> Ended {
        self.create().unwrap();
        self.start();
        let ended = self.wait();
        self.ok(&["delete", &self.id]);
        ended
    }

    pub(crate) fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Runs a script in the container and waits for it.
    pub(crate) fn exec(&self, script: &str) -> (i32, String) {
        let mut process = self.config["process"].clone();
        process["args"] = json!(["sh", "-c", script]);
        self.exec_process(&process)
    }

    pub(crate) fn exec_process(&self, process: &Value) -> (i32, String) {
        let file = self.directory.path().join("process.json");
        fs::write(&file, serde_json::to_vec(process).unwrap()).unwrap();
        let output = self.run(&["exec", "--process", file.to_str().unwrap(), &self.id]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }

    /// A parent of its own, since parents are made and never removed by a runtime.
    fn parent_group(&self) -> String {
        format!("ochre-life-{}", self.id)
    }

    /// Directories of the container's control groups that exist.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/sys/fs/cgroup").join(self.parent_group()).join("group")];
        for entry in fs::read_dir("/sys/fs/cgroup").unwrap() {
            found.push(entry.unwrap().path().join(self.parent_group()).join("group"));
        }
        found.retain(|path| path.exists());
        found
    }

    /// A file of a controller's group, wherever the machine has it.
    pub(crate) fn group_file(&self, controller: &str, v1: &str, v2: &str) -> String {
        let unified = PathBuf::from("/sys/fs/cgroup").join(self.parent_group()).join("group").join(v2);
        let separate =
            PathBuf::from("/sys/fs/cgroup").join(controller).join(self.parent_group()).join("group").join(v1);
        let path = if unified.exists() { unified } else { separate };
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether any mount of this machine lies below the test's directory.
    pub(crate) fn mounts_left(&self) -> bool {
        let place = self.directory.path().to_str().unwrap();
        fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|line| line.contains(place))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let output = self.run(&["delete", "--force", &self.id]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("delete: {}", String::from_utf8_lossy(&output.stderr));
        }
        if self.pid > 0 && self.streams.is_some() && !std::thread::panicking() {
            wait_for(self.pid);
        }
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            drop(fs::remove_dir(entry.path().join(self.parent_group())));
        }
        drop(fs::remove_dir(Path::new("/sys/fs/cgroup").join(self.parent_group())));
    }
}

pub(crate) fn wait_for(pid: i32) -> i32 {
    let pid = Pid::from_raw(pid).unwrap();
    // The runtime has ended, so the process is a child of this one now; the descriptor bounds the wait.
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return -1 };
    let limit = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut poll, Some(&limit)), Ok(1), "process {pid:?} did not end");
    match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
        Ok(Some(status)) => {
            status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap()
        }
        _ => -1,
    }
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn default_config(id: &str, script: &str) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_KILL"]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "inside",
        "process": {
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/ochre-life-{id}/group"),
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}],
            "maskedPaths": ["/proc/keys", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"]
        }
    })
}
