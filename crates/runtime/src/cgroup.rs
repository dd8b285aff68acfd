//! Control groups: which hierarchies this machine has, where pods and containers live in them, and their end.
//!
//! ```text
//!                 cgroupfs driver                        systemd driver
//! parent          /kubepods/burstable/pod<uid>           kubepods-burstable-pod<uid>.slice, a directory of
//!                                                        /kubepods.slice/kubepods-burstable.slice/…
//! container       <parent>/crio-<container id>           <slice directory>/crio-<container id>.scope
//! monitor         the daemon's own group                 system.slice/crio-conmon-<sandbox id>.scope
//! ```
//!
//! The names are those CRI-O uses: cAdvisor and people's dashboards look for them. The OCI runtime makes and removes
//! container groups; the engine cleans up whatever an OCI runtime that died left behind. It signals and removes only an [`OwnedGroup`], which by its type carries one of the names above: groups
//! of others are never touched.
//!
//! On cgroup v1 and in hybrid mode one group is a directory in each of several hierarchies; on v2 it is one directory.

mod detect;
mod error;
mod kill;
mod monitor;
mod path;
mod remove;

pub use detect::{Cgroups, Version};
pub use error::CgroupError;
pub use monitor::MonitorPlacement;
pub use path::{Driver, GroupPath, OwnedGroup, container_cgroups_path, expand_slice, parent_group};

#[cfg(test)]
mod tests;
