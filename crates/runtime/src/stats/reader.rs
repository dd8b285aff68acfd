//! The held files of one group and the reading of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{CgroupStats, CpuStats, IoStats, MemoryStats, PidStats, Pressure, StatsError, parse};
use crate::cgroup::{Cgroups, GroupPath};

/// Largest file read: `memory.stat` has 2 KiB, an I/O file some 100 bytes per device.
const MAX_FILE: usize = 256 * 1024;
/// Unit of `cpuacct.stat`: `USER_HZ` is 100 on every Linux that user space can see.
const NS_PER_TICK: u64 = 10_000_000;

/// Reads the statistics of one group again and again.
#[derive(Debug)]
pub struct StatsReader {
    files: Files,
}

#[derive(Debug)]
enum Files {
    V1(V1Files),
    V2(V2Files),
}

#[derive(Debug)]
struct V1Files {
    cpu_usage: Source,
    cpu_user_system: Option<Source>,
    cpu_throttling: Option<Source>,
    memory_usage: Source,
    memory_stat: Source,
    memory_limit: Option<Source>,
    memsw_usage: Option<Source>,
    memsw_limit: Option<Source>,
    oom_control: Option<Source>,
    pids: Option<(Source, Source)>,
    io_bytes: Option<Source>,
    io_operations: Option<Source>,
}

#[derive(Debug)]
struct V2Files {
    cpu: Source,
    memory_usage: Source,
    memory_stat: Source,
    memory_limit: Option<Source>,
    memory_events: Option<Source>,
    swap: Option<(Source, Source)>,
    pids: Option<(Source, Source)>,
    io: Option<Source>,
    /// CPU, memory, I/O.
    pressure: [Option<Source>; 3],
}

impl StatsReader {
    /// Opens the files of `group`, which must exist.
    ///
    /// # Errors
    /// [`StatsError::Gone`] when it does not exist, [`StatsError::Read`] for another failure.
    pub fn open(cgroups: &Cgroups, group: &GroupPath) -> Result<Self, StatsError> {
        let directory = |controller: &str| {
            cgroups
                .directory(controller, group)
                .ok_or_else(|| StatsError::Gone { path: PathBuf::from(format!("{controller}:{group}")) })
        };
        let files = if cgroups.is_v2() {
            Files::V2(V2Files::open(&directory("")?)?)
        } else {
            Files::V1(V1Files::open(directory)?)
        };
        Ok(Self { files })
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// [`StatsError::Gone`] once the group is removed, otherwise what failed.
    pub fn read(&self) -> Result<CgroupStats, StatsError> {
        let mut buffer = Vec::with_capacity(4096);
        match &self.files {
            Files::V1(files) => files.read(&mut buffer),
            Files::V2(files) => files.read(&mut buffer),
        }
    }
}

impl V1Files {
    fn open(directory: impl Fn(&str) -> Result<PathBuf, StatsError>) -> Result<Self, StatsError> {
        let (cpuacct, memory) = (directory("cpuacct")?, directory("memory")?);
        let optional = |controller: &str, file: &str| match directory(controller) {
            Ok(directory) => Source::optional(&directory, file),
            Err(_) => Ok(None),
        };
        Ok(Self {
            cpu_usage: Source::open(&cpuacct, "cpuacct.usage")?,
            cpu_user_system: Source::optional(&cpuacct, "cpuacct.stat")?,
            cpu_throttling: optional("cpu", "cpu.stat")?,
            memory_usage: Source::open(&memory, "memory.usage_in_bytes")?,
            memory_stat: Source::open(&memory, "memory.stat")?,
            memory_limit: Source::optional(&memory, "memory.limit_in_bytes")?,
            memsw_usage: Source::optional(&memory, "memory.memsw.usage_in_bytes")?,
            memsw_limit: Source::optional(&memory, "memory.memsw.limit_in_bytes")?,
            oom_control: Source::optional(&memory, "memory.oom_control")?,
            pids: optional("pids", "pids.current")?.zip(optional("pids", "pids.max")?),
            io_bytes: optional("blkio", "blkio.throttle.io_service_bytes_recursive")?,
            io_operations: optional("blkio", "blkio.throttle.io_serviced_recursive")?,
        })
    }

