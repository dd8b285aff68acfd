//! Limits: from CRI's numbers to the OCI `resources` object, for creation and for update.
//!
//! 0 means "not set" in CRI, so an update leaves such a field as it is.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources};

use crate::cgroup::Version;
use crate::config::Resources;

use super::error::shortened;
use super::{CgroupFacts, Error};

/// The limits as OCI writes them, without devices and pids.
///
/// # Errors
/// A limit that is negative, too low or contradictory, `unified` on a node without cgroup v2, and a limit of huge pages
/// that nothing would keep. CRI-O does not start on a node without the hugetlb controller; here only those containers do
/// not that need it.
pub fn limits(asked: &Resources, cgroup: CgroupFacts, min_memory: u64) -> Result<LinuxResources, Error> {
    let mut resources = LinuxResources::default();
    resources.set_cpu(cpu(asked)?).set_memory(memory(asked, cgroup, min_memory)?);
    if !asked.hugepages.is_empty() {
        let limits = hugepages(&asked.hugepages)?;
        if cgroup.hugetlb {
            resources.set_hugepage_limits(Some(limits));
        } else if asked.hugepages.iter().any(|(_, limit)| *limit > 0) {
            // The kubelet always sends a limit of 0 for every page size: only more than that is a wish.
            let needs = "the hugetlb cgroup controller";
            return Err(Error::Unavailable { what: "a limit of huge pages", needs });
        }
    }
    if !asked.unified.is_empty() {
        resources.set_unified(Some(unified(asked, cgroup)?));
    }
    Ok(resources)
}

/// What `runtime update --resources -` reads.
///
/// # Errors
/// As [`limits`].
pub fn resources_json(asked: &Resources, cgroup: CgroupFacts, min_memory: u64) -> Result<Vec<u8>, Error> {
    let limits = limits(asked, cgroup, min_memory)?;
    serde_json::to_vec(&limits).map_err(|source| Error::Json { what: "resources", source })
}

/// `PID_MAX_LIMIT` of 64-bit kernels: no machine has more processes, so as a limit it is none (pid_max in
/// proc_sys_kernel(5)). The specification's -1 is written to `pids.max` as it stands by crun 1.8, which the kernel refuses.
const EVERY_PID: i64 = 4 << 20;

/// The limit of processes; 0 and less mean none. That is said aloud: systemd limits a scope that nobody gave a word about
/// to a share of what the machine allows (`DefaultTasksMax=`).
pub(super) fn pids(limit: i64) -> LinuxPids {
    let mut pids = LinuxPids::default();
    pids.set_limit(if limit > 0 { limit } else { EVERY_PID });
    pids
}

fn cpu(asked: &Resources) -> Result<Option<LinuxCpu>, Error> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(positive("cpu_shares", asked.cpu_shares)?)
        .set_period(positive("cpu_period", asked.cpu_period)?);
    match asked.cpu_quota {
        0 => {}
        // -1 lifts the limit; any other negative number means nothing to the kernel.
        quota if quota >= -1 => {
            cpu.set_quota(Some(quota));
        }
        value => return Err(Error::Number { field: "cpu_quota", value }),
    }
    cpu.set_cpus(list("cpuset_cpus", &asked.cpuset_cpus)?).set_mems(list("cpuset_mems", &asked.cpuset_mems)?);
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn memory(asked: &Resources, cgroup: CgroupFacts, minimum: u64) -> Result<Option<LinuxMemory>, Error> {
    let (limit, swap) = (asked.memory_limit, asked.memory_swap_limit);
    if limit < 0 {
        return Err(Error::Number { field: "memory_limit_in_bytes", value: limit });
    }
    if swap < -1 {
        return Err(Error::Number { field: "memory_swap_limit_in_bytes", value: swap });
    }
    if limit > 0 && limit.unsigned_abs() < minimum {
        return Err(Error::MemoryLimit { limit, minimum });
    }
    if swap > 0 && swap < limit {
        return Err(Error::SwapLimit { swap, memory: limit });
    }
    let mut memory = LinuxMemory::default();
    if limit > 0 {
        memory.set_limit(Some(limit));
    }
    if cgroup.swap {
        match (swap, limit) {
            (0, 0) => {}
            // A limit without a word about swap means no swap.
            (0, limit) => {
                memory.set_swap(Some(limit));
            }
            (swap, _) => {
                memory.set_swap(Some(swap));
            }
        }
    }
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

fn hugepages(asked: &[(String, u64)]) -> Result<Vec<LinuxHugepageLimit>, Error> {
    asked
        .iter()
        .map(|(size, limit)| {
            let number = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let known_unit = ["KB", "MB", "GB"].contains(&&size[number.len()..]);
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) || !known_unit {
                let reason = "is not a size such as 2MB";
                return Err(Error::Text { field: "huge page size", name: shortened(size), reason });
            }
            let mut written = LinuxHugepageLimit::default();
            // The kernel counts in i64; "no limit" arrives as u64::MAX.
            written.set_page_size(size.clone()).set_limit(i64::try_from(*limit).unwrap_or(i64::MAX));
            Ok(written)
        })
        .collect()
}

