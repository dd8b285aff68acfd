//! `[crio]`: where things lie.

use std::path::PathBuf;

use super::{check, effect, environment, options, reload};
use crate::value::StorageOptions;

options! {
    /// Where things lie.
    pub struct RootConfig as "crio" {
        /// Directory of images and containers, shared with other tools of the same storage format.
        /// Empty takes the value of storage.conf.
        root: PathBuf = PathBuf::from("/var/lib/containers/storage"), now restart, check absolute_or_empty;
        /// Directory of state that does not outlive a boot. Empty takes the value of storage.conf.
        runroot: PathBuf = PathBuf::from("/run/containers/storage"), now restart, check absolute_or_empty;
        /// Separate directory for pulled images; the layers of containers stay below `root`.
        imagestore: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// How layers are kept. Empty takes the value of storage.conf.
        storage_driver: String = "overlay".to_owned(), now restart, check storage_driver;
        /// Options of the driver, `key=value` each. Those of several files add up.
        storage_option: StorageOptions = StorageOptions::default(), now restart, check storage_options, environment "CONTAINER_STORAGE_OPT";
        /// Directory of the logs of pods for which the kubelet names none.
        log_dir: PathBuf = PathBuf::from("/var/log/crio/pods"), now restart, check absolute;
        /// File that tells whether the node was booted since the engine ran last.
        version_file: PathBuf = PathBuf::from("/var/run/crio/version"), later restart, check absolute_or_empty;
        /// File that tells whether the engine was upgraded since it ran last.
        version_file_persist: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// File that tells whether the engine was stopped in an orderly way.
        clean_shutdown_file: PathBuf = PathBuf::from("/var/lib/crio/clean.shutdown"), later restart, check absolute_or_empty;
        /// Remove containers after a boot and images after an upgrade.
        internal_wipe: bool = true, later restart;
        /// Check and repair the storage after a stop that was not orderly.
        internal_repair: bool = true, later restart;
    }
}
