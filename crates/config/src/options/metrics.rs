//! `[crio.metrics]`: the metrics server.

use std::path::PathBuf;

use super::{check, effect, environment, options, reload};
use crate::value::list;

options! {
    /// The metrics server.
    pub struct MetricsConfig as "crio.metrics" {
        /// Serve metrics.
        enable_metrics: bool = false, later restart;
        /// Metrics that are collected.
        metrics_collectors: Vec<String> = list(&["image_pulls_layer_size", "containers_events_dropped_total", "containers_oom_total", "processes_defunct", "operations_total", "operations_latency_seconds", "operations_latency_seconds_total", "operations_errors_total", "image_pulls_bytes_total", "image_pulls_skipped_bytes_total", "image_pulls_failure_total", "image_pulls_success_total", "image_layer_reuse_total", "containers_oom_count_total", "containers_seccomp_notifier_count_total", "resources_stalled_at_stage", "containers_stopped_monitor_count", "default_runtime"]), later restart;
        /// Address of the metrics server.
        metrics_host: String = "127.0.0.1".to_owned(), later restart;
        /// Port of the metrics server.
        metrics_port: u16 = 9090, later restart;
        /// Also serve metrics on this socket.
        metrics_socket: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// Certificate of the metrics server.
        metrics_cert: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
        /// Key of that certificate.
        metrics_key: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
    }
}
