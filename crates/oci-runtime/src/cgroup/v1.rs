//! Groups of the v1 hierarchies.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::devices::Policy;
use super::{CgroupError, Groups, V1Hierarchy, Warnings, files, hierarchy_root};
use crate::spec::{BlockIo, Cpu, Memory, Resources};

const FREEZE_SECONDS: u64 = 10;

/// Makes the group in one hierarchy. With `shared`, processes in it are no reason to refuse: systemd put them there.
pub(super) fn make(hierarchy: &V1Hierarchy, path: &Path, shared: bool) -> Result<PathBuf, CgroupError> {
    let mount = hierarchy.mount_point();
    let full = mount.join(path);
    let root = hierarchy_root(&mount)?;
    root.create_dir_all(path, 0o755).map_err(|source| CgroupError::Access {
        action: "make",
        path: full.clone(),
        source,
    })?;
    if !shared && !files::read(&full.join("cgroup.procs"))?.is_empty() {
        return Err(CgroupError::Occupied { path: full });
    }
    if hierarchy.has("cpuset") {
        inherit_cpuset(&mount, path)?;
    }
    Ok(full)
}

/// A new v1 cpuset group is empty and takes no process: each level copies its parent's processors and nodes.
fn inherit_cpuset(mount: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut parent = mount.to_owned();
    for part in path.components() {
        let group = parent.join(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if files::read(&group.join(file))?.trim().is_empty() {
                files::write(&group.join(file), files::read(&parent.join(file))?.trim())?;
            }
        }
        parent = group;
    }
    Ok(())
}

/// A file of a controller's group, or the error that the controller is missing.
fn file(
    groups: &Groups,
    controller: &'static str,
    limit: &'static str,
    name: &str,
) -> Result<PathBuf, CgroupError> {
    let group = groups.path_for(controller).ok_or(CgroupError::ControllerMissing { controller, limit })?;
    Ok(group.join(name))
}

pub(super) fn apply(
    groups: &Groups,
    resources: &Resources,
    warnings: &mut Warnings,
) -> Result<(), CgroupError> {
    memory(groups, &resources.memory, warnings)?;
    cpu(groups, &resources.cpu)?;
    if let Some(limit) = resources.pids.limit {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        files::write(&file(groups, "pids", "pids.limit", "pids.max")?, &value)?;
    }
    block_io(groups, &resources.block_io, warnings)?;
    for huge in &resources.hugepage_limits {
        page_size(&huge.page_size)?;
        let Some(group) = groups.path_for("hugetlb") else {
            // The kubelet always sends these, with 0 for what the node does not have.
            warnings.push(format!("no hugetlb controller: limit of {} pages is not set", huge.page_size));
            continue;
        };
        let name = format!("hugetlb.{}.limit_in_bytes", huge.page_size);
        files::write(&group.join(name), &huge.limit.to_string())?;
    }
    if let Some(class) = resources.network.class_id {
        files::write(&file(groups, "net_cls", "network.classID", "net_cls.classid")?, &class.to_string())?;
    }
    for priority in &resources.network.priorities {
        let path = file(groups, "net_prio", "network.priorities", "net_prio.ifpriomap")?;
        files::write(&path, &format!("{} {}", priority.name, priority.priority))?;
    }
    if !resources.unified.is_empty() {
        return Err(CgroupError::ControllerMissing { controller: "unified", limit: "unified" });
    }
    Ok(())
}

/// A page size becomes part of a file name.
pub(super) fn page_size(size: &str) -> Result<(), CgroupError> {
    if !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(CgroupError::Invalid { field: "hugepageLimits.pageSize", value: size.to_owned() })
}

fn memory(groups: &Groups, memory: &Memory, warnings: &mut Warnings) -> Result<(), CgroupError> {
    let path = |limit, name| file(groups, "memory", limit, name);
    if memory.limit.is_some_and(|limit| limit != 0) || memory.swap.is_some_and(|swap| swap != 0) {
        memory_and_swap(&path("memory.limit", "")?, memory, warnings)?;
    }
    if let Some(reservation) = memory.reservation {
        files::write(&path("memory.reservation", "memory.soft_limit_in_bytes")?, &reservation.to_string())?;
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(CgroupError::Invalid { field: "memory.swappiness", value: swappiness.to_string() });
        }
        files::write(&path("memory.swappiness", "memory.swappiness")?, &swappiness.to_string())?;
    }
    if memory.disable_oom_killer == Some(true) {
        files::write(&path("memory.disableOOMKiller", "memory.oom_control")?, "1")?;
    }
    Ok(())
}

