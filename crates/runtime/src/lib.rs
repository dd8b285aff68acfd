//! OCI specs, cgroups, namespaces, handlers and the launch of monitors.

pub mod apparmor;
mod bounded;
pub mod cdi;
pub mod cgroup;
pub mod clamp;
pub mod config;
pub mod files;
pub mod handler;
pub mod metrics;
pub mod namespaces;
pub mod spec;
pub mod stats;
pub mod user;
