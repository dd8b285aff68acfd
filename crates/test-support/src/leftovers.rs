//! What an engine has left on the node below its private directory: processes, mounts, cgroups, namespaces.

use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

/// Everything that still names `directory`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Monitors whose command line names it, and processes whose root or program lies in it: (pid, command line).
    pub processes: Vec<(i32, String)>,
    /// Mount points below it.
    pub mounts: Vec<PathBuf>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty()
    }
}

/// Looks for what is left.
pub fn find(directory: &Path) -> Leftovers {
    Leftovers { processes: processes(directory), mounts: mounts(directory) }
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
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn processes(directory: &Path) -> Vec<(i32, String)> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let names = line.windows(needle.len()).any(|window| window == needle) && is_ours(&line);
        let rooted =
            std::fs::read_link(entry.path().join("root")).is_ok_and(|root| root.starts_with(directory));
        if (names || rooted) && u32::try_from(pid) != Ok(own) {
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
