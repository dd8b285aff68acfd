//! `crio.conf`: options, drop-ins, checks.
//!
//! ```text
//! defaults < storage.conf < main file < drop-in directory < environment < flags ──> check ──> Config + warnings
//! ```
//!
//! Names and meanings are CRI-O's. Each option is defined once, in `options/<table>.rs`: name, documentation, type,
//! default, check, whether it has an effect yet and whether a reload applies it. Parsing, the refusal of wrong values,
//! the warnings and the annotated sample of `ochre config` all come from that definition.

mod check;
mod document;
mod error;
mod load;
mod options;
mod print;
mod storage_conf;
mod value;

pub use error::{ConfigError, Origin, Warning};
pub use load::{Loaded, Machine, MainFile, Sources, load};
pub use options::api::ApiConfig;
pub use options::image::ImageConfig;
pub use options::metrics::MetricsConfig;
pub use options::network::NetworkConfig;
pub use options::nri::{DefaultValidatorConfig, NriConfig};
pub use options::root::RootConfig;
pub use options::runtime::{RuntimeConfig, RuntimeHandlerConfig, WorkloadConfig, WorkloadResources};
pub use options::stats::StatsConfig;
pub use options::tracing::TracingConfig;
pub use options::{Config, Definition, Effect, Reload, definitions};
pub use print::{annotated, values};
pub use value::{
    CgroupManager, ImageVolumes, LogLevel, RuntimeType, ShortNameMode, StorageOptions, TlsVersion,
};
