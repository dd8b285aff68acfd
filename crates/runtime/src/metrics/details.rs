//! What only metrics tell of a control group: files that the statistics do not need, read by held directories.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Dir, Mode, OFlags};

use crate::cgroup::{Cgroups, GroupPath};
use crate::stats::StatsError;
use crate::stats::parse;

/// Largest file read: `memory.stat` has 2 KiB, an I/O file some 100 bytes per device.
const MAX_FILE: u64 = 256 * 1024;
/// Groups within the group that are looked at for processes; a container that may make groups can make any number.
const MAX_GROUPS: usize = 256;
/// Processes that are looked at.
const MAX_PROCESSES: usize = 10_000;

/// One reading. A `None` is a value this kernel or control group version does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Page cache, bytes.
    pub cache: Option<u64>,
    /// Mapped files, bytes.
    pub mapped_file: Option<u64>,
    /// Kernel memory, bytes.
    pub kernel: Option<u64>,
    /// Most memory that was in use, bytes.
    pub max_usage: Option<u64>,
    /// How often use has met the limit.
    pub failures: Option<u64>,
    /// Page faults of the group without groups below it; version 2 counts both together.
    pub own_faults: Option<u64>,
    /// Of these, the ones that needed I/O.
    pub own_major_faults: Option<u64>,
    /// Huge pages by size.
    pub huge_pages: Vec<HugePages>,
    /// Block devices.
    pub devices: Vec<DeviceIo>,
    /// Process ids of the group and the groups below it.
    pub processes: Vec<i32>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HugePages {
    /// The size as the kernel writes it, such as `2MB`.
    pub size: String,
    /// In use, bytes.
    pub usage: u64,
    /// Most that were in use, bytes (v1).
    pub max_usage: Option<u64>,
}

/// Block I/O with one device since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceIo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Reads the details of one group again and again.
#[derive(Debug)]
pub struct DetailsReader {
    memory: OwnedFd,
    hugetlb: Option<OwnedFd>,
    io: Option<OwnedFd>,
    is_v2: bool,
}

impl DetailsReader {
    /// Opens the directories of `group`, which must exist.
    ///
    /// # Errors
    /// [`StatsError::Gone`] when it does not, [`StatsError::Read`] for another failure.
    pub fn open(cgroups: &Cgroups, group: &GroupPath) -> Result<Self, StatsError> {
        let directory = |controller: &str| {
            let gone = || StatsError::Gone { path: PathBuf::from(format!("{controller}:{group}")) };
            let path = cgroups.directory(controller, group).ok_or_else(gone)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| match error {
                rustix::io::Errno::NOENT => StatsError::Gone { path },
                error => StatsError::Read { path, source: error.into() },
            })
        };
        if cgroups.is_v2() {
            return Ok(Self { memory: directory("")?, hugetlb: None, io: None, is_v2: true });
        }
        let (hugetlb, io) = (directory("hugetlb").ok(), directory("blkio").ok());
        Ok(Self { memory: directory("memory")?, hugetlb, io, is_v2: false })
    }

    /// Reads everything once. A file that is not there leaves its values out.
    pub fn read(&self) -> Details {
        let mut details = if self.is_v2 { self.read_v2() } else { self.read_v1() };
        let mut groups = MAX_GROUPS;
        processes(self.memory.as_fd(), &mut groups, &mut details.processes);
        details
    }

    fn read_v1(&self) -> Details {
        let memory = self.memory.as_fd();
        let stat = text(memory, "memory.stat").unwrap_or_default();
        let number = |name| text(memory, name).as_deref().and_then(parse::number);
        let io = |name| self.io.as_ref().and_then(|io| text(io.as_fd(), name)).unwrap_or_default();
        Details {
            cache: parse::value(&stat, "total_cache"),
            mapped_file: parse::value(&stat, "total_mapped_file"),
            kernel: number("memory.kmem.usage_in_bytes"),
            max_usage: number("memory.max_usage_in_bytes"),
            failures: number("memory.failcnt"),
            own_faults: parse::value(&stat, "pgfault"),
            own_major_faults: parse::value(&stat, "pgmajfault"),
            huge_pages: self.hugetlb.as_ref().map(|huge| huge_pages(huge, false)).unwrap_or_default(),
            devices: devices_v1(
                &io("blkio.throttle.io_service_bytes_recursive"),
                &io("blkio.throttle.io_serviced_recursive"),
            ),
            processes: Vec::new(),
        }
    }

    fn read_v2(&self) -> Details {
        let group = self.memory.as_fd();
        let stat = text(group, "memory.stat").unwrap_or_default();
        let events = text(group, "memory.events").unwrap_or_default();
        Details {
            cache: parse::value(&stat, "file"),
            mapped_file: parse::value(&stat, "file_mapped"),
            kernel: parse::value(&stat, "kernel"),
            max_usage: text(group, "memory.peak").as_deref().and_then(parse::number),
            failures: parse::value(&events, "max"),
            own_faults: parse::value(&stat, "pgfault"),
            own_major_faults: parse::value(&stat, "pgmajfault"),
            huge_pages: huge_pages(&self.memory, true),
            devices: devices_v2(&text(group, "io.stat").unwrap_or_default()),
            processes: Vec::new(),
        }
    }
}

