//! Where a pod's monitor lives: outside of the pod's memory accounting, so that a pod at its limit cannot get its
//! monitor killed, and under systemd outside of the daemon's unit, so that stopping the daemon does not stop it.

use ochre_systemd::{Bus, KillMode, Property};
use ochre_types::SandboxId;
use serde::{Deserialize, Serialize};

use super::{CgroupError, Cgroups, Driver, GroupPath};

const SIGPIPE: i32 = 13;
/// Where CRI-O has its monitors.
const SLICE: &str = "system.slice";

/// What was done with a monitor. Serializable, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonitorPlacement {
    /// It stays in the group of the daemon that started it.
    DaemonsGroup,
    /// It has a scope of its own in `system.slice`; systemd removes that when the monitor ends.
    Scope(String),
}

impl MonitorPlacement {
    /// Decides where the monitor of a pod goes, and changes nothing yet.
    pub fn plan(driver: Driver, id: &SandboxId) -> Self {
        match driver {
            Driver::Cgroupfs => Self::DaemonsGroup,
            Driver::Systemd => Self::Scope(format!("crio-conmon-{id}.scope")),
        }
    }

    /// Moves the process there. A scope of that name left by an earlier monitor is replaced.
    ///
    /// # Errors
    /// [`CgroupError::Systemd`].
    pub fn place(&self, pid: i32) -> Result<(), CgroupError> {
        let Self::Scope(scope) = self else { return Ok(()) };
        let failed = |source| CgroupError::Systemd { unit: scope.clone(), source };
        let mut bus = Bus::system().map_err(failed)?;
        let properties = [
            Property::Description(format!("Monitor {scope}")),
            Property::DefaultDependencies(false),
            Property::Delegate(true),
            // A monitor ignores SIGPIPE: stopped with everything else, it gets some time to record how its containers
            // end before SIGKILL comes (CRI-O does the same to conmon).
            Property::KillSignal(SIGPIPE),
            Property::KillMode(KillMode::ControlGroup),
            Property::TimeoutStopUSec(5_000_000),
            Property::CollectFailed(true),
        ];
        let start = |bus: &mut Bus| bus.start_transient_scope(scope, SLICE, &[pid], &properties);
        match start(&mut bus) {
            Err(ochre_systemd::Error::UnitExists { .. }) => {
                // That of a monitor that died: systemd has not noticed yet, or keeps it because it failed.
                for forget in [Bus::stop_unit, Bus::reset_failed_unit] {
                    match forget(&mut bus, scope) {
                        Ok(()) | Err(ochre_systemd::Error::NoSuchUnit { .. }) => {}
                        Err(source) => return Err(failed(source)),
                    }
                }
                start(&mut bus).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    /// Stops the scope if a process is left in it; one without processes is taken away by systemd itself.
    ///
    /// # Errors
    /// [`CgroupError::Systemd`], and [`CgroupError::Read`] when its processes cannot be listed.
    pub fn undo(&self, cgroups: &Cgroups) -> Result<(), CgroupError> {
        let Self::Scope(scope) = self else { return Ok(()) };
        if cgroups.pids(&GroupPath::new(&format!("/{SLICE}/{scope}"))?)?.is_empty() {
            return Ok(());
        }
        let failed = |source| CgroupError::Systemd { unit: scope.clone(), source };
        match Bus::system().map_err(failed)?.stop_unit(scope) {
            Ok(()) | Err(ochre_systemd::Error::NoSuchUnit { .. }) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }
}
