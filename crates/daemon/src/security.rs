//! Profiles and labels of containers: from the configuration and what the kernel has.

use std::path::Path;

use ochre_config::RuntimeConfig;
use ochre_runtime::apparmor;
use ochre_runtime::spec::SecurityDefaults;
use ochre_runtime::spec::seccomp::SeccompProfile;
use ochre_runtime::spec::security::default_masked_paths;
use ochre_runtime::spec::selinux::{OfNode, SelinuxPolicy};

use crate::error::{Error, with_causes};

/// Reads the profiles and brings the AppArmor one into the kernel. What the node lacks is said in the log, once.
///
/// # Errors
/// `Option`: a profile that is named and cannot be used. Containers would run with less than the node's owner wants.
pub(crate) fn defaults(config: &RuntimeConfig) -> Result<SecurityDefaults, Error> {
    Ok(SecurityDefaults {
        seccomp: seccomp("crio.runtime.seccomp_profile", &config.seccomp_profile)?,
        privileged_seccomp: seccomp(
            "crio.runtime.privileged_seccomp_profile",
            &config.privileged_seccomp_profile,
        )?,
        apparmor: apparmor(&config.apparmor_profile)?,
        selinux: selinux(config)?,
        masked_paths: default_masked_paths(),
    })
}

fn seccomp(option: &'static str, path: &Path) -> Result<Option<SeccompProfile>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let refused = |error| Error::Option { option, reason: with_causes(&error) };
    SeccompProfile::read(&path.to_string_lossy()).map(Some).map_err(refused)
}

fn apparmor(option: &str) -> Result<apparmor::AppArmor, Error> {
    let refused =
        |error| Error::Option { option: "crio.runtime.apparmor_profile", reason: with_causes(&error) };
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let (prepared, failed) = apparmor::prepare(option, &search_path).map_err(refused)?;
    if let Some(error) = failed {
        tracing::warn!(
            "the AppArmor profile {} could not be loaded: {}; unless it is loaded already, containers run without one, and those that ask for it are refused",
            apparmor::BUILT_IN,
            with_causes(&error)
        );
    }
    Ok(prepared)
}

fn selinux(config: &RuntimeConfig) -> Result<Option<SelinuxPolicy>, Error> {
    if !config.selinux || !kernel_has_selinux() {
        return Ok(None);
    }
    let network = if config.hostnetwork_disable_selinux { OfNode::Free } else { OfNode::Labelled };
    SelinuxPolicy::read(network).map(Some).map_err(|(path, error)| Error::Option {
        option: "crio.runtime.selinux",
        reason: format!("{}: {error}", path.display()),
    })
}

/// Labels that the kernel does not know would fail every container.
fn kernel_has_selinux() -> bool {
    let has_selinux = Path::new("/sys/fs/selinux/enforce").exists();
    if !has_selinux {
        tracing::warn!(
            "crio.runtime.selinux is on, but SELinux is off on this node: containers are not labelled"
        );
    }
    has_selinux
}
