//! What an engine has left on the node below its private directory: processes, mounts, cgroups, namespaces.

use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

/// Everything that still names `directory`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Programs of the engine whose command line names it, and processes in its containers' groups: (pid, command line).
    pub processes: Vec<(i32, String)>,
    /// Mount points below it.
    pub mounts: Vec<PathBuf>,
    /// Control groups of its containers.
    pub cgroups: Vec<PathBuf>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.cgroups.is_empty()
    }

    /// Whether all that is left is scopes of monitors that have ended: systemd removes those in its own time.
    pub fn only_scopes_of_monitors(&self) -> bool {
        let scope = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crio-conmon-"))
        };
        !self.is_empty()
            && self.processes.is_empty()
            && self.mounts.is_empty()
            && self.cgroups.iter().all(scope)
    }
}

/// The file in the engine's directory that holds ids of its pods and containers, one a line: what has them in the name
/// of its control group is the engine's, wherever else it looks like.
pub const IDS: &str = "ids";

/// Looks for what is left.
pub fn find(directory: &Path) -> Leftovers {
    let ids = ids(directory);
    Leftovers {
        processes: processes(directory, &ids),
        mounts: mounts(directory),
        cgroups: cgroups(Path::new("/sys/fs/cgroup"), &ids, 0),
    }
}

/// The ids that are on file, and those that bundles are named after.
fn ids(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join(IDS)).unwrap_or_default();
    let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
    let names = |path: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let pods = directory.join("run/ochre/pods");
    for pod in names(&pods) {
        ids.extend(names(&pods.join(&pod)));
        ids.push(pod);
    }
    ids.retain(|id| id.len() == 64);
    ids
}

/// Groups with one of the ids in their name, the deepest first.
fn cgroups(directory: &Path, ids: &[String], depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth > 8 || ids.is_empty() {
        return found;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // A hierarchy that is linked under a second name would be found twice.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(cgroups(&entry.path(), ids, depth + 1));
            let name = entry.file_name().to_string_lossy().into_owned();
            if ids.iter().any(|id| name.contains(id.as_str())) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Ends the processes and takes the mounts away, for the next run's sake.
pub fn sweep(directory: &Path) {
    for _ in 0..50 {
        let left = find(directory);
        if left.is_empty() {
            return;
        }
        for (pid, _) in &left.processes {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        for mount in left.mounts.iter().rev() {
            rustix::mount::unmount(mount.as_path(), UnmountFlags::DETACH).ok();
        }
        for group in &left.cgroups {
            // Busy until the last process is gone; the next round tries again.
            std::fs::remove_dir(group).ok();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn processes(directory: &Path, ids: &[String]) -> Vec<(i32, String)> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let names = line.windows(needle.len()).any(|window| window == needle) && is_ours(&line);
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let contained = ids.iter().any(|id| groups.contains(id.as_str()));
        if (names || contained) && u32::try_from(pid) != Ok(own) {
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// A test runner or shell that merely mentions the directory is not the engine's.
fn is_ours(line: &[u8]) -> bool {
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    [&b"ochre"[..], b"ochre-monitor", b"ochre-runtime", b"runc", b"crun"].contains(&name)
}

fn mounts(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // mountinfo field 5 is the mount point, with blanks as \040 (proc_pid_mountinfo(5)).
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(directory))
        .collect()
}
