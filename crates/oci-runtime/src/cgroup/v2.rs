//! Groups of cgroup v2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use std::os::fd::AsFd;

use super::devices::Policy;
use super::{CgroupError, MOUNT_POINT, convert, files, hierarchy_root, v1};
use crate::spec::{BlockIo, Cpu, Memory, Resources};

const FREEZE_SECONDS: u64 = 10;

/// Controllers that containers are limited by.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];

/// Makes the group and enables on the way down the controllers that the machine has.
/// With `shared`, processes in it are no reason to refuse: systemd put them there.
pub(super) fn make(path: &Path, shared: bool) -> Result<PathBuf, CgroupError> {
    let full = Path::new(MOUNT_POINT).join(path);
    hierarchy_root(Path::new(MOUNT_POINT))?
        .create_dir_all(path, 0o755)
        .map_err(|source| CgroupError::Access { action: "make", path: full.clone(), source })?;
    if !shared && !files::read(&full.join("cgroup.procs"))?.is_empty() {
        return Err(CgroupError::Occupied { path: full });
    }
    enable_controllers(path)?;
    Ok(full)
}

/// Enables controllers from the root to the parent of the group, unless the group has them all.
pub(super) fn enable_controllers(path: &Path) -> Result<(), CgroupError> {
    let mount = Path::new(MOUNT_POINT);
    let available = files::read(&mount.join("cgroup.controllers"))?;
    let has = |text: &str, name: &str| text.split_ascii_whitespace().any(|word| word == name);
    let wanted: Vec<&str> = CONTROLLERS.into_iter().filter(|name| has(&available, name)).collect();
    let there = files::read(&mount.join(path).join("cgroup.controllers"))?;
    if wanted.iter().all(|name| has(&there, name)) {
        return Ok(());
    }
    let mut group = mount.to_owned();
    for part in path.components() {
        for controller in &wanted {
            // One that a parent does not delegate is missed only if a limit needs it, and reported then.
            drop(files::write(&group.join("cgroup.subtree_control"), &format!("+{controller}")));
        }
        group.push(part);
    }
    Ok(())
}

/// Writes a limit; a missing file means that its controller is not there.
fn set(
    group: &Path,
    controller: &'static str,
    limit: &'static str,
    name: &str,
    value: &str,
) -> Result<(), CgroupError> {
    if files::write_if_present(&group.join(name), value)? {
        Ok(())
    } else {
        Err(CgroupError::ControllerMissing { controller, limit })
    }
}

pub(super) fn apply(group: &Path, resources: &Resources) -> Result<(), CgroupError> {
    memory(group, &resources.memory)?;
    cpu(group, &resources.cpu)?;
    if let Some(limit) = resources.pids.limit {
        set(group, "pids", "pids.limit", "pids.max", &convert::limit(if limit == 0 { -1 } else { limit }))?;
    }
    block_io(group, &resources.block_io)?;
    for huge in &resources.hugepage_limits {
        v1::page_size(&huge.page_size)?;
        let value = huge.limit.to_string();
        // A page size that the machine does not have cannot be used, so its limit holds anyway.
        if files::write_if_present(&group.join(format!("hugetlb.{}.max", huge.page_size)), &value)? {
            files::write_if_present(&group.join(format!("hugetlb.{}.rsvd.max", huge.page_size)), &value)?;
        }
    }
    for (card, limit) in &resources.rdma {
        let part = |name: &str, value: Option<u32>| {
            value.map_or_else(String::new, |value| format!(" {name}={value}"))
        };
        let line = format!(
            "{card}{}{}",
            part("hca_handle", limit.hca_handles),
            part("hca_object", limit.hca_objects)
        );
        set(group, "rdma", "rdma", "rdma.max", &line)?;
    }
    for (name, value) in &resources.unified {
        if name.contains('/') || name.starts_with('.') || name.is_empty() {
            return Err(CgroupError::Invalid { field: "unified", value: name.clone() });
        }
        for line in value.lines() {
            files::write(&group.join(name), line)?;
        }
    }
    Ok(())
}

/// Refuses a limit below the usage, if that is asked for.
pub(super) fn check_usage(group: &Path, memory: &Memory) -> Result<(), CgroupError> {
    let limit = memory.limit.filter(|limit| *limit > 0);
    let (Some(true), Some(limit)) = (memory.check_before_update, limit) else { return Ok(()) };
    let usage = files::read(&group.join("memory.current"))?.trim().parse::<i64>().unwrap_or(0);
    if usage <= limit {
        return Ok(());
    }
    Err(CgroupError::Invalid { field: "memory.limit (below the usage)", value: limit.to_string() })
}

