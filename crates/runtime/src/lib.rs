//! OCI specs, cgroups, namespaces, handlers and the launch of monitors.

mod bounded;
pub mod cgroup;
pub mod clamp;
pub mod config;
pub mod files;
pub mod handler;
pub mod namespaces;
pub mod spec;
pub mod stats;
pub mod user;
