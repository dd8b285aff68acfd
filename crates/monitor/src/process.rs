//! Processes as `/proc` shows them, and ending a whole tree of them.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};

/// Passes over the process table before a tree that keeps growing is killed as it is.
const PASSES: usize = 32;

/// Some fields of `/proc/<pid>/stat` (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) start_time: u64,
    /// The wait status of a zombie.
    pub(crate) status: Option<i32>,
}

/// How the line of `/proc/<pid>/limits` begins that holds the mark of an exec (`ochre_monitor_api::mark`).
const MARKED: &[u8] = b"Max file locks ";

pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// `None` if there is no such process.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let mut content = [0u8; 1024];
    let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let read = file.read(&mut content).ok()?;
    parse(content.get(..read)?)
}

fn parse(content: &[u8]) -> Option<Stat> {
    // The second field is the program's own choice and may contain anything, even parentheses.
    let end = content.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(content.get(end + 2..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    let status = fields.nth(29).and_then(|status| status.parse().ok()).filter(|_| state == b'Z');
    Some(Stat { state, parent, session, start_time, status })
}

/// The mark of the exec that a process comes from. `None` for processes that come from none.
fn mark(pid: i32) -> Option<u64> {
    let mut content = [0u8; 2048];
    let mut file = std::fs::File::open(format!("/proc/{pid}/limits")).ok()?;
    let read = file.read(&mut content).ok()?;
    parse_mark(content.get(..read)?)
}

fn parse_mark(limits: &[u8]) -> Option<u64> {
    let line = limits.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(MARKED))?;
    // The soft limit is anybody's to lower; the hard one comes second.
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal through a pidfd; a process that is gone is fine.
pub(crate) fn signal(pid: i32, signal: i32) {
    if let Some(pidfd) = open(pid) {
        ochre_sys::pidfd::send_signal(pidfd, signal).ok();
    }
}

/// A process descriptor; `None` if there is no such process.
pub(crate) fn open(pid: i32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Which processes belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The first of them; `None` once its pid is free for others.
    pub(crate) root: Option<i32>,
    /// A session that is theirs alone.
    pub(crate) session: Option<i32>,
    /// A mark that only they have.
    pub(crate) mark: Option<u64>,
}

/// A process that may belong to a tree.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    pid: i32,
    stat: Stat,
    mark: Option<u64>,
}

impl Tree {
    /// Kills the root, its descendants, everybody in the session and everybody with the mark, as far as they are among the
    /// `candidates` (by default all processes of the machine). Everyone found is stopped first, so that nobody forks while
    /// the others are looked for.
    ///
    /// A process that has left the session and, by its parent's death, also the tree is known by the mark alone.
    pub(crate) fn kill(self, candidates: Option<&dyn Fn() -> Vec<i32>>) {
        let mut stopped = BTreeSet::new();
        for _ in 0..PASSES {
            let mut listed = candidates.map_or_else(all_pids, |candidates| candidates());
            listed.extend(self.root);
            let candidate = |pid| {
                let mark = self.mark.and_then(|_| mark(pid));
                Some(Candidate { pid, stat: stat(pid)?, mark })
            };
            let table: Vec<Candidate> = listed.into_iter().filter_map(candidate).collect();
            let fresh: Vec<i32> =
                self.members(&table).into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                signal(pid, Signal::STOP.as_raw());
                stopped.insert(pid);
            }
        }
        for pid in &stopped {
            signal(*pid, Signal::KILL.as_raw());
        }
    }

    /// The living processes of a table that belong to the tree. PID 1, kernel threads' parent and this process never do.
    fn members(self, table: &[Candidate]) -> BTreeSet<i32> {
        let own = own_pid();
        let never = |pid: i32| pid <= 2 || pid == own;
        let mut found: BTreeSet<i32> = self.root.into_iter().filter(|pid| !never(*pid)).collect();
        let session = self.session.filter(|session| *session > 2);
        loop {
            let before = found.len();
            for Candidate { pid, stat, mark } in table {
                let marked = mark.is_some() && *mark == self.mark;
                if !never(*pid) && (found.contains(&stat.parent) || session == Some(stat.session) || marked) {
                    found.insert(*pid);
                }
            }
            if found.len() == before {
                break;
            }
        }
        let alive = |stat: &Stat| !matches!(stat.state, b'Z' | b'X');
        let living = table.iter().filter(|each| found.contains(&each.pid) && alive(&each.stat));
        living.map(|each| each.pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_program_name() {
        let tail = b" S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        let expected = Some(Stat { state: b'S', parent: 7, session: 9, start_time: 4711, status: None });
        for name in [&b"(sh)"[..], b"(a b) R 1 (x))", b"(\xff)"] {
            assert_eq!(parse(&[b"5 ", name, tail].concat()), expected);
        }
        let zombie =
            format!("5 (sh) Z 7 8 9 {} 4711 {} 10752", "0 ".repeat(15).trim(), "0 ".repeat(29).trim());
        assert_eq!(parse(zombie.as_bytes()).unwrap().status, Some(42 << 8));
        for end in 0..30 {
            assert_eq!(parse(&b"5 (sh) S 7 8 9 0 -1 4194560 1 0 0 0"[..end]), None);
        }
        assert_eq!(
            stat(own_pid()).unwrap().parent,
            rustix::process::getppid().unwrap().as_raw_nonzero().get()
        );
    }

    #[test]
    fn a_mark_is_the_hard_limit_of_file_locks() {
        let table = |line: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax pending signals  7  8  signals\n{line}\n")
        };
        for (line, mark) in [
            ("Max file locks            12                   4711                 locks", Some(4711)),
            ("Max file locks            unlimited            unlimited            locks", None),
            ("Max file locks", None),
            ("Max file size             12                   4711                 bytes", None),
        ] {
            assert_eq!(parse_mark(table(line).as_bytes()), mark, "{line}");
        }
        assert_eq!(parse_mark(b""), None);
    }

    #[test]
    fn a_tree_is_its_descendants_its_session_and_its_mark() {
        let entry = |pid, parent, session, state| Candidate {
            pid,
            stat: Stat { state, parent, session, start_time: 0, status: None },
            mark: None,
        };
        let table = [
            entry(10, 5, 10, b'S'),
            entry(12, 11, 12, b'S'),
            entry(11, 10, 10, b'S'),
            entry(13, 2, 10, b'S'),
            entry(14, 13, 14, b'S'),
            entry(15, 10, 10, b'Z'),
            entry(16, 2, 16, b'S'),
            Candidate { mark: Some(5), ..entry(17, 2, 17, b'S') },
            entry(18, 17, 18, b'S'),
            Candidate { mark: Some(6), ..entry(19, 2, 19, b'S') },
        ];
        let members = |root, session| Tree { root, session, mark: None }.members(&table);
        let marked = Tree { root: Some(11), session: None, mark: Some(5) };
        assert_eq!(marked.members(&table), BTreeSet::from([11, 12, 17, 18]));
        assert_eq!(members(Some(10), Some(10)), BTreeSet::from([10, 11, 12, 13, 14]));
        assert_eq!(members(Some(10), None), BTreeSet::from([10, 11, 12]));
        assert_eq!(members(None, Some(10)), BTreeSet::from([10, 11, 12, 13, 14]));
        for harmless in [
            members(None, None),
            members(Some(0), Some(0)),
            members(Some(2), None),
            members(Some(own_pid()), None),
        ] {
            assert_eq!(harmless, BTreeSet::new());
        }
    }
}
