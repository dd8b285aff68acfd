//! Groups that systemd makes: a transient scope per container.
//!
//! The first process is put into the scope by systemd, so it must exist before; what systemd has no word for, and the
//! device program, is set in the scope's directory afterwards, which `Delegate=yes` makes ours. Limits that systemd
//! knows are given to it as well, since a reload would otherwise reset them.

use std::path::PathBuf;

use ochre_systemd::{Bus, Error, Property};

use super::{CgroupError, convert};
use crate::spec::Resources;

/// Where a container's scope is, from a cgroups path `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeName {
    /// The slice unit, such as `kubepods-burstable.slice`.
    pub slice: String,
    /// The scope unit, such as `crio-abc.scope`.
    pub scope: String,
}

impl ScopeName {
    /// Reads the cgroups path; absent parts are `system.slice`, no prefix, and the container's id.
    ///
    /// # Errors
    /// [`CgroupError::NotAScope`].
    pub fn parse(cgroups_path: Option<&str>, id: &str) -> Result<Self, CgroupError> {
        let text = cgroups_path.filter(|text| !text.is_empty()).unwrap_or("::");
        let invalid = || CgroupError::NotAScope { path: text.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else { return Err(invalid()) };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let name = if name.is_empty() { id } else { name };
        let scope =
            if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        let safe = |unit: &str| !unit.contains('/') && !unit.starts_with('.') && !unit.contains("..");
        let stem = slice.strip_suffix(".slice").ok_or_else(invalid)?;
        if !safe(slice) || !safe(&scope) || stem.starts_with('-') && stem != "-" || stem.contains("--") {
            return Err(invalid());
        }
        Ok(Self { slice: slice.to_owned(), scope })
    }

    /// Its directory below the root of a hierarchy: `a-b.slice` lies in `a.slice`.
    pub fn directory(&self) -> PathBuf {
        let mut path = PathBuf::new();
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        if stem != "-" {
            for (at, _) in stem.match_indices('-') {
                path.push(format!("{}.slice", &stem[..at]));
            }
            path.push(&self.slice);
        }
        path.join(&self.scope)
    }

    /// Makes the scope around a process.
    ///
    /// # Errors
    /// [`CgroupError::Systemd`].
    pub fn start(&self, id: &str, pid: i32, resources: &Resources, v2: bool) -> Result<(), CgroupError> {
        let mut properties = vec![
            Property::Description(format!("container {id}")),
            Property::Delegate(true),
            Property::DefaultDependencies(false),
            Property::CollectFailed(true),
            Property::CpuAccounting(true),
            Property::MemoryAccounting(true),
            Property::TasksAccounting(true),
        ];
        properties.extend(limits(resources, v2));
        let start = |bus: &mut Bus| bus.start_transient_scope(&self.scope, &self.slice, &[pid], &properties);
        let mut bus = Bus::system().map_err(|source| self.failed(source))?;
        match start(&mut bus) {
            // Left over from a container that failed; nothing runs in it.
            Err(Error::UnitExists { .. }) => {
                bus.reset_failed_unit(&self.scope).map_err(|source| self.failed(source))?;
                start(&mut bus).map_err(|source| self.failed(source))
            }
            result => result.map_err(|source| self.failed(source)),
        }
    }

    fn failed(&self, source: Error) -> CgroupError {
        CgroupError::Systemd { scope: self.scope.clone(), source: Box::new(source) }
    }
}

/// Tells systemd about changed limits of a scope.
pub(super) fn update(scope: &str, resources: &Resources, v2: bool) -> Result<(), CgroupError> {
    let failed = |source: Error| CgroupError::Systemd { scope: scope.to_owned(), source: Box::new(source) };
    let properties = limits(resources, v2);
    if properties.is_empty() {
        return Ok(());
    }
    Bus::system().and_then(|mut bus| bus.set_unit_properties(scope, true, &properties)).map_err(failed)
}

/// Stops a scope whose processes are gone, so that its name is free at once. One that is gone already is no error.
pub(super) fn stop(scope: &str) -> Result<(), CgroupError> {
    let failed = |source: Error| CgroupError::Systemd { scope: scope.to_owned(), source: Box::new(source) };
    match Bus::system().and_then(|mut bus| bus.stop_unit(scope)) {
        Ok(()) | Err(Error::NoSuchUnit { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn limits(resources: &Resources, v2: bool) -> Vec<Property> {
    let bytes = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let mut properties = Vec::new();
    if let Some(limit) = resources.memory.limit.filter(|limit| *limit != 0) {
        properties.push(if v2 {
            Property::MemoryMax(bytes(limit))
        } else {
            Property::MemoryLimit(bytes(limit))
        });
    }
    if let Some(reservation) = resources.memory.reservation.filter(|_| v2) {
        properties.push(Property::MemoryLow(bytes(reservation)));
    }
    if let Some(shares) = resources.cpu.shares.filter(|shares| *shares > 0) {
        properties.push(if v2 {
            Property::CpuWeight(convert::cpu_weight(shares))
        } else {
            Property::CpuShares(shares.clamp(2, 262_144))
        });
    }
    if let Some(quota) = resources.cpu.quota.filter(|quota| *quota != 0) {
        let period = resources.cpu.period.filter(|period| *period > 0).unwrap_or(100_000);
        let per_second =
            u64::try_from(quota).map_or(u64::MAX, |quota| quota.saturating_mul(1_000_000) / period);
        // systemd counts in hundredths of a processor; rounded up, so that the finer value set later fits in.
        properties.push(Property::CpuQuotaPerSecUSec(
            per_second.checked_next_multiple_of(10_000).unwrap_or(u64::MAX),
        ));
        properties.push(Property::CpuQuotaPeriodUSec(period));
    }
    if let Some(limit) = resources.pids.limit {
        properties.push(Property::TasksMax(if limit > 0 { bytes(limit) } else { u64::MAX }));
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_names_of_slices() {
        let name = ScopeName::parse(Some("kubepods-burstable-podx.slice:crio:abc"), "id").unwrap();
        assert_eq!(name.scope, "crio-abc.scope");
        let directory =
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice/crio-abc.scope";
        assert_eq!(name.directory(), PathBuf::from(directory));
        assert_eq!(ScopeName::parse(None, "id").unwrap().directory(), PathBuf::from("system.slice/id.scope"));
        assert_eq!(ScopeName::parse(Some("-.slice::x"), "id").unwrap().directory(), PathBuf::from("x.scope"));
        for bad in
            ["/a/b", "a:b", "a.slice:b:c:d", "a:b:c", "a/b.slice:c:d", "a.slice:../c:d", "a--b.slice:c:d"]
        {
            assert!(ScopeName::parse(Some(bad), "id").is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_told_in_the_words_of_the_world() {
        let resources: Resources = serde_json::from_str(
            r#"{"memory":{"limit":5},"cpu":{"shares":1024,"quota":15000},"pids":{"limit":-1}}"#,
        )
        .unwrap();
        let v2 = limits(&resources, true);
        assert!(v2.contains(&Property::MemoryMax(5)) && v2.contains(&Property::CpuWeight(100)));
        assert!(
            v2.contains(&Property::CpuQuotaPerSecUSec(150_000)) && v2.contains(&Property::TasksMax(u64::MAX))
        );
        assert!(limits(&resources, false).contains(&Property::CpuShares(1024)));
    }
}
