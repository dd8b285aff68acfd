//! `[crio.stats]`: statistics of pods.

use super::{check, effect, environment, options, reload};

options! {
    /// Statistics of pods.
    pub struct StatsConfig as "crio.stats" {
        /// Deprecated, without effect.
        stats_collection_period: i64 = 0, later restart, check not_negative;
        /// Seconds between collections; 0 collects on demand.
        collection_period: i64 = 0, now restart, check not_negative, environment "COLLECTION_PERIOD";
        /// Metrics of pods that are collected, or "all".
        included_pod_metrics: Vec<String> = Vec::new(), now restart, check pod_metrics;
    }
}
