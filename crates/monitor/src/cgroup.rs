//! Where the kernel keeps a container's control group: v2, v1, or a mixture, with mount roots taken into account.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::process;

/// Longest line of the kernel's tables that is looked at.
const LONGEST: u64 = 16 * 1024;
/// Groups below a container's that are walked.
const MAX_GROUPS: usize = 1000;

/// The mounted hierarchies that matter here. They do not change while a node runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    unified: Option<Mount>,
    memory: Option<Mount>,
    pids: Option<Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The group that is visible at `point`.
    root: String,
    point: PathBuf,
}

/// A container's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Where memory is accounted.
    pub(crate) memory: Option<Memory>,
    /// Where all processes of the container can be found, if it has a group of its own.
    pub(crate) members: Option<PathBuf>,
}

/// A memory group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    V1(PathBuf),
    V2(PathBuf),
}

impl Hierarchies {
    /// Reads this process's mount table.
    pub(crate) fn read() -> io::Result<Self> {
        let mut found = Self::default();
        each_line("/proc/self/mountinfo", |line| found.note(line))?;
        Ok(found)
    }

    /// One line of mountinfo (proc_pid_mountinfo(5)).
    fn note(&mut self, line: &str) {
        let Some((left, right)) = line.split_once(" - ") else { return };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (left.next(), left.next()) else { return };
        let mut right = right.split(' ');
        let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
        let slot = match kind {
            Some("cgroup2") => &mut self.unified,
            Some("cgroup") if options.split(',').any(|option| option == "memory") => &mut self.memory,
            Some("cgroup") if options.split(',').any(|option| option == "pids") => &mut self.pids,
            _ => return,
        };
        // Escaped blanks do not occur in the places where cgroups are mounted.
        slot.get_or_insert_with(|| Mount { root: root.to_owned(), point: point.into() });
    }

    /// The groups of a living process, and `None` for what it shares with this process.
    pub(crate) fn of(&self, pid: i32) -> io::Result<Cgroup> {
        let (theirs, ours) = (memberships(&pid.to_string())?, memberships("self")?);
        Ok(self.choose(&theirs, &ours))
    }

    fn choose(&self, theirs: &Memberships, ours: &Memberships) -> Cgroup {
        let below = |mount: &Option<Mount>, path: &Option<String>, our: &Option<String>| {
            if path == our { None } else { mount.as_ref()?.resolve(path.as_deref()?) }
        };
        let unified = below(&self.unified, &theirs.unified, &ours.unified);
        let memory = below(&self.memory, &theirs.memory, &ours.memory);
        let pids = below(&self.pids, &theirs.pids, &ours.pids);
        Cgroup {
            members: memory.clone().or(pids).or_else(|| unified.clone()),
            memory: memory.map(Memory::V1).or(unified.map(Memory::V2)),
        }
    }
}

impl Mount {
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let relative = if self.root == "/" { path } else { path.strip_prefix(self.root.as_str())? };
        if !relative.is_empty() && !relative.starts_with('/') {
            return None;
        }
        // A group outside our cgroup namespace is shown as `/..`.
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        Some(self.point.join(relative.trim_start_matches('/')))
    }
}

#[derive(Debug, Default)]
struct Memberships {
    unified: Option<String>,
    memory: Option<String>,
    pids: Option<String>,
}

impl Memberships {
    /// One line of `/proc/<pid>/cgroup`: `number:controllers:path`.
    fn note(&mut self, line: &str) {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let slot = match controllers {
            "" if number == "0" => &mut self.unified,
            list if list.split(',').any(|name| name == "memory") => &mut self.memory,
            list if list.split(',').any(|name| name == "pids") => &mut self.pids,
            _ => return,
        };
        *slot = Some(path.to_owned());
    }
}

fn memberships(pid: &str) -> io::Result<Memberships> {
    let mut found = Memberships::default();
    each_line(&format!("/proc/{pid}/cgroup"), |line| found.note(line))?;
    Ok(found)
}

