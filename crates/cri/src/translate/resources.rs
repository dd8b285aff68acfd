//! Limits.

use ochre_cri_api as api;
use ochre_pod::config::Resources;

use super::check_map;
use crate::failure::Failure;

/// Limits of a request; values the kernel can never take are refused here.
pub(crate) fn from_api(resources: api::LinuxContainerResources) -> Result<Resources, Failure> {
    let api::LinuxContainerResources {
        cpu_period,
        cpu_quota,
        cpu_shares,
        memory_limit_in_bytes,
        oom_score_adj,
        cpuset_cpus,
        cpuset_mems,
        hugepage_limits,
        unified,
        memory_swap_limit_in_bytes,
    } = resources;
    for (field, value) in [("cpu_period", cpu_period), ("cpu_shares", cpu_shares)] {
        if value < 0 {
            return Err(Failure::invalid(field, value, "it cannot be negative"));
        }
    }
    for (field, value) in [
        ("memory_limit_in_bytes", memory_limit_in_bytes),
        ("memory_swap_limit_in_bytes", memory_swap_limit_in_bytes),
        ("cpu_quota", cpu_quota),
    ] {
        if value < -1 {
            return Err(Failure::invalid(field, value, "a positive number, 0 for unset or -1 for unlimited"));
        }
    }
    if !(-1000..=1000).contains(&oom_score_adj) {
        return Err(Failure::invalid(
            "oom_score_adj",
            oom_score_adj,
            "from -1000 to 1000 (proc_pid_oom_score_adj(5))",
        ));
    }
    for (field, list) in [("cpuset_cpus", &cpuset_cpus), ("cpuset_mems", &cpuset_mems)] {
        if !list.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-') || list.len() > 4096 {
            return Err(Failure::invalid(field, list, "a list such as 0-3,5"));
        }
    }
    check_map("unified", &unified)?;
    Ok(Resources {
        cpu_period,
        cpu_quota,
        cpu_shares,
        memory_limit: memory_limit_in_bytes,
        oom_score_adj,
        cpuset_cpus,
        cpuset_mems,
        hugepages: hugepage_limits.into_iter().map(|limit| (limit.page_size, limit.limit)).collect(),
        unified,
        memory_swap_limit: memory_swap_limit_in_bytes,
    })
}

/// Limits in force, for a status.
pub(crate) fn to_api(resources: &Resources) -> api::LinuxContainerResources {
    api::LinuxContainerResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources
            .hugepages
            .iter()
            .map(|(page_size, limit)| api::HugepageLimit { page_size: page_size.clone(), limit: *limit })
            .collect(),
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back_as_they_were_given() {
        let given = api::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: -1,
            memory_limit_in_bytes: 64 << 20,
            cpuset_cpus: "0-1".into(),
            hugepage_limits: vec![api::HugepageLimit { page_size: "2MB".into(), limit: 5 }],
            ..Default::default()
        };
        assert_eq!(to_api(&from_api(given.clone()).unwrap()), given);
    }

    #[test]
    fn absurd_limits_are_refused() {
        let bad: [fn(&mut api::LinuxContainerResources); 6] = [
            |r| r.cpu_period = -1,
            |r| r.cpu_shares = i64::MIN,
            |r| r.memory_limit_in_bytes = -2,
            |r| r.oom_score_adj = 1001,
            |r| r.cpuset_cpus = "0;rm".into(),
            |r| r.cpu_quota = -7,
        ];
        for spoil in bad {
            let mut resources = api::LinuxContainerResources::default();
            spoil(&mut resources);
            assert!(from_api(resources.clone()).is_err(), "{resources:?}");
        }
    }
}
