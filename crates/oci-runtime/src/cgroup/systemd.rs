//! Groups that systemd makes: a transient scope per container.
//!
//! The first process is put into the scope by systemd, so it must exist before; what systemd has no word for, and the
//! device program, is set in the scope's directory afterwards, which `Delegate=yes` makes ours. Limits that systemd
//! knows are given to it as well, since it would otherwise reset them (`properties.rs`).

use std::path::PathBuf;

use ochre_systemd::{Bus, Error, Property};

use super::CgroupError;
use super::properties::Properties;
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
        let own = [
            Property::Description(format!("container {id}")),
            Property::Delegate(true),
            Property::DefaultDependencies(false),
            Property::CollectFailed(true),
            Property::CpuAccounting(true),
            Property::MemoryAccounting(true),
            Property::TasksAccounting(true),
        ];
        let mut properties = Properties::of(resources, v2);
        properties.known.splice(0..0, own);
        let start = |bus: &mut Bus| {
            tell(properties.clone(), |given| {
                bus.start_transient_scope(&self.scope, &self.slice, &[pid], given)
            })
        };
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
    let properties = Properties::of(resources, v2).changeable();
    let mut bus = Bus::system().map_err(failed)?;
    tell(properties, |given| bus.set_unit_properties(scope, true, given)).map_err(failed)
}

/// Stops a scope whose processes are gone, so that its name is free at once. One that is gone already is no error.
pub(super) fn stop(scope: &str) -> Result<(), CgroupError> {
    let failed = |source: Error| CgroupError::Systemd { scope: scope.to_owned(), source: Box::new(source) };
    match Bus::system().and_then(|mut bus| bus.stop_unit(scope)) {
        Ok(()) | Err(Error::NoSuchUnit { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Gives systemd properties; without those that an older one does not know if it refuses them all.
fn tell(properties: Properties, mut give: impl FnMut(&[Property]) -> Result<(), Error>) -> Result<(), Error> {
    let Properties { known, newer } = properties;
    let all: Vec<_> = known.iter().chain(&newer).cloned().collect();
    if all.is_empty() {
        return Ok(());
    }
    match give(&all) {
        // A property, or a value of one, that this systemd has no word for.
        Err(Error::Refused { .. }) if !newer.is_empty() => give(&known),
        result => result,
    }
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
    fn an_older_systemd_is_asked_again_without_what_it_does_not_know() {
        let refused = || Error::Refused {
            method: "StartTransientUnit",
            unit: "x.scope".into(),
            name: "org.freedesktop.DBus.Error.PropertyReadOnly".into(),
            message: "Cannot set property AllowedCPUs, or unknown property.".into(),
        };
        let (known, newer) = (Property::MemoryMax(1), Property::AllowedCpus(vec![1]));
        let properties =
            |newer: &[Property]| Properties { known: vec![known.clone()], newer: newer.to_vec() };
        let mut asked = Vec::new();
        let answer = tell(properties(std::slice::from_ref(&newer)), |given| {
            asked.push(given.to_vec());
            if asked.len() == 1 { Err(refused()) } else { Ok(()) }
        });
        assert!(answer.is_ok());
        assert_eq!(asked, [vec![known.clone(), newer.clone()], vec![known.clone()]]);
        // What was not the reason is not tried twice.
        let mut times = 0;
        let answer = tell(properties(&[]), |_| {
            times += 1;
            Err(refused())
        });
        assert!(matches!(answer, Err(Error::Refused { .. })) && times == 1);
    }
}
