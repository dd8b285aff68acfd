//! OCI specs, cgroups, namespaces, handlers and the launch of monitors.

pub mod config;
