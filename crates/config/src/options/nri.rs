//! `[crio.nri]`: plugins of the node resource interface.

use std::path::PathBuf;
use std::time::Duration;

use super::{check, effect, environment, options, reload};

options! {
    /// Plugins of the node resource interface.
    pub struct NriConfig as "crio.nri" {
        /// Let NRI plugins connect.
        enable_nri: bool = true, later restart;
        /// Socket for them.
        nri_listen: PathBuf = PathBuf::from("/var/run/nri/nri.sock"), later restart, check absolute;
        /// Plugins the engine starts.
        nri_plugin_dir: PathBuf = PathBuf::from("/opt/nri/plugins"), later restart, check absolute;
        /// Their configurations.
        nri_plugin_config_dir: PathBuf = PathBuf::from("/etc/nri/conf.d"), later restart, check absolute;
        /// Time for a plugin to register.
        nri_plugin_registration_timeout: Duration = Duration::from_secs(5), later restart;
        /// Time for a plugin to answer.
        nri_plugin_request_timeout: Duration = Duration::from_secs(2), later restart;
        /// Only the plugins the engine starts.
        nri_disable_connections: bool = false, later restart;
    }
    with {
        /// `[crio.nri.default_validator]`
        default_validator: DefaultValidatorConfig;
    }
}

options! {
    /// What plugins may change.
    pub struct DefaultValidatorConfig as "crio.nri.default_validator" {
        /// Check what plugins change.
        nri_enable_default_validator: bool = false, later restart;
        /// Refuse changes of OCI hooks.
        nri_validator_reject_oci_hook_adjustment: bool = false, later restart;
        /// Refuse changes of the default seccomp profile.
        nri_validator_reject_runtime_default_seccomp_adjustment: bool = false, later restart;
        /// Refuse changes of containers without seccomp.
        nri_validator_reject_unconfined_seccomp_adjustment: bool = false, later restart;
        /// Refuse changes of seccomp profiles of the pod.
        nri_validator_reject_custom_seccomp_adjustment: bool = false, later restart;
        /// Refuse changes of namespaces.
        nri_validator_reject_namespace_adjustment: bool = false, later restart;
        /// Plugins that must have seen every container.
        nri_validator_required_plugins: Vec<String> = Vec::new(), later restart;
        /// Annotation of pods that need not be seen by them.
        nri_validator_tolerate_missing_plugins_annotation: String = String::new(), later restart;
    }
}