fn unified(asked: &Resources, cgroup: CgroupFacts) -> Result<HashMap<String, String>, Error> {
    match cgroup.version {
        Version::V1 | Version::Hybrid => {
            return Err(Error::Unavailable { what: "unified resources", needs: "cgroup v2" });
        }
        Version::V2 => {}
    }
    for (name, value) in &asked.unified {
        let file_name = !name.is_empty()
            && name.contains('.')
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'));
        if !file_name || value.contains('\0') {
            let reason = "is not a cgroup file";
            return Err(Error::Text { field: "unified resource", name: shortened(name), reason });
        }
    }
    Ok(asked.unified.clone().into_iter().collect())
}

fn positive(field: &'static str, value: i64) -> Result<Option<u64>, Error> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::Number { field, value }),
    }
}

fn list(field: &'static str, text: &str) -> Result<Option<String>, Error> {
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'-')) {
        return Err(Error::Text { field, name: shortened(text), reason: "is not a list such as 0-3,6" });
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: CgroupFacts = CgroupFacts { version: Version::V1, swap: true, hugetlb: false };
    const V2: CgroupFacts = CgroupFacts { version: Version::V2, swap: false, hugetlb: true };

    fn json(asked: &Resources, cgroup: CgroupFacts) -> Result<String, Error> {
        resources_json(asked, cgroup, 12 << 20).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn nothing_asked_is_nothing_written() {
        assert_eq!(json(&Resources::default(), V1).unwrap(), "{}");
    }

    #[test]
    fn limits_follow_one_table() {
        let base = Resources::default();
        for (asked, cgroup, expected) in [
            (
                Resources { cpu_shares: 512, cpu_quota: -1, ..base.clone() },
                V1,
                r#"{"cpu":{"shares":512,"quota":-1}}"#,
            ),
            (Resources { cpuset_cpus: "0-1".into(), ..base.clone() }, V1, r#"{"cpu":{"cpus":"0-1"}}"#),
            (Resources { memory_limit: 16 << 20, ..base.clone() }, V2, r#"{"memory":{"limit":16777216}}"#),
            (
                Resources { memory_limit: 16 << 20, ..base.clone() },
                V1,
                r#"{"memory":{"limit":16777216,"swap":16777216}}"#,
            ),
            (Resources { memory_swap_limit: -1, ..base.clone() }, V1, r#"{"memory":{"swap":-1}}"#),
            (Resources { hugepages: vec![("2MB".into(), 0)], ..base.clone() }, V1, "{}"),
            (
                Resources { hugepages: vec![("2MB".into(), 4 << 20)], ..base.clone() },
                V2,
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
            ),
            (
                Resources { unified: [("memory.high".into(), "1".into())].into(), ..base.clone() },
                V2,
                r#"{"unified":{"memory.high":"1"}}"#,
            ),
        ] {
            assert_eq!(json(&asked, cgroup).unwrap(), expected, "{asked:?}");
        }
    }

    #[test]
    fn no_limit_of_processes_is_one_that_every_runtime_can_write() {
        assert_eq!([-1, 0, 7].map(|limit| pids(limit).limit()), [4_194_304, 4_194_304, 7]);
    }

    #[test]
    fn impossible_limits_are_refused() {
        let base = Resources::default();
        for (asked, cgroup) in [
            (Resources { memory_limit: (12 << 20) - 1, ..base.clone() }, V1),
            (Resources { memory_limit: -5, ..base.clone() }, V1),
            (Resources { memory_limit: 32 << 20, memory_swap_limit: 16 << 20, ..base.clone() }, V1),
            (Resources { cpu_shares: -1, ..base.clone() }, V1),
            (Resources { cpu_period: i64::MIN, ..base.clone() }, V1),
            (Resources { cpu_quota: -2, ..base.clone() }, V1),
            (Resources { cpuset_cpus: "0; rm".into(), ..base.clone() }, V1),
            (Resources { hugepages: vec![("2MiB/..".into(), 1)], ..base.clone() }, V2),
            (Resources { hugepages: vec![("é".into(), 1)], ..base.clone() }, V2),
            (Resources { hugepages: vec![("2MB".into(), 2 << 20)], ..base.clone() }, V1),
            (Resources { unified: [("memory.high".into(), "1".into())].into(), ..base.clone() }, V1),
            (Resources { unified: [("../cgroup.procs".into(), "1".into())].into(), ..base.clone() }, V2),
        ] {
            assert!(json(&asked, cgroup).is_err(), "{asked:?}");
        }
        let low = json(&Resources { memory_limit: 1024, ..base }, V1).unwrap_err();
        assert_eq!(low.to_string(), "set memory limit 1024 too low; should be at least 12582912 bytes");
    }
}