/// The kernel wants memory ≤ memory+swap at every moment, so the order depends on the direction of the change.
fn memory_and_swap(group: &Path, memory: &Memory, warnings: &mut Warnings) -> Result<(), CgroupError> {
    let limit = memory.limit.filter(|limit| *limit != 0);
    // Memory without a limit cannot have a limit together with swap.
    let swap = if limit == Some(-1) && memory.swap.is_none() {
        Some(-1)
    } else {
        memory.swap.filter(|swap| *swap != 0)
    };
    let (limit_file, swap_file) =
        (group.join("memory.limit_in_bytes"), group.join("memory.memsw.limit_in_bytes"));
    let mut write_swap = || -> Result<(), CgroupError> {
        let Some(swap) = swap else { return Ok(()) };
        if !files::write_if_present(&swap_file, &swap.to_string())? {
            warnings.push("the kernel does not account swap: its limit is not set".to_owned());
        }
        Ok(())
    };
    let Some(limit) = limit else { return write_swap() };
    let write_limit = || files::write(&limit_file, &limit.to_string());
    let current = files::read(&swap_file).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let grows = swap == Some(-1) || matches!((swap, current), (Some(new), Some(old)) if new > old);
    if grows {
        write_swap()?;
        write_limit()
    } else {
        write_limit()?;
        write_swap()
    }
}

fn cpu(groups: &Groups, cpu: &Cpu) -> Result<(), CgroupError> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        files::write(&file(groups, "cpu", "cpu.shares", "cpu.shares")?, &shares.to_string())?;
    }
    if let Some(period) = cpu.period.filter(|period| *period > 0) {
        files::write(&file(groups, "cpu", "cpu.period", "cpu.cfs_period_us")?, &period.to_string())?;
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        files::write(&file(groups, "cpu", "cpu.quota", "cpu.cfs_quota_us")?, &quota.to_string())?;
    }
    if let Some(burst) = cpu.burst {
        files::write(&file(groups, "cpu", "cpu.burst", "cpu.cfs_burst_us")?, &burst.to_string())?;
    }
    if let Some(idle) = cpu.idle {
        files::write(&file(groups, "cpu", "cpu.idle", "cpu.idle")?, &idle.to_string())?;
    }
    for (list, limit, name) in
        [(&cpu.cpus, "cpu.cpus", "cpuset.cpus"), (&cpu.mems, "cpu.mems", "cpuset.mems")]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            files::write(&file(groups, "cpuset", limit, name)?, list)?;
        }
    }
    Ok(())
}

fn block_io(groups: &Groups, limits: &BlockIo, warnings: &mut Warnings) -> Result<(), CgroupError> {
    let path = |name: &str| file(groups, "blkio", "blockIO", name);
    if let Some(weight) = limits.weight.filter(|weight| *weight > 0) {
        let bfq = files::write_if_present(&path("blkio.bfq.weight")?, &weight.to_string())?;
        if !bfq && !files::write_if_present(&path("blkio.weight")?, &weight.to_string())? {
            warnings.push("no I/O scheduler has weights: blockIO.weight is not set".to_owned());
        }
    }
    for device in &limits.weight_device {
        let Some(weight) = device.weight else { continue };
        let line = format!("{}:{} {weight}", device.major, device.minor);
        if !files::write_if_present(&path("blkio.bfq.weight_device")?, &line)?
            && !files::write_if_present(&path("blkio.weight_device")?, &line)?
        {
            warnings.push(format!("no I/O scheduler has weights: the weight of {line} is not set"));
        }
    }
    for (name, devices) in [
        ("blkio.throttle.read_bps_device", &limits.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &limits.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &limits.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &limits.throttle_write_iops_device),
    ] {
        for device in devices {
            files::write(&path(name)?, &format!("{}:{} {}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

pub(super) fn restrict_devices(
    groups: &Groups,
    policy: &Policy,
    warnings: &mut Warnings,
) -> Result<(), CgroupError> {
    let deny = file(groups, "devices", "devices", "devices.deny")?;
    let allow = file(groups, "devices", "devices", "devices.allow")?;
    files::write(&deny, "a")?;
    for rule in &policy.rules {
        let target = if rule.allows() { &allow } else { &deny };
        match files::write(target, &rule.v1_line()) {
            // The parent group does not have it either; less than asked for is safe.
            Err(CgroupError::Access { source, .. })
                if rule.allows() && source.kind() == io::ErrorKind::PermissionDenied =>
            {
                warnings.push(format!("device rule {:?} is beyond the parent group's", rule.v1_line()));
            }
            result => result?,
        }
    }
    Ok(())
}

pub(super) fn set_frozen(group: &Path, frozen: bool) -> Result<(), CgroupError> {
    let (file, state) = (group.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" });
    let deadline = Instant::now() + Duration::from_secs(FREEZE_SECONDS);
    loop {
        // Written again in each round: a process that was being born keeps the group in FREEZING otherwise.
        match files::write(&file, state) {
            Err(error) if !frozen && files::is_gone(&error) => return Ok(()),
            result => result?,
        }
        if files::read(&file)?.trim() == state {
            return Ok(());
        }
        if Instant::now() >= deadline {
            if frozen {
                files::write(&file, "THAWED")?;
            }
            let state = if frozen { "frozen" } else { "thawed" };
            return Err(CgroupError::Timeout { path: group.to_owned(), state, seconds: FREEZE_SECONDS });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