/// `memory.swap.max`; `None` to keep what is.
pub(super) fn swap_max(memory: &Memory) -> Result<Option<String>, CgroupError> {
    let limit = memory.limit.filter(|limit| *limit != 0);
    Ok(match convert::swap_max(memory.swap, limit)? {
        // Without a limit of memory there is none of swap.
        None if limit == Some(-1) && memory.swap.is_none() => Some("max".to_owned()),
        swap => swap,
    })
}

fn memory(group: &Path, memory: &Memory) -> Result<(), CgroupError> {
    check_usage(group, memory)?;
    let limit = memory.limit.filter(|limit| *limit != 0);
    if let Some(swap) = swap_max(memory)? {
        // Kernels without swap accounting have no such file; nothing can be swapped out to be limited then.
        files::write_if_present(&group.join("memory.swap.max"), &swap)?;
    }
    if let Some(limit) = limit {
        set(group, "memory", "memory.limit", "memory.max", &convert::limit(limit))?;
    }
    if let Some(reservation) = memory.reservation {
        set(group, "memory", "memory.reservation", "memory.low", &convert::limit(reservation))?;
    }
    Ok(())
}

fn cpu(group: &Path, cpu: &Cpu) -> Result<(), CgroupError> {
    if let Some(idle) = cpu.idle {
        set(group, "cpu", "cpu.idle", "cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0 && cpu.idle != Some(1)) {
        set(group, "cpu", "cpu.shares", "cpu.weight", &convert::cpu_weight(shares).to_string())?;
    }
    if let Some(value) = convert::cpu_max(cpu.quota.filter(|quota| *quota != 0), cpu.period) {
        set(group, "cpu", "cpu.quota", "cpu.max", &value)?;
    }
    if let Some(burst) = cpu.burst {
        set(group, "cpu", "cpu.burst", "cpu.max.burst", &burst.to_string())?;
    }
    for (list, limit, name) in
        [(&cpu.cpus, "cpu.cpus", "cpuset.cpus"), (&cpu.mems, "cpu.mems", "cpuset.mems")]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            set(group, "cpuset", limit, name, list)?;
        }
    }
    Ok(())
}

fn block_io(group: &Path, limits: &BlockIo) -> Result<(), CgroupError> {
    if let Some(weight) = limits.weight.filter(|weight| *weight > 0)
        && !files::write_if_present(&group.join("io.bfq.weight"), &weight.to_string())?
    {
        set(group, "io", "blockIO.weight", "io.weight", &format!("default {}", convert::io_weight(weight)))?;
    }
    for device in &limits.weight_device {
        let Some(weight) = device.weight else { continue };
        let line = format!("{}:{} {weight}", device.major, device.minor);
        if !files::write_if_present(&group.join("io.bfq.weight"), &line)? {
            let line = format!("{}:{} {}", device.major, device.minor, convert::io_weight(weight));
            set(group, "io", "blockIO.weightDevice", "io.weight", &line)?;
        }
    }
    for (key, devices) in [
        ("rbps", &limits.throttle_read_bps_device),
        ("wbps", &limits.throttle_write_bps_device),
        ("riops", &limits.throttle_read_iops_device),
        ("wiops", &limits.throttle_write_iops_device),
    ] {
        for device in devices {
            let line = format!("{}:{} {key}={}", device.major, device.minor, device.rate);
            set(group, "io", "blockIO.throttle", "io.max", &line)?;
        }
    }
    Ok(())
}

/// Attaches the new program before it detaches older ones: at no moment is everything allowed.
pub(super) fn restrict_devices(group: &Path, policy: &Policy) -> Result<(), CgroupError> {
    let error = |source| CgroupError::Devices { path: group.to_owned(), source };
    let directory = files::open(group, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let older = ochre_sys::seccomp::device_programs(directory.as_fd()).map_err(error)?;
    let program = ochre_sys::seccomp::load_device_program(&policy.program()).map_err(error)?;
    ochre_sys::seccomp::attach_device_program(directory.as_fd(), program.as_fd()).map_err(error)?;
    for program in older {
        ochre_sys::seccomp::detach_device_program(directory.as_fd(), program.as_fd()).map_err(error)?;
    }
    Ok(())
}

pub(super) fn set_frozen(group: &Path, frozen: bool) -> Result<(), CgroupError> {
    match files::write(&group.join("cgroup.freeze"), if frozen { "1" } else { "0" }) {
        Err(error) if !frozen && files::is_gone(&error) => return Ok(()),
        result => result?,
    }
    let wanted = if frozen { "frozen 1" } else { "frozen 0" };
    let deadline = Instant::now() + Duration::from_secs(FREEZE_SECONDS);
    loop {
        if files::read(&group.join("cgroup.events"))?.lines().any(|line| line == wanted) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            if frozen {
                files::write(&group.join("cgroup.freeze"), "0")?;
            }
            let state = if frozen { "frozen" } else { "thawed" };
            return Err(CgroupError::Timeout { path: group.to_owned(), state, seconds: FREEZE_SECONDS });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