    fn read(&self, buffer: &mut Vec<u8>) -> Result<CgroupStats, StatsError> {
        let mut cpu = CpuStats { usage_ns: self.cpu_usage.number(buffer, "usage")?, ..CpuStats::default() };
        if let Some(text) = Source::text_of(self.cpu_user_system.as_ref(), buffer)? {
            let ticks = |key| parse::value(text, key).unwrap_or(0).saturating_mul(NS_PER_TICK);
            (cpu.user_ns, cpu.system_ns) = (ticks("user"), ticks("system"));
        }
        if let Some(text) = Source::text_of(self.cpu_throttling.as_ref(), buffer)? {
            cpu.periods = parse::value(text, "nr_periods").unwrap_or(0);
            cpu.throttled_periods = parse::value(text, "nr_throttled").unwrap_or(0);
            cpu.throttled_ns = parse::value(text, "throttled_time").unwrap_or(0);
        }
        let (read_bytes, written_bytes) =
            Source::text_of(self.io_bytes.as_ref(), buffer)?.map(parse::io_v1).unwrap_or_default();
        let (reads, writes) =
            Source::text_of(self.io_operations.as_ref(), buffer)?.map(parse::io_v1).unwrap_or_default();
        Ok(CgroupStats {
            cpu,
            memory: self.memory(buffer)?,
            pids: read_pids(self.pids.as_ref(), buffer)?,
            io: IoStats { read_bytes, written_bytes, reads, writes },
            ..CgroupStats::default()
        })
    }

    fn memory(&self, buffer: &mut Vec<u8>) -> Result<MemoryStats, StatsError> {
        let usage = self.memory_usage.number(buffer, "usage")?;
        let text = self.memory_stat.text(buffer)?;
        let stat = |key| parse::value(text, key).unwrap_or(0);
        let mut memory = MemoryStats {
            usage,
            working_set: usage.saturating_sub(stat("total_inactive_file")),
            anon: stat("total_rss"),
            page_faults: stat("total_pgfault"),
            major_page_faults: stat("total_pgmajfault"),
            ..MemoryStats::default()
        };
        set_limit(&mut memory, self.memory_limit.as_ref(), buffer)?;
        if let Some(source) = &self.memsw_usage {
            memory.swap_usage = Some(source.number(buffer, "usage")?.saturating_sub(usage));
        }
        if let Some(source) = &self.memsw_limit {
            // The file limits memory and swap together.
            let both = source.limit(buffer)?;
            memory.swap_limit = both.zip(memory.limit).map(|(both, memory)| both.saturating_sub(memory));
        }
        if let Some(text) = Source::text_of(self.oom_control.as_ref(), buffer)? {
            memory.oom_kills = parse::value(text, "oom_kill").unwrap_or(0);
        }
        Ok(memory)
    }
}

impl V2Files {
    fn open(directory: &Path) -> Result<Self, StatsError> {
        let optional = |file: &str| Source::optional(directory, file);
        Ok(Self {
            cpu: Source::open(directory, "cpu.stat")?,
            memory_usage: Source::open(directory, "memory.current")?,
            memory_stat: Source::open(directory, "memory.stat")?,
            memory_limit: optional("memory.max")?,
            memory_events: optional("memory.events")?,
            swap: optional("memory.swap.current")?.zip(optional("memory.swap.max")?),
            pids: optional("pids.current")?.zip(optional("pids.max")?),
            io: optional("io.stat")?,
            pressure: [optional("cpu.pressure")?, optional("memory.pressure")?, optional("io.pressure")?],
        })
    }

    fn read(&self, buffer: &mut Vec<u8>) -> Result<CgroupStats, StatsError> {
        let text = self.cpu.text(buffer)?;
        let microseconds = |key| parse::value(text, key).map(|us| us.saturating_mul(1000));
        let cpu = CpuStats {
            usage_ns: microseconds("usage_usec").ok_or_else(|| self.cpu.malformed("usage_usec"))?,
            user_ns: microseconds("user_usec").unwrap_or(0),
            system_ns: microseconds("system_usec").unwrap_or(0),
            periods: parse::value(text, "nr_periods").unwrap_or(0),
            throttled_periods: parse::value(text, "nr_throttled").unwrap_or(0),
            throttled_ns: microseconds("throttled_usec").unwrap_or(0),
        };
        let memory = self.memory(buffer)?;
        let pids = read_pids(self.pids.as_ref(), buffer)?;
        let io = Source::text_of(self.io.as_ref(), buffer)?.map(parse::io_v2).unwrap_or_default();
        let [cpu_pressure, memory_pressure, io_pressure] = &self.pressure;
        Ok(CgroupStats {
            cpu,
            memory,
            pids,
            io,
            cpu_pressure: read_pressure(cpu_pressure.as_ref(), buffer)?,
            memory_pressure: read_pressure(memory_pressure.as_ref(), buffer)?,
            io_pressure: read_pressure(io_pressure.as_ref(), buffer)?,
        })
    }

