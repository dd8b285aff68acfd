//! Security modules: the label a program gets when it is executed.

use std::io;
use std::path::Path;

use ochre_types::ErrorKind;
use thiserror::Error;

use crate::procfs::Procfs;
use crate::spec::Process;

/// Why a label cannot be given.
#[derive(Debug, Error)]
pub enum LsmError {
    /// A profile is asked for and the kernel has no AppArmor.
    #[error("AppArmor profile {profile:?} is asked for, and AppArmor is not enabled")]
    NoAppArmor {
        /// The profile.
        profile: String,
    },
    /// The kernel does not take the label.
    #[error("cannot run under the label {label:?}")]
    Label {
        /// The profile or label.
        label: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LsmError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAppArmor { .. } => ErrorKind::FailedPrecondition,
            Self::Label { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// Labels that will be set; empty for none.
#[derive(Debug, Default)]
pub struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

/// Whether the kernel enforces SELinux policy.
pub fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether the kernel has AppArmor.
pub fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

impl Labels {
    /// Decides in the runtime, where the host's `/sys` is, what the child will set. A SELinux label without SELinux
    /// is ignored: engines send one from their configuration on every machine.
    ///
    /// # Errors
    /// [`LsmError::NoAppArmor`].
    pub fn decide(process: &Process) -> Result<Self, LsmError> {
        let selinux = process.selinux_label.clone().filter(|label| !label.is_empty() && selinux_enabled());
        let profile = process.apparmor_profile.clone().filter(|profile| !profile.is_empty());
        let Some(profile) = profile else { return Ok(Self { apparmor: None, selinux }) };
        match (apparmor_enabled(), profile == "unconfined") {
            (true, _) => Ok(Self { apparmor: Some(profile), selinux }),
            (false, true) => Ok(Self { apparmor: None, selinux }),
            (false, false) => Err(LsmError::NoAppArmor { profile }),
        }
    }

    /// Whether there is nothing to set.
    pub fn is_empty(&self) -> bool {
        self.apparmor.is_none() && self.selinux.is_none()
    }

    /// Asks the kernel for the labels at the next exec.
    ///
    /// # Errors
    /// [`LsmError::Label`].
    pub fn set(&self, procfs: &Procfs) -> Result<(), LsmError> {
        if let Some(profile) = &self.apparmor {
            let value = format!("exec {profile}");
            let set = match procfs.write_own("attr/apparmor/exec", &value) {
                // Before Linux 5.8 the modules share one file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    procfs.write_own("attr/exec", &value)
                }
                result => result,
            };
            set.map_err(|source| LsmError::Label { label: profile.clone(), source })?;
        }
        if let Some(label) = &self.selinux {
            procfs
                .write_own("attr/exec", label)
                .map_err(|source| LsmError::Label { label: label.clone(), source })?;
        }
        Ok(())
    }
}
