//! Resource limits, and the OOM killer's adjustment.

use std::io;

use rustix::process::{Pid, Resource, Rlimit as KernelLimit};

use super::ProcessError;
use crate::spec::Rlimit;

/// The kernel's "no limit", which rustix writes as `None`.
const INFINITY: u64 = u64::MAX;

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

/// Sets limits of a process (`None` for the caller). One that only a more privileged runtime may set is set as high
/// as this one may, with a warning.
///
/// # Errors
/// An unknown limit, or one that the kernel refuses for another reason.
pub(crate) fn apply(pid: Option<Pid>, limits: &[Rlimit]) -> Result<Vec<String>, ProcessError> {
    let mut warnings = Vec::new();
    for limit in limits {
        let kind =
            resource(&limit.kind).ok_or_else(|| ProcessError::UnknownLimit { name: limit.kind.clone() })?;
        let kernel = |value: u64| (value != INFINITY).then_some(value);
        let wanted = KernelLimit { current: kernel(limit.soft), maximum: kernel(limit.hard) };
        let failed = |source: io::Error| ProcessError::Step { step: "setting resource limits", source };
        match rustix::process::prlimit(pid, kind, wanted) {
            Ok(_) => {}
            Err(rustix::io::Errno::PERM) => {
                // The child has the runtime's own limits so far.
                let ceiling = rustix::process::getrlimit(kind).maximum.unwrap_or(INFINITY);
                let (hard, soft) = (limit.hard.min(ceiling), limit.soft.min(ceiling));
                let clamped = KernelLimit { current: kernel(soft), maximum: kernel(hard) };
                rustix::process::prlimit(pid, kind, clamped).map_err(|errno| failed(errno.into()))?;
                warnings.push(format!("{} is clamped to the runtime's own {ceiling}", limit.kind));
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Ok(warnings)
}

/// Sets `oom_score_adj` of a process. A value below what this runtime may set leaves the inherited one, with a
/// warning.
///
/// # Errors
/// When the kernel refuses it for another reason.
pub(crate) fn set_oom_score(pid: Pid, adjustment: i32) -> Result<Option<String>, ProcessError> {
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    match std::fs::write(path, adjustment.to_string()) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Some(format!(
            "oom_score_adj {adjustment} is below what the runtime may set; the inherited value stays"
        ))),
        Err(source) => Err(ProcessError::Step { step: "setting oom_score_adj", source }),
    }
}
