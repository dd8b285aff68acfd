//! `[crio.tracing]`: export of traces.

use super::{check, effect, environment, options, reload};

options! {
    /// Export of traces.
    pub struct TracingConfig as "crio.tracing" {
        /// Export traces.
        enable_tracing: bool = false, later restart;
        /// Address of the collector.
        tracing_endpoint: String = "127.0.0.1:4317".to_owned(), later restart;
        /// How many requests of a million are traced.
        tracing_sampling_rate_per_million: i64 = 0, later restart, check not_negative;
    }
}