    fn memory(&self, buffer: &mut Vec<u8>) -> Result<MemoryStats, StatsError> {
        let usage = self.memory_usage.number(buffer, "usage")?;
        let text = self.memory_stat.text(buffer)?;
        let stat = |key| parse::value(text, key).unwrap_or(0);
        let mut memory = MemoryStats {
            usage,
            working_set: usage.saturating_sub(stat("inactive_file")),
            anon: stat("anon"),
            page_faults: stat("pgfault"),
            major_page_faults: stat("pgmajfault"),
            ..MemoryStats::default()
        };
        set_limit(&mut memory, self.memory_limit.as_ref(), buffer)?;
        if let Some((usage, limit)) = &self.swap {
            memory.swap_usage = Some(usage.number(buffer, "usage")?);
            memory.swap_limit = limit.limit(buffer)?;
        }
        if let Some(text) = Source::text_of(self.memory_events.as_ref(), buffer)? {
            memory.oom_kills = parse::value(text, "oom_kill").unwrap_or(0);
        }
        Ok(memory)
    }
}

fn set_limit(
    memory: &mut MemoryStats,
    source: Option<&Source>,
    buffer: &mut Vec<u8>,
) -> Result<(), StatsError> {
    if let Some(source) = source {
        memory.limit = source.limit(buffer)?;
        memory.available = memory.limit.map(|limit| limit.saturating_sub(memory.working_set));
    }
    Ok(())
}

fn read_pids(sources: Option<&(Source, Source)>, buffer: &mut Vec<u8>) -> Result<PidStats, StatsError> {
    let Some((current, limit)) = sources else { return Ok(PidStats::default()) };
    Ok(PidStats { current: current.number(buffer, "count")?, limit: limit.limit(buffer)? })
}

/// Pressure of a whole group; nothing on version 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupPressure {
    /// CPU.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// I/O.
    pub io: Option<Pressure>,
}

/// Reads the pressure of a group that is asked too seldom for held files. What cannot be read is left out.
pub fn group_pressure(cgroups: &Cgroups, group: &GroupPath) -> GroupPressure {
    let Some(directory) = cgroups.directory("", group).filter(|_| cgroups.is_v2()) else {
        return GroupPressure::default();
    };
    let mut buffer = Vec::with_capacity(512);
    let mut read = |file: &str| {
        let source = Source::optional(&directory, file).ok()?;
        read_pressure(source.as_ref(), &mut buffer).ok()?
    };
    GroupPressure { cpu: read("cpu.pressure"), memory: read("memory.pressure"), io: read("io.pressure") }
}

/// A kernel may have the file and refuse to fill it: pressure accounting can be off per boot (`psi=0`) and per group.
fn read_pressure(source: Option<&Source>, buffer: &mut Vec<u8>) -> Result<Option<Pressure>, StatsError> {
    match Source::text_of(source, buffer) {
        Ok(text) => Ok(text.and_then(parse::pressure)),
        Err(StatsError::Read { source, .. })
            if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// One held file.
#[derive(Debug)]
struct Source {
    file: File,
    path: PathBuf,
}

impl Source {
    fn open(directory: &Path, name: &str) -> Result<Self, StatsError> {
        let path = directory.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) if is_gone(&error) => Err(StatsError::Gone { path }),
            Err(source) => Err(StatsError::Read { path, source }),
        }
    }

    /// `None` for a file that this kernel or hierarchy does not have.
    fn optional(directory: &Path, name: &str) -> Result<Option<Self>, StatsError> {
        match Self::open(directory, name) {
            Err(StatsError::Gone { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    fn text<'a>(&self, buffer: &'a mut Vec<u8>) -> Result<&'a str, StatsError> {
        let length = match self.fill(buffer) {
            Ok(length) => length,
            Err(error) if is_gone(&error) => return Err(StatsError::Gone { path: self.path.clone() }),
            Err(source) => return Err(StatsError::Read { path: self.path.clone(), source }),
        };
        std::str::from_utf8(&buffer[..length]).map_err(|_| self.malformed("text"))
    }

    /// The files are made anew by each read that starts at 0, so one large enough read gets them whole.
    fn fill(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.resize(buffer.capacity(), 0);
        let mut length = 0;
        loop {
            if length == buffer.len() {
                if length >= MAX_FILE {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                buffer.resize(length * 2, 0);
            }
            match self.file.read_at(&mut buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn text_of<'a>(source: Option<&Self>, buffer: &'a mut Vec<u8>) -> Result<Option<&'a str>, StatsError> {
        source.map(|source| source.text(buffer)).transpose()
    }

    fn number(&self, buffer: &mut Vec<u8>, what: &'static str) -> Result<u64, StatsError> {
        parse::number(self.text(buffer)?).ok_or_else(|| self.malformed(what))
    }

    fn limit(&self, buffer: &mut Vec<u8>) -> Result<Option<u64>, StatsError> {
        parse::limit(self.text(buffer)?).ok_or_else(|| self.malformed("limit"))
    }

    fn malformed(&self, what: &'static str) -> StatsError {
        StatsError::Malformed { path: self.path.clone(), what }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}
