//! `[crio.network]`: CNI.

use std::path::PathBuf;
use std::time::Duration;

use super::{check, effect, environment, options, reload};
use crate::value::list;

options! {
    /// CNI.
    pub struct NetworkConfig as "crio.network" {
        /// Name of the network to use; empty is the first that can be loaded.
        cni_default_network: String = String::new(), now live;
        /// Directory of CNI configurations.
        network_dir: PathBuf = PathBuf::from("/etc/cni/net.d/"), now restart, check absolute, environment "CONTAINER_CNI_CONFIG_DIR";
        /// Directories of CNI plugins.
        plugin_dirs: Vec<PathBuf> = vec![PathBuf::from("/opt/cni/bin/")], now restart, check absolutes, environment "CONTAINER_CNI_PLUGIN_DIR";
        /// Deprecated: see `plugin_dirs`.
        plugin_dir: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// How long a network that was ready may report failures.
        cni_status_grace_period: Duration = Duration::ZERO, later restart, environment "CNI_STATUS_GRACE_PERIOD";
        /// Use the engine's own implementation of the stock CNI plugins (not an option of CRI-O).
        native_cni: bool = true, now restart;
        /// Subnets of the built-in network, which is used where no CNI network is configured (not an option of CRI-O).
        /// One, or one of IPv4 and one of IPv6 for dual stack; the first is that of a pod's primary address.
        native_subnets: Vec<String> = list(&["10.85.0.0/16"]), now restart, check subnets;
        /// Bridge of the built-in network (not an option of CRI-O). A second engine on a node needs one of its own, and
        /// subnets of its own.
        native_bridge: String = "ochre0".to_owned(), now restart, check device_name;
    }
}