fn each_line(path: &str, mut note: impl FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(4096, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if Read::take(&mut reader, LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(text) = std::str::from_utf8(&line) {
            note(text.trim_end_matches('\n'));
        }
    }
}

impl Cgroup {
    /// The processes of the group and of all groups below it, without this process.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Some(top) = &self.members else { return Vec::new() };
        let mut found = Vec::new();
        let mut groups = vec![top.clone()];
        let mut walked = 0;
        while let Some(group) = groups.pop() {
            walked += 1;
            found.extend(pids(&group.join("cgroup.procs")));
            let Ok(entries) = std::fs::read_dir(&group) else { continue };
            let directories =
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            groups.extend(
                directories.map(|entry| entry.path()).take(MAX_GROUPS.saturating_sub(walked + groups.len())),
            );
        }
        let own = process::own_pid();
        found.retain(|pid| *pid > 1 && *pid != own);
        found
    }

    /// Sends a signal to every process of the group. Repeated for SIGKILL until no process is new, because a process may
    /// be forking; the kernel's own `cgroup.kill` (Linux 5.14, v2) does it at once.
    pub(crate) fn signal(&self, signal: i32) {
        let kill = signal == rustix::process::Signal::KILL.as_raw();
        if kill
            && let Some(members) = &self.members
            && std::fs::write(members.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        let mut seen = Vec::new();
        loop {
            let mut found = self.processes();
            found.retain(|pid| !seen.contains(pid));
            for pid in &found {
                process::signal(*pid, signal);
            }
            if found.is_empty() || !kill {
                return;
            }
            seen.extend(found);
        }
    }
}

fn pids(path: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    if let Some(path) = path.to_str() {
        // A group that is gone has no processes.
        each_line(path, |line| found.extend(line.parse::<i32>())).ok();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(table: &str, theirs: &str, ours: &str) -> Cgroup {
        let mut hierarchies = Hierarchies::default();
        table.lines().for_each(|line| hierarchies.note(line));
        let parse = |text: &str| {
            let mut found = Memberships::default();
            text.lines().for_each(|line| found.note(line));
            found
        };
        hierarchies.choose(&parse(theirs), &parse(ours))
    }

    const V1: &str = "34 31 0:31 / /cg/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids
41 31 0:38 / /cg/unified rw shared:3 - cgroup2 cgroup2 rw";

    #[test]
    fn the_accounting_group_is_found_in_every_arrangement() {
        let v2 = "30 23 0:26 / /cg rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let nested = "30 23 0:26 /box /cg rw - cgroup2 cgroup2 rw";
        let memory = |path: &str| PathBuf::from(path);
        for (table, theirs, memory_group, members) in [
            (v2, "0::/pods/c", Some(Memory::V2(memory("/cg/pods/c"))), Some("/cg/pods/c")),
            (nested, "0::/box/c", Some(Memory::V2(memory("/cg/c"))), Some("/cg/c")),
            (nested, "0::/boxes/c", None, None),
            (
                V1,
                "4:memory:/c\n8:pids:/c\n0::/",
                Some(Memory::V1(memory("/cg/memory/c"))),
                Some("/cg/memory/c"),
            ),
            (V1, "4:memory:/\n8:pids:/c\n0::/", None, Some("/cg/pids/c")),
            (
                V1,
                "4:memory:/\n8:pids:/\n0::/c",
                Some(Memory::V2(memory("/cg/unified/c"))),
                Some("/cg/unified/c"),
            ),
            (V1, "4:memory:/\n8:pids:/\n0::/", None, None),
            (v2, "0::/../other", None, None),
            ("", "0::/pods/c", None, None),
            (v2, "garbage\n::\n", None, None),
        ] {
            let found = groups(table, theirs, "4:memory:/\n8:pids:/\n0::/");
            let members = members.map(PathBuf::from);
            assert_eq!(found, Cgroup { memory: memory_group, members }, "{theirs}");
        }
    }

    #[test]
    fn a_group_shared_with_the_monitor_is_nobodys() {
        assert_eq!(
            groups(V1, "4:memory:/own\n0::/", "4:memory:/own\n0::/"),
            Cgroup { memory: None, members: None }
        );
    }

    #[test]
    fn this_machine_has_hierarchies_and_they_resolve() {
        let hierarchies = Hierarchies::read().unwrap();
        assert!(hierarchies.unified.is_some() || hierarchies.memory.is_some());
        assert_eq!(hierarchies.of(process::own_pid()).unwrap(), Cgroup { memory: None, members: None });
    }
}
