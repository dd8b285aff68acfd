//! `[crio.image]`: registries, policies and pulls.

use std::path::PathBuf;
use std::time::Duration;

use super::{check, effect, environment, options, reload};
use crate::value::{ImageVolumes, ShortNameMode};

options! {
    /// Registries, policies and pulls.
    pub struct ImageConfig as "crio.image" {
        /// In front of image names that are not references.
        default_transport: String = "docker://".to_owned(), later restart;
        /// Credentials for registries; empty searches the usual places.
        global_auth_file: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// Credentials by Kubernetes namespace.
        namespaced_auth_dir: PathBuf = PathBuf::from("/etc/crio/auth"), now restart, check absolute_or_empty;
        /// Image of pause processes; this engine brings its own and pulls none.
        pause_image: String = "registry.k8s.io/pause:3.10.1".to_owned(), later live;
        /// Credentials for that image.
        pause_image_auth_file: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
        /// Command of pause processes.
        pause_command: String = "/pause".to_owned(), later live;
        /// Images the kubelet must not remove: names, `prefix*` or `*keyword*`.
        pinned_images: Vec<String> = Vec::new(), now live;
        /// Policy of image signatures; empty is /etc/containers/policy.json.
        signature_policy: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// Policies by Kubernetes namespace.
        signature_policy_dir: PathBuf = PathBuf::from("/etc/crio/policies"), now live, check absolute_or_empty;
        /// What becomes of volumes that an image declares.
        image_volumes: ImageVolumes = ImageVolumes::Mkdir, now restart;
        /// Without effect, as in CRI-O: see registries.conf.
        insecure_registries: Vec<String> = Vec::new(), later restart, environment "CONTAINER_INSECURE_REGISTRY";
        /// Directory for downloads.
        big_files_temporary_dir: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// Watch registries.conf.d.
        auto_reload_registries: bool = false, later restart, environment "AUTO_RELOAD_REGISTRIES";
        /// Time without progress after which a pull is given up; 0 is never.
        pull_progress_timeout: Duration = Duration::ZERO, now restart;
        /// Mount artifacts as image volumes.
        oci_artifact_mount_support: bool = true, now restart, environment "CONTAINER_OCI_ARTIFACT_SUPPORT";
        /// What an image name without a registry may mean.
        short_name_mode: ShortNameMode = ShortNameMode::Enforcing, now restart;
    }
}