fn text(directory: BorrowedFd<'_>, name: &str) -> Option<String> {
    let file = rustix::fs::openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut content = String::new();
    File::from(file).take(MAX_FILE).read_to_string(&mut content).ok()?;
    Some(content)
}

/// `hugetlb.<size>.usage_in_bytes` of version 1, `hugetlb.<size>.current` of version 2.
fn huge_pages(directory: &OwnedFd, is_v2: bool) -> Vec<HugePages> {
    let (usage, most) =
        if is_v2 { (".current", None) } else { (".usage_in_bytes", Some(".max_usage_in_bytes")) };
    let mut pages = Vec::new();
    for entry in Dir::read_from(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let Some(size) = name.strip_prefix("hugetlb.").and_then(|name| name.strip_suffix(usage)) else {
            continue;
        };
        // `rsvd` counts reservations beside the pages themselves; a size has no dot.
        if size.contains('.') {
            continue;
        }
        let number = |name: &str| text(directory.as_fd(), name).as_deref().and_then(parse::number);
        if let Some(usage) = number(name) {
            let max_usage = most.and_then(|most| number(&format!("hugetlb.{size}{most}")));
            pages.push(HugePages { size: size.to_owned(), usage, max_usage });
        }
    }
    pages.sort_by(|a, b| a.size.cmp(&b.size));
    pages
}

/// The processes of a group and of those below it.
fn processes(group: BorrowedFd<'_>, groups: &mut usize, found: &mut Vec<i32>) {
    let Some(left) = groups.checked_sub(1) else { return };
    *groups = left;
    // A group with threads of processes of its parent refuses the file.
    for line in text(group, "cgroup.procs").unwrap_or_default().lines() {
        if found.len() < MAX_PROCESSES
            && let Ok(pid) = line.parse()
            && pid > 0
        {
            found.push(pid);
        }
    }
    for entry in Dir::read_from(group).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if entry.file_type().is_dir() && !matches!(name.to_bytes(), b"." | b"..") {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(child) = rustix::fs::openat(group, name, flags, Mode::empty()) {
                processes(child.as_fd(), groups, found);
            }
        }
    }
}

/// `8:0`
fn device(text: &str) -> Option<DeviceIo> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceIo { major: major.parse().ok()?, minor: minor.parse().ok()?, ..DeviceIo::default() })
}

/// `8:0 Read 1` per device and operation in each file.
pub(super) fn devices_v1(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices: Vec<DeviceIo> = Vec::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(new) = words.next().and_then(device) else { continue };
            let (Some(operation), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<u64>))
            else {
                continue;
            };
            let known = devices.iter().position(|one| (one.major, one.minor) == (new.major, new.minor));
            let at = known.unwrap_or_else(|| {
                devices.push(new);
                devices.len() - 1
            });
            let Some(one) = devices.get_mut(at) else { continue };
            match (operation, is_bytes) {
                ("Read", true) => one.read_bytes = number,
                ("Write", true) => one.written_bytes = number,
                ("Read", false) => one.reads = number,
                ("Write", false) => one.writes = number,
                _ => {}
            }
        }
    }
    devices
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0` per device.
pub(super) fn devices_v2(text: &str) -> Vec<DeviceIo> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut one = device(words.next()?)?;
            for (key, number) in words.filter_map(|pair| pair.split_once('=')) {
                let number = number.parse().unwrap_or(0);
                match key {
                    "rbytes" => one.read_bytes = number,
                    "wbytes" => one.written_bytes = number,
                    "rios" => one.reads = number,
                    "wios" => one.writes = number,
                    _ => {}
                }
            }
            Some(one)
        })
        .collect()
}
